//! Calibrated ranges: the values that a profile's metrics have had so far, so that a small fleet can fail too.
//!
//! `cargo xtask calibrate PROFILE RUN...` writes the ranges of one machine class: each metric's mean × 1.2 over at
//! least five passing runs. Only placeholders and ranges that hold on every machine are written by hand.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ranges of one profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ranges {
    /// Metrics that must have an objective or a range here; a metric that has neither fails. Without this list, a
    /// profile is judged by the objectives and ranges it gives and by the metrics that are exact (`harness_analysis::judge::gates`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
    /// Ranges by metric name (as in the run's summary), for every machine class that has no range of its own.
    #[serde(default)]
    pub metrics: BTreeMap<String, Range>,
    /// Ranges by machine class (as `summary::machine::class` writes it), as measured there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machine_classes: BTreeMap<String, BTreeMap<String, Range>>,
}

/// The range of one metric, in the metric's own unit; both ends are included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// Smallest good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// `placeholder`, or how it was calibrated:
    /// `mean x 1.2, n=5, mean=100, deviation=3, 2 cores / 24 GiB / AMD EPYC, 2026-11-23`.
    pub calibrated: String,
    /// Version of the host speed index that the bounds are normalised by: they hold at reference speed
    /// (`docs/host-speed.md`). Without one they are plain values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_version: Option<u32>,
}

impl Ranges {
    /// Returns the ranges for a machine of that class: its own, and the general ones for all other metrics.
    pub fn on(&self, class: Option<&str>) -> BTreeMap<String, Range> {
        let mut ranges = self.metrics.clone();
        ranges
            .extend(self.own(class).into_iter().flatten().map(|(name, range)| (name.clone(), range.clone())));
        ranges
    }

    /// Whether any metric was calibrated on machines of that class. A machine that was not recorded has no class.
    pub fn is_calibrated_on(&self, class: Option<&str>) -> bool {
        self.own(class).is_some_and(|own| !own.is_empty())
    }

    fn own(&self, class: Option<&str>) -> Option<&BTreeMap<String, Range>> {
        self.machine_classes.get(class?)
    }
}

impl Range {
    /// Whether the value lies in the range. NaN never does.
    pub fn contains(&self, value: f64) -> bool {
        !value.is_nan() && self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    /// Whether the range still has to be calibrated.
    pub fn is_placeholder(&self) -> bool {
        self.calibrated == "placeholder"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(max: f64) -> Range {
        Range { max: Some(max), calibrated: "placeholder".into(), ..Range::default() }
    }

    #[test]
    fn both_ends_belong_to_a_range_and_nan_to_none() {
        let range =
            Range { min: Some(1.0), max: Some(2.0), calibrated: "placeholder".into(), ..Range::default() };
        assert!(range.contains(1.0) && range.contains(2.0) && range.is_placeholder());
        assert!(!range.contains(0.99) && !range.contains(2.01) && !range.contains(f64::NAN));
    }

    #[test]
    fn a_machine_class_has_its_own_ranges_and_else_those_of_every_machine() {
        let named =
            |ranges: &[(&str, f64)]| ranges.iter().map(|(n, max)| ((*n).to_owned(), at_most(*max))).collect();
        let ranges = Ranges {
            gates: Vec::new(),
            metrics: named(&[("fill_s", 1500.0), ("machines_over_plan", 0.0)]),
            machine_classes: [
                ("x".to_owned(), named(&[("fill_s", 700.0)])),
                ("empty".to_owned(), named(&[])),
            ]
            .into(),
        };
        assert_eq!(ranges.on(Some("x")), named(&[("fill_s", 700.0), ("machines_over_plan", 0.0)]));
        assert!(ranges.is_calibrated_on(Some("x")));
        for other in [Some("y"), Some("empty"), None] {
            assert_eq!(ranges.on(other), ranges.metrics, "{other:?}");
            assert!(!ranges.is_calibrated_on(other), "{other:?}");
        }
    }
}
