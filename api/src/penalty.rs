//! Penalty dollars to and from the wire's logarithmic buckets.

use crate::session::PenaltyBucket;

/// Highest bucket with a finite bound: $8,388,608.
const LAST_FINITE_BUCKET: i32 = 26;

/// The bucket of a penalty, rounded up; `None` (no penalty given) is bucket 0. NaN counts as none.
pub fn bucket(dollars: Option<f64>) -> PenaltyBucket {
    let Some(dollars) = dollars.filter(|d| !d.is_nan()) else {
        return PenaltyBucket::Unspecified;
    };
    let n = if dollars <= 0.0 {
        1
    } else {
        (2..=LAST_FINITE_BUCKET).find(|&n| dollars <= upper_bound(n)).unwrap_or(LAST_FINITE_BUCKET + 1)
    };
    PenaltyBucket::try_from(n).expect("bucket numbers 0..=27 are all defined")
}

/// Upper bound of a bucket in dollars; 0 for buckets 0 and 1, infinite for pinned.
pub fn upper_bound(bucket: i32) -> f64 {
    match bucket {
        ..=1 => 0.0,
        2..=LAST_FINITE_BUCKET => 0.5 * f64::from(1u32 << (bucket - 2)),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_round_up_to_powers_of_two() {
        let cases = [
            (None, 0),
            (Some(0.0), 1),
            (Some(0.3), 2),
            (Some(0.5), 2),
            (Some(0.51), 3),
            (Some(1.0), 3),
            (Some(32.0), 8),
            (Some(33.0), 9),
            (Some(65536.0), 19),
            (Some(8_388_608.0), 26),
            (Some(8_388_609.0), 27),
        ];
        for (dollars, expected) in cases {
            assert_eq!(bucket(dollars) as i32, expected, "{dollars:?}");
        }
    }

    #[test]
    fn every_bucket_is_its_own_upper_bound() {
        for n in 1..=LAST_FINITE_BUCKET {
            assert_eq!(bucket(Some(upper_bound(n))) as i32, n);
        }
    }
}
