//! Kubernetes quantities as exact integers.
//!
//! Demand is a sum over ten thousand requests: in floating point it would drift by a machine. Sums and products
//! stop at what an `i128` of billionths holds, some 10^29 units. Source of the grammar: Kubernetes API reference,
//! `resource.Quantity`.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};
use std::str::FromStr;

/// Amounts by resource name.
pub type Resources = BTreeMap<String, Amount>;

/// Fractions of one unit that are kept; Kubernetes' smallest suffix is `n`.
const NANO: i128 = 1_000_000_000;
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// An amount in billionths of its unit. Displays in Kubernetes' canonical form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount {
    nanos: i128,
    /// Whether to display with `Ki`, `Mi`, ...; a sum is binary when one of its terms is.
    binary: bool,
}

/// A text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a quantity: {reason}; write e.g. 250m, 2, 1.5 or 512Mi")]
pub struct ParseError {
    text: String,
    reason: &'static str,
}

impl Amount {
    /// Whole units.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, binary: false }
    }

    /// The larger of two amounts, displayed in binary form if either was.
    pub fn larger(self, other: Self) -> Self {
        Self { nanos: self.nanos.max(other.nanos), binary: self.binary || other.binary }
    }

    /// Thousandths of the unit; finer fractions round away from zero, as in Kubernetes' `MilliValue`.
    pub fn milli(self) -> i128 {
        let finer = NANO / 1000;
        self.nanos / finer + (self.nanos % finer).signum()
    }

    /// Whether [`Self::milli`] loses nothing: Kubernetes rounds requests that are finer.
    pub fn is_whole_milli(self) -> bool {
        self.nanos % (NANO / 1000) == 0
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The amount in units, rounded to the nearest double.
    pub fn to_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }
}

impl FromStr for Amount {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |reason| ParseError { text: text.to_owned(), reason };
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(fail("it has no digits"));
        }
        if fraction.contains('.') {
            return Err(fail("it has two decimal points"));
        }
        let digits: i128 = format!("{whole}{fraction}").parse().map_err(|_| fail("it is too long"))?;
        let (scale_up, binary) = scale(suffix).ok_or_else(|| fail("its suffix is unknown"))?;
        let scale_down = u32::try_from(fraction.len()).ok().and_then(|n| 10_i128.checked_pow(n));
        let scale_down = scale_down.ok_or_else(|| fail("it is too long"))?;
        let scaled = digits.checked_mul(scale_up).ok_or_else(|| fail("it is too large"))?;
        // Finer than the scale is rounded away from zero, as Kubernetes does.
        let nanos = scaled / scale_down + i128::from(scaled % scale_down != 0);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, binary })
    }
}

/// How many billionths one of the suffix is, and whether the suffix is binary.
fn scale(suffix: &str) -> Option<(i128, bool)> {
    if let Some(k) = DECIMAL_SUFFIXES.iter().position(|&s| s == suffix) {
        return Some((1000_i128.pow(u32::try_from(k).ok()?), false));
    }
    if let Some(k) = BINARY_SUFFIXES.iter().position(|&s| s == suffix) {
        return Some((NANO * 1024_i128.pow(u32::try_from(k).ok()?), true));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((10_i128.checked_pow(u32::try_from(exponent + 9).ok()?)?, false))
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.nanos / NANO;
        // Kubernetes falls back to decimal for fractions and for less than one Ki.
        if self.binary && self.nanos % NANO == 0 && units.abs() >= 1024 {
            let (mantissa, power) = reduce(units, 1024, BINARY_SUFFIXES.len() - 1);
            return write!(f, "{mantissa}{}", BINARY_SUFFIXES[power]);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let (mantissa, power) = reduce(self.nanos, 1000, DECIMAL_SUFFIXES.len() - 1);
        write!(f, "{mantissa}{}", DECIMAL_SUFFIXES[power])
    }
}

/// Divides by `base` as often as it goes without remainder, at most `most` times.
fn reduce(mut value: i128, base: i128, most: usize) -> (i128, usize) {
    let mut power = 0;
    while power < most && value % base == 0 {
        value /= base;
        power += 1;
    }
    (value, power)
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_add(other.nanos), binary: self.binary || other.binary }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for Amount {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self { nanos: self.nanos.saturating_mul(i128::from(times)), binary: self.binary }
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// Adds `more` to `total`, dimension by dimension.
pub fn add(total: &mut Resources, more: &Resources) {
    for (name, &amount) in more {
        *total.entry(name.clone()).or_default() += amount;
    }
}

/// Raises `peak` to `other` in every dimension where `other` is larger.
pub fn raise(peak: &mut Resources, other: &Resources) {
    for (name, &amount) in other {
        let entry = peak.entry(name.clone()).or_default();
        *entry = entry.larger(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Amount>().unwrap().to_string()
    }

    #[test]
    fn texts_come_out_in_canonical_form() {
        let cases = [
            ("0", "0"),
            ("250m", "250m"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            (".5", "500m"),
            ("2.", "2"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("5e-1", "500m"),
            ("2E", "2E"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("512Mi", "512Mi"),
            ("0.5Ki", "512"),
            ("1000Ki", "1000Ki"),
            ("-3", "-3"),
            ("0.0000000001", "1n"),
        ];
        for (text, expected) in cases {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", "1.2.3", "1Q", "1e", "abc", "1 Gi", "--1"] {
            let error = text.parse::<Amount>().unwrap_err().to_string();
            assert!(error.contains("not a quantity"), "{text}: {error}");
        }
    }

    #[test]
    fn ten_thousand_tenths_are_exactly_one_thousand() {
        let tenth: Amount = "100m".parse().unwrap();
        let sum: Amount = std::iter::repeat_n(tenth, 10_000).sum();
        assert_eq!(sum, Amount::from_units(1000));
        assert_eq!(tenth * 10_000, sum);
    }

    #[test]
    fn thousandths_round_away_from_zero() {
        let cases =
            [("2", 2000), ("250m", 250), ("1.5Gi", 1500 << 30), ("100n", 1), ("1500u", 2), ("-100n", -1)];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Amount>().unwrap().milli(), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_or_stops_at_the_end() {
        let huge = "9".repeat(60);
        assert!(huge.parse::<Amount>().unwrap_err().to_string().contains("too long"));
        let large: Amount = "1e28".parse().unwrap();
        assert_eq!(large * u64::MAX, large * u64::MAX + large);
    }

    #[test]
    fn a_multiple_keeps_its_suffix_where_it_can() {
        let times = |text: &str, n| (text.parse::<Amount>().unwrap() * n).to_string();
        assert_eq!(times("400m", 100), "40");
        assert_eq!(times("500Mi", 100), "50000Mi");
    }

    #[test]
    fn a_sum_is_binary_when_one_term_is_in_either_order() {
        let (binary, decimal): (Amount, Amount) = ("1Mi".parse().unwrap(), "1048576".parse().unwrap());
        assert_eq!((binary + decimal).to_string(), "2Mi");
        assert_eq!((decimal + binary).to_string(), "2Mi");
    }
}
