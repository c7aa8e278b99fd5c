//! How certain the ratio of two medians is, from the values alone.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use harness_model::summary::stats::median;

/// Draws of both sets. With more draws, the ends of the interval move by less than the last digit of the figures shown.
pub const RESAMPLES: usize = 5_000;
/// Fixed, so that the same values give the same interval on every machine and whatever else is compared.
const SEED: u64 = 0x00b0_0757;
/// Share of the draws beyond each end: a 95 % interval.
const TAIL: f64 = 0.025;

/// Returns the 95 % interval of the ratio of the medians, `b` over `a`: percentiles over draws with replacement from
/// both.
///
/// Returns `None` if a value is 0 or less, because then the ratio says nothing, and for empty sets.
pub fn ratio_interval(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    if a.is_empty() || b.is_empty() || a.iter().chain(b).any(|value| *value <= 0.0) {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut drawn = Vec::with_capacity(a.len().max(b.len()));
    let mut median_of_draw = |values: &[f64]| {
        drawn.clear();
        drawn.extend((0..values.len()).map(|_| values[rng.random_range(0..values.len())]));
        drawn.sort_unstable_by(f64::total_cmp);
        median(&drawn)
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES).map(|_| median_of_draw(b) / median_of_draw(a)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ratios[((RESAMPLES - 1) as f64 * share).round() as usize];
    Some((at(TAIL), at(1.0 - TAIL)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_same_at_every_turn_and_holds_the_ratio() {
        let (a, b) = ([10.0, 11.0, 12.0, 10.5, 11.5], [12.0, 13.0, 14.0, 12.5, 13.5]);
        let (low, high) = ratio_interval(&a, &b).unwrap();
        assert_eq!(ratio_interval(&a, &b), Some((low, high)));
        assert!(low < 13.0 / 11.0 && 13.0 / 11.0 < high, "{low} {high}");
        assert!(12.0 / 12.0 <= low && high <= 14.0 / 10.0, "no draw lies beyond the values: {low} {high}");
    }

    #[test]
    fn sets_that_lie_wider_give_a_wider_interval() {
        let width =
            |a: &[f64]| ratio_interval(a, &[100.0, 101.0, 102.0]).map(|(low, high)| high - low).unwrap();
        assert!(width(&[99.0, 100.0, 101.0]) < width(&[80.0, 100.0, 120.0]));
    }

    #[test]
    fn a_set_without_noise_leaves_no_doubt_and_a_zero_no_ratio() {
        assert_eq!(ratio_interval(&[2.0, 2.0], &[3.0, 3.0]), Some((1.5, 1.5)));
        assert_eq!(ratio_interval(&[0.0, 1.0], &[1.0, 1.0]), None);
        assert_eq!(ratio_interval(&[1.0, 1.0], &[1.0, 0.0]), None);
        assert_eq!(ratio_interval(&[], &[1.0]), None);
    }
}
