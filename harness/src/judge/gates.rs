//! Gates: metrics that must keep an objective, a calibrated range, or both.

use std::collections::{BTreeMap, BTreeSet};

use crate::judge::Expect;
use crate::summary::{Bound, Gate, Metric, Outcome};

/// Metrics that are gated in every profile. One that has neither objective nor range fails: silence must
/// not pass.
pub const ALWAYS: [&str; 12] = [
    "bound_ratio",
    "unbound_pods_end",
    "ledger_mismatch_pods",
    "shortfalls_max",
    "shard_cycle_s_p99",
    "operator_rollup_s_p99",
    "harness_and_fleet_cpu_share",
    "fill_s",
    "cpu_ms_per_pod",
    "failed_attempts_per_pod",
    "machines_over_plan",
    "overfilled_nodes",
];

/// Gated when Pods are churned.
pub const WITH_CHURN: [&str; 2] = ["bind_latency_soak_s_p99", "unbound_s_max"];

/// Gated when demand swings.
pub const WITH_WAVE: [&str; 2] = ["new_capacity_samples", "new_capacity_latency_s_p99"];

/// Objectives that hold for every profile and cannot be given away.
pub fn built_in(metric: &str) -> Option<Bound> {
    match metric {
        "bound_ratio" => Some(Bound::min(1.0)),
        "ledger_mismatch_pods" | "overfilled_nodes" | "shortfalls_max" | "unbound_pods_end" => {
            Some(Bound::max(0.0))
        }
        "harness_and_fleet_cpu_share" => Some(Bound::max(0.25)),
        _ => None,
    }
}

/// Checks all gates; a metric with an objective or a range is gated too, even if it is none of the above.
pub fn check(expect: &Expect, metrics: &BTreeMap<String, Metric>) -> Vec<Gate> {
    let mut gated: BTreeSet<&str> = ALWAYS.into_iter().collect();
    if expect.has_churn || expect.has_wave {
        gated.extend(WITH_CHURN);
    }
    if expect.has_wave {
        gated.extend(WITH_WAVE);
    }
    gated.extend(expect.slos.keys().chain(expect.ranges.keys()).map(String::as_str));
    gated.into_iter().map(|name| gate(expect, name, metrics.get(name))).collect()
}

fn gate(expect: &Expect, name: &str, metric: Option<&Metric>) -> Gate {
    let slo = expect.slos.get(name).copied().or_else(|| built_in(name)).filter(|b| !b.is_empty());
    let range = expect.ranges.get(name).copied().filter(|b| !b.is_empty());
    let value = metric.and_then(|m| m.value);
    let bounds: Vec<Bound> = slo.into_iter().chain(range).collect();
    let inapplicable = expect.inapplicable(name);
    let outcome = match value {
        _ if inapplicable.is_some() => Outcome::NotApplicable,
        None => Outcome::Unmeasured,
        Some(_) if metric.is_some_and(|m| m.saturated) => Outcome::Saturated,
        Some(_) if bounds.is_empty() => Outcome::Unbounded,
        Some(value) if bounds.iter().all(|b| b.holds(value)) => Outcome::Pass,
        Some(_) => Outcome::Fail,
    };
    let unit = metric.map_or_else(String::new, |m| m.unit.clone());
    let note = inapplicable.unwrap_or_default().to_owned();
    Gate { metric: name.to_owned(), value, unit, slo, range, outcome, note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Scheduler;

    fn outcome(slo: Option<Bound>, range: Option<Bound>, metric: Option<Metric>) -> Outcome {
        let mut expect = Expect::default();
        expect.slos.extend(slo.map(|b| ("x".to_owned(), b)));
        expect.ranges.extend(range.map(|b| ("x".to_owned(), b)));
        gate(&expect, "x", metric.as_ref()).outcome
    }

    fn value(value: f64) -> Option<Metric> {
        Some(Metric { value: Some(value), unit: "s".into(), saturated: false, note: String::new() })
    }

    #[test]
    fn a_value_must_keep_both_bounds() {
        let (slo, range) = (Some(Bound::max(30.0)), Some(Bound { min: Some(1.0), max: Some(2.0) }));
        assert_eq!(outcome(slo, range, value(1.5)), Outcome::Pass);
        assert_eq!(outcome(slo, range, value(3.0)), Outcome::Fail);
        assert_eq!(outcome(slo, range, value(0.5)), Outcome::Fail);
        assert_eq!(outcome(slo, None, value(31.0)), Outcome::Fail);
        assert_eq!(outcome(slo, None, value(f64::NAN)), Outcome::Fail);
    }

    #[test]
    fn a_gate_that_does_not_apply_says_why_and_is_no_pass() {
        let name = "failed_attempts_per_pod";
        let expect = Expect { scheduler: Scheduler::PodShim, ..Expect::default() };
        for metric in [None, value(1.0)] {
            let gate = gate(&expect, name, metric.as_ref());
            assert_eq!(gate.outcome, Outcome::NotApplicable);
            assert!(gate.note.contains("pod-shim"), "{}", gate.note);
        }
        assert_eq!(gate(&expect, "bound_ratio", None).outcome, Outcome::Unmeasured);
        assert_eq!(gate(&Expect::default(), name, None).outcome, Outcome::Unmeasured);
    }

    #[test]
    fn nothing_passes_in_silence() {
        assert_eq!(outcome(None, None, value(1.0)), Outcome::Unbounded);
        assert_eq!(
            outcome(Some(Bound::default()), None, value(1.0)),
            Outcome::Unbounded,
            "an empty bound is none"
        );
        assert_eq!(outcome(Some(Bound::max(9.0)), None, None), Outcome::Unmeasured);
        let saturated = value(1.0).map(|m| Metric { saturated: true, ..m });
        assert_eq!(outcome(Some(Bound::max(9.0)), None, saturated), Outcome::Saturated);
    }
}
