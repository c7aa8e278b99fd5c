//! Resource vectors: amounts by resource name, in thousandths of the unit.

use std::collections::BTreeMap;

use api::quantity::{Amount, ParseError};

/// Amounts by resource name, in thousandths. A name that is absent counts as zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources(BTreeMap<String, i128>);

/// A vector that cannot be taken as demand or supply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The amount does not parse.
    #[error("resource {name}: {error}")]
    Quantity {
        /// The resource.
        name: String,
        /// What is wrong with its amount.
        error: ParseError,
    },
    /// Below zero.
    #[error("resource {name} is negative: {text}")]
    Negative {
        /// The resource.
        name: String,
        /// The amount as given.
        text: String,
    },
}

impl Resources {
    /// Parses name-to-quantity text.
    ///
    /// # Errors
    /// [`Error`], naming the first bad resource.
    pub fn parse(texts: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut amounts = BTreeMap::new();
        for (name, text) in texts {
            let amount: Amount =
                text.parse().map_err(|error| Error::Quantity { name: name.clone(), error })?;
            if amount.is_negative() {
                return Err(Error::Negative { name: name.clone(), text: text.clone() });
            }
            amounts.insert(name.clone(), amount.milli());
        }
        Ok(Self(amounts))
    }

    /// The amount of one resource, in thousandths.
    pub fn get(&self, name: &str) -> i128 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.0.values().all(|&v| v == 0)
    }

    /// Whether `self` fits into `other` in every dimension.
    pub fn fits(&self, other: &Self) -> bool {
        self.0.iter().all(|(name, &v)| v <= other.get(name))
    }

    /// Whether subtracting `supply` would lower any dimension.
    pub fn is_served_by(&self, supply: &Self) -> bool {
        self.0.iter().any(|(name, &v)| v > 0 && supply.get(name) > 0)
    }

    /// Subtracts, stopping at zero per dimension.
    pub fn subtract(&mut self, supply: &Self) {
        for (name, v) in &mut self.0 {
            *v = (*v - supply.get(name)).max(0);
        }
    }

    /// Adds per dimension.
    pub fn add(&mut self, other: &Self) {
        for (name, &v) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(v);
        }
    }

    /// Adds `other` so many times per dimension.
    pub fn add_times(&mut self, other: &Self, times: u64) {
        for (name, &v) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(v.saturating_mul(i128::from(times)));
        }
    }

    /// Takes the larger per dimension.
    pub fn raise_to(&mut self, other: &Self) {
        for (name, &v) in &other.0 {
            let max = self.0.entry(name.clone()).or_default();
            *max = (*max).max(v);
        }
    }

    /// How much of `whole` is left, in thousandths summed over dimensions: orders residuals of one demand.
    pub fn permille_of(&self, whole: &Self) -> i128 {
        self.0
            .iter()
            .map(|(name, &v)| {
                let whole = whole.get(name).max(1);
                // Rounded up: a residual of almost nothing is still not nothing.
                v.saturating_mul(1000) / whole + i128::from(v % whole != 0)
            })
            .sum()
    }

    /// Name to quantity text.
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, &v)| (name.clone(), text(v))).collect()
    }
}

/// The shortest plain form: an integer, or thousandths with `m`.
fn text(milli: i128) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Resources {
        let texts = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Resources::parse(&texts).unwrap()
    }

    #[test]
    fn subtraction_stops_at_zero_per_dimension() {
        let mut left = of(&[("cpu", "100"), ("memory", "400Gi")]);
        for _ in 0..12 {
            left.subtract(&of(&[("cpu", "16"), ("memory", "32Gi")]));
        }
        assert_eq!(left, of(&[("cpu", "0"), ("memory", "16Gi")]));
        assert!(!left.is_zero());
    }

    #[test]
    fn a_missing_name_is_zero() {
        assert!(!of(&[("nvidia.com/gpu", "1")]).fits(&of(&[("cpu", "4")])));
        assert!(of(&[("cpu", "0")]).fits(&of(&[])));
        assert!(!of(&[("nvidia.com/gpu", "1")]).is_served_by(&of(&[("cpu", "4")])));
    }

    #[test]
    fn bad_amounts_are_named() {
        let texts = BTreeMap::from([("cpu".to_owned(), "lots".to_owned())]);
        assert!(Resources::parse(&texts).unwrap_err().to_string().contains("resource cpu"));
        let texts = BTreeMap::from([("cpu".to_owned(), "-1".to_owned())]);
        assert!(Resources::parse(&texts).unwrap_err().to_string().contains("negative"));
    }
}
