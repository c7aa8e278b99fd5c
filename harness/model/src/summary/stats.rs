//! Statistics of one figure over several runs.

use serde::Serialize;

/// Distribution of the values of one figure, in its own unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Number of values.
    pub n: usize,
    /// The middle value; the mean of the two in the middle if `n` is even.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation as estimated from a sample; 0 for one value.
    pub deviation: f64,
}

impl Spread {
    /// Returns the distribution of any number of values in any order; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (n.max(2) - 1) as f64).sqrt();
        Some(Self { n, median: median(&sorted), min, max, mean, deviation })
    }
}

/// Returns the median of sorted values; NaN if there are none.
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_does_not_depend_on_the_order() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.n, spread.median, spread.min, spread.max, spread.mean), (4, 2.5, 1.0, 4.0, 2.5));
        assert!((spread.deviation - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{spread:?}");
        assert_eq!(Spread::of(&[2.0, 9.0, 1.0]).unwrap().median, 2.0);
    }

    #[test]
    fn one_value_has_no_deviation_and_none_no_spread() {
        assert_eq!(Spread::of(&[7.0]).map(|s| (s.median, s.deviation)), Some((7.0, 0.0)));
        assert_eq!(Spread::of(&[]), None);
    }
}
