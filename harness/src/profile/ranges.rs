//! Calibrated ranges: what a metric of a profile has been, so that a small fleet can fail too.
//!
//! To calibrate: run the profile at least five times on an otherwise idle machine of one class, take each
//! metric's mean × 1.2 as `max` (× 0.8 as `min`), and write n, machine class and date into `calibrated`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ranges of one profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ranges {
    /// Metric name, as in the run's summary, to its range.
    pub metrics: BTreeMap<String, Range>,
}

/// The range of one metric, in the metric's own unit; both ends belong to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// Smallest good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// `placeholder`, or how it was calibrated: `mean x 1.2, n=5, 2 cores / 24 GiB, 2026-11-23`.
    pub calibrated: String,
}

impl Range {
    /// Whether the value lies in the range. NaN never does.
    pub fn contains(&self, value: f64) -> bool {
        !value.is_nan() && self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    /// Whether the range still waits for calibration.
    pub fn is_placeholder(&self) -> bool {
        self.calibrated == "placeholder"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_belong_to_a_range_and_nan_to_none() {
        let range = Range { min: Some(1.0), max: Some(2.0), calibrated: "placeholder".into() };
        assert!(range.contains(1.0) && range.contains(2.0) && range.is_placeholder());
        assert!(!range.contains(0.99) && !range.contains(2.01) && !range.contains(f64::NAN));
    }
}
