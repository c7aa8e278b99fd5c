//! Gates: metrics that must keep an objective, a calibrated range, or both.
//!
//! A profile may list its gates (`gates` in its ranges.yaml). A listed gate without objective or range then fails,
//! because a missing bound must not pass silently. The project's own profiles list theirs. A profile without a list is
//! judged by the objectives and ranges that it gives, and by what is exact; the verdict names what was not judged.

use std::collections::{BTreeMap, BTreeSet};

use crate::judge::Expect;
use harness_model::profile;
use harness_model::summary::{Bound, Gate, Metric, Outcome};

/// Metrics that a profile which lists its gates must list.
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

/// Listed in addition to these, and gated when Pods are churned.
pub const WITH_CHURN: [&str; 2] = ["bind_latency_soak_s_p99", "unbound_s_max"];

/// Listed in addition to these, and gated when demand swings.
pub const WITH_WAVE: [&str; 2] = ["new_capacity_samples", "new_capacity_latency_s_p99"];

/// Metrics that are gated in every profile, even in one that lists no gates: counts that are the same on every machine.
pub const EXACT: [&str; 5] =
    ["bound_ratio", "ledger_mismatch_pods", "machines_over_plan", "overfilled_nodes", "unbound_pods_end"];

/// Returns the objective of a metric in every profile that does not set its own. It cannot be removed.
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

/// Returns the objective of an exact metric in a profile that lists no gates and sets no objective for it.
fn by_default(expect: &Expect, metric: &str) -> Option<Bound> {
    let is_left_open = expect.listed.is_empty() && !expect.ranges.contains_key(metric);
    (metric == "machines_over_plan" && is_left_open).then(|| Bound::max(0.0))
}

/// Checks a profile's list.
///
/// # Errors
/// Returns which entry is not a gate, or which gates are missing: a list without them would look as if that were
/// intended.
pub fn check_list(listed: &[String]) -> Result<(), String> {
    let known = || ALWAYS.into_iter().chain(WITH_CHURN).chain(WITH_WAVE);
    if let Some(stray) = listed.iter().find(|name| known().all(|known| known != name.as_str())) {
        return Err(format!("gates: {}", profile::unknown("gate", known(), stray)));
    }
    let missing: Vec<&str> = ALWAYS.into_iter().filter(|name| !listed.iter().any(|l| l == name)).collect();
    if !listed.is_empty() && !missing.is_empty() {
        return Err(format!("gates: lacks {}; list all, or none", missing.join(", ")));
    }
    Ok(())
}

/// Checks all gates. A metric with an objective or a range is gated too, even if it is not listed above.
pub fn check(expect: &Expect, metrics: &BTreeMap<String, Metric>) -> Vec<Gate> {
    gated(expect).into_iter().map(|name| gate(expect, name, metrics.get(name))).collect()
}

/// Returns the metrics that a run is judged by.
pub fn gated(expect: &Expect) -> BTreeSet<&str> {
    let mut gated: BTreeSet<&str> = EXACT.into_iter().collect();
    gated.extend(expect.listed.iter().map(String::as_str).filter(|name| applies(expect, name)));
    gated.extend(expect.slos.keys().chain(expect.ranges.keys()).map(String::as_str));
    gated
}

/// Returns the metrics that shipped profiles are judged by but this run is not: nothing says what they should be.
pub fn not_judged(expect: &Expect) -> Vec<&'static str> {
    let gated = gated(expect);
    let all = ALWAYS.into_iter().chain(WITH_CHURN).chain(WITH_WAVE);
    all.filter(|name| applies(expect, name) && !gated.contains(name)).collect()
}

fn applies(expect: &Expect, metric: &str) -> bool {
    let has_churn = expect.has_churn || expect.has_wave;
    (has_churn || !WITH_CHURN.contains(&metric)) && (expect.has_wave || !WITH_WAVE.contains(&metric))
}

/// Describes what a run will be judged by, and what not.
pub fn announcement(expect: &Expect) -> String {
    let mut text = format!("Judged by: {}\n", joined(gated(expect)));
    let not_judged = not_judged(expect);
    if !not_judged.is_empty() {
        text += &format!(
            "Measured but not judged: {}; set an objective under `slo`, or a range in ranges.yaml next to the profile\n",
            joined(not_judged)
        );
    }
    let open = gated(expect).into_iter().filter(|name| bounds(expect, name).iter().all(Option::is_none));
    let open = joined(open.filter(|name| expect.inapplicable(name).is_none()));
    if !open.is_empty() {
        text += &format!("Will fail, because they are listed but have neither objective nor range: {open}\n");
    }
    text
}

fn joined<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Returns the objective and the range of a metric.
fn bounds(expect: &Expect, name: &str) -> [Option<Bound>; 2] {
    let slo = expect.slos.get(name).copied().or_else(|| built_in(name)).or_else(|| by_default(expect, name));
    let range = expect.ranges.get(name).copied();
    [slo, range].map(|bound| bound.filter(|b| !b.is_empty()))
}

fn gate(expect: &Expect, name: &str, metric: Option<&Metric>) -> Gate {
    let [slo, range] = bounds(expect, name);
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
    use harness_model::profile::Scheduler;

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

    fn of_nothing_but(slo: &str, bound: Bound) -> Expect {
        Expect { slos: [(slo.to_owned(), bound)].into(), has_churn: true, ..Expect::default() }
    }

    #[test]
    fn a_profile_without_a_list_is_judged_by_what_it_gives_and_what_is_exact() {
        let expect = of_nothing_but("unbound_s_max", Bound::max(60.0));
        let exact = EXACT.into_iter().chain(["unbound_s_max"]).collect::<BTreeSet<_>>();
        assert_eq!(gated(&expect), exact);
        let not_judged = not_judged(&expect);
        assert!(not_judged.contains(&"fill_s") && not_judged.contains(&"bind_latency_soak_s_p99"));
        assert!(!not_judged.contains(&"new_capacity_samples"), "demand does not swing");
        assert!(check(&expect, &BTreeMap::new()).iter().all(|g| g.outcome == Outcome::Unmeasured));
        let told = announcement(&expect);
        assert!(told.contains("not judged: shortfalls_max") && !told.contains("Will fail"), "{told}");
        let metrics = [("machines_over_plan".to_owned(), value(1.0).unwrap())].into();
        let gates = check(&expect, &metrics);
        let machines = gates.iter().find(|g| g.metric == "machines_over_plan").unwrap();
        assert_eq!(machines.outcome, Outcome::Fail, "one machine too many is one too many");
    }

    #[test]
    fn a_listed_gate_without_a_bound_fails_and_is_told_before() {
        let listed = ALWAYS.into_iter().chain(WITH_CHURN).chain(WITH_WAVE).map(str::to_owned).collect();
        let expect = Expect { listed, ..of_nothing_but("unbound_s_max", Bound::max(60.0)) };
        assert!(not_judged(&expect).is_empty());
        let metrics = [("fill_s".to_owned(), value(1.0).unwrap())].into();
        let gates = check(&expect, &metrics);
        assert!(gates.iter().any(|g| g.metric == "fill_s" && g.outcome == Outcome::Unbounded));
        assert!(gates.iter().all(|g| g.metric != "new_capacity_samples"), "demand does not swing");
        let told = announcement(&expect);
        assert!(told.contains("Will fail") && told.contains("machines_over_plan"), "{told}");
    }

    #[test]
    fn a_list_is_whole_and_knows_its_names() {
        let whole: Vec<String> = ALWAYS.map(str::to_owned).into();
        assert_eq!(check_list(&whole), Ok(()));
        assert_eq!(check_list(&[]), Ok(()));
        assert!(check_list(&whole[1..]).unwrap_err().contains("lacks bound_ratio"));
        let typo = [whole, vec!["fil_s".to_owned()]].concat();
        assert!(check_list(&typo).unwrap_err().contains("did you mean `fill_s`"));
    }

    #[test]
    fn every_profile_that_comes_with_the_project_lists_its_gates_and_bounds_them() {
        let fixtures = profile::fixtures_dir();
        for name in profile::profile_names(&fixtures) {
            // Informational: it gives no objectives.
            if name == "dev-50-realistic" {
                continue;
            }
            let loaded = profile::load(&fixtures, &name, &[]).unwrap();
            assert_eq!(check_list(&loaded.ranges.gates), Ok(()), "{name}");
            assert!(!loaded.ranges.gates.is_empty(), "{name} lists no gates");
            // The largest profiles have more machines than a test has time for; their lists are the same.
            if loaded.profile.total_pods() > 50_000 {
                continue;
            }
            let expect = Expect::of(&harness_model::plan::derive(&loaded).unwrap(), &loaded.ranges, None);
            let told = announcement(&expect);
            assert!(!told.contains("not judged") && !told.contains("Will fail"), "{name}: {told}");
        }
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
