//! Just enough of Kubernetes quantities: whole numbers with an optional suffix, exactly.

use std::fmt;
use std::str::FromStr;

/// A whole number of units, e.g. `400m`, `8Gi`, `1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    number: u64,
    suffix: &'static str,
}

/// Suffixes and their worth in thousandths.
const SUFFIXES: [(&str, u128); 12] = [
    ("m", 1),
    ("", 1000),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
];

impl Amount {
    /// Value in thousandths of the unit.
    pub fn thousandths(self) -> u128 {
        let worth =
            SUFFIXES.iter().find(|(s, _)| *s == self.suffix).expect("the suffix must be a known one").1;
        u128::from(self.number) * worth
    }

    /// This amount `n` times, thousandths made whole where they are.
    pub fn times(self, n: u32) -> Self {
        let number = self.number.saturating_mul(u64::from(n));
        match self.suffix {
            "m" if number.is_multiple_of(1000) => Self { number: number / 1000, suffix: "" },
            suffix => Self { number, suffix },
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is no quantity; write a whole number with an optional suffix: 400m, 2, 8Gi");
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..end].parse().map_err(|_| bad())?;
        let (suffix, _) = SUFFIXES.iter().find(|(s, _)| *s == &text[end..]).ok_or_else(bad)?;
        Ok(Self { number, suffix })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_and_compares_exactly() {
        let times = |text: &str, n| text.parse::<Amount>().unwrap().times(n).to_string();
        assert_eq!(times("400m", 100), "40");
        assert_eq!(times("400m", 1), "400m");
        assert_eq!(times("500Mi", 100), "50000Mi");
        assert_eq!("1Gi".parse::<Amount>().unwrap().thousandths(), 1024 * 1024 * 1024 * 1000);
        assert_eq!("2".parse::<Amount>().unwrap().thousandths(), 2000);
    }

    #[test]
    fn refuses_what_it_cannot_keep_exact() {
        for text in ["", "-1", "1.5", "1e3", "Gi", "1 Gi", "1GiB"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}
