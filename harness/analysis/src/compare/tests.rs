//! Tests of the comparison, on the judge's made-up run.

use serde_json::json;

use super::{Error, Figure, Group, Reading, Run, compare, screen};
use crate::judge::{self, made_up};
use harness_model::record::RunDir;
use harness_model::summary::{Bound, Outcome, Summary};

fn summary() -> Summary {
    let mut summary = judge::weigh(&made_up::expect(), &made_up::evidence());
    summary.host = json!({"cores": 2, "cpu_model": "x", "load1_at_start": 0.1});
    summary.tools = json!({"digest": "d", "tools": [
        {"name": "etcd", "version": "v3.7.3", "source": "built", "sha256": "0123456789abcdef", "mtime_ns": 1},
    ]});
    summary
}

fn run() -> Run {
    let plan = json!({
        "profile": {"name": "made-up", "churnPerMinute": 0.02, "shard": {"cycleInterval": "1s"}},
        "catalog": {"archetypes": {"tiny": {"sizes": [{"cpu": "1"}]}}},
        "overrides": [],
        "totals": {"pods": 4},
    });
    Run { dir: "runs/x".into(), summary: summary(), plan }
}

fn figure<'a>(figures: &'a [Figure], group: Group, name: &str) -> &'a Figure {
    figures.iter().find(|f| f.group == group && f.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_run_is_like_itself() {
    let compared = compare(&run(), &run(), false).unwrap();
    assert!(compared.plan.is_empty() && compared.gates.is_empty() && compared.validity.is_empty());
    assert!(compared.tools.is_empty() && compared.host.is_empty());
    assert!(compared.figures.iter().all(|f| f.difference.is_none_or(|d| d == 0.0)), "{compared:#?}");
    let of = |group| compared.figures.iter().filter(|f| f.group == group).count();
    assert_eq!(of(Group::Metrics), summary().metrics.len(), "every metric is compared");
    for group in [Group::Phases, Group::Stages, Group::Pods, Group::Machines, Group::Cpu, Group::Memory] {
        assert!(of(group) > 0, "{group:?}");
    }
    let text = screen::render(&compared);
    assert!(text.contains("plans: the same; outcome digests: the same"), "{text}");
    assert!(text.contains("fill_s s") && text.contains("machines when quiet: the same in both"), "{text}");
}

#[test]
fn figures_differ_by_number_and_percent_unless_one_is_not_known() {
    let (a, mut b) = (run(), run());
    let set = |run: &mut Run, name: &str, value: Option<f64>, saturated: bool| {
        let metric = run.summary.metrics.get_mut(name).unwrap();
        (metric.value, metric.saturated) = (value, saturated);
    };
    let fill_s = a.summary.metrics["fill_s"].value.unwrap();
    set(&mut b, "fill_s", Some(fill_s * 1.5), false);
    set(&mut b, "cpu_ms_per_pod", None, false);
    set(&mut b, "shard_cycle_s_p99", Some(10.0), true);
    set(&mut b, "shortfalls_max", Some(2.0), false);
    b.summary.metrics.remove("bound_ratio");
    let compared = compare(&a, &b, false).unwrap();
    let metric = |name| figure(&compared.figures, Group::Metrics, name);
    assert_eq!(metric("fill_s").difference, Some(fill_s / 2.0));
    assert_eq!(metric("fill_s").percent, Some(50.0));
    for unknown in ["cpu_ms_per_pod", "shard_cycle_s_p99", "bound_ratio"] {
        assert_eq!((metric(unknown).difference, metric(unknown).percent), (None, None), "{unknown}");
    }
    assert_eq!(metric("shard_cycle_s_p99").b, Some(Reading { value: 10.0, saturated: true }));
    assert_eq!(metric("shortfalls_max").difference, Some(2.0));
    assert_eq!(metric("shortfalls_max").percent, None, "there is no percentage of nothing");
    let text = screen::render(&compared);
    let line = |name: &str| text.lines().find(|l| l.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(line("fill_s ").contains("+50.0"), "{text}");
    assert!(line("shard_cycle_s_p99").contains("> 10"), "{text}");
    assert!(line("bound_ratio").ends_with('-'), "{text}");
}

#[test]
fn different_plans_are_refused_with_the_keys_that_differ() {
    let (a, mut b) = (run(), run());
    b.summary.plan_digest = "other".into();
    b.plan["profile"]["churnPerMinute"] = json!(0.05);
    b.plan["profile"]["shard"] = json!({"cycleInterval": "1s", "reclaimCapFraction": 0.1});
    b.plan["totals"]["pods"] = json!(5);
    let error = compare(&a, &b, false).unwrap_err().to_string();
    assert!(error.contains("churnPerMinute: 0.02 | 0.05"), "{error}");
    assert!(error.contains("shard.reclaimCapFraction: absent | 0.1"), "{error}");
    assert!(!error.contains("totals"), "what follows from the profile is not a reason: {error}");
    assert!(error.ends_with("use --any-plan to compare them anyway"), "{error}");
    let compared = compare(&a, &b, true).unwrap();
    assert_eq!(compared.plan.len(), 2);
    assert!(screen::render(&compared).contains("plans: different"));
}

#[test]
fn a_planner_that_changed_is_told_by_what_it_derived() {
    let (a, mut b) = (run(), run());
    b.summary.plan_digest = "other".into();
    b.plan["totals"]["pods"] = json!(5);
    let Err(Error::Plans(differing)) = compare(&a, &b, false) else { panic!("must be refused") };
    assert_eq!(differing.len(), 1);
    assert_eq!(differing[0].key, "totals.pods");
}

#[test]
fn other_bounds_other_outcomes_and_broken_rules_are_listed() {
    let (a, mut b) = (run(), run());
    let gate = b.summary.gates.iter_mut().find(|g| g.metric == "fill_s").unwrap();
    (gate.range, gate.outcome) = (None, Outcome::Unbounded);
    let gate = b.summary.gates.iter_mut().find(|g| g.metric == "shard_cycle_s_p99").unwrap();
    gate.slo = Some(Bound::max(6.0));
    b.summary.gates.retain(|g| g.metric != "unbound_s_max");
    b.summary.validity[0].ok = false;
    let rule = b.summary.validity[0].rule.clone();
    let compared = compare(&a, &b, false).unwrap();
    let changed: Vec<_> = compared.gates.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(changed, ["fill_s", "shard_cycle_s_p99", "unbound_s_max"]);
    assert_eq!(compared.validity.iter().map(|c| &c.name).collect::<Vec<_>>(), [&rule]);
    let text = screen::render(&compared);
    assert!(text.contains("fill_s: pass -> unbounded  range <= 60 -> none"), "{text}");
    assert!(text.contains("shard_cycle_s_p99: pass -> pass  objective <= 5 -> <= 6"), "{text}");
    assert!(text.contains("unbound_s_max: pass -> no gate"), "{text}");
    assert!(text.contains(&format!("{rule}: holds | broken (")), "{text}");
}

#[test]
fn tools_differ_by_what_they_are_and_hosts_by_their_facts() {
    let (a, mut b) = (run(), run());
    b.summary.tools["tools"][0]["mtime_ns"] = json!(2);
    assert!(compare(&a, &b, false).unwrap().tools.is_empty(), "a file's time is no difference");
    b.summary.tools["tools"][0]["version"] = json!("v3.7.4");
    b.summary.host["cores"] = json!(4);
    let compared = compare(&a, &b, false).unwrap();
    assert_eq!(compared.tools[0].key, "etcd");
    assert_eq!(compared.tools[0].b, Some(json!("v3.7.4 (built, sha256 0123456789ab)")));
    assert_eq!(compared.host.len(), 1);
    assert!(screen::render(&compared).contains("cores: 2 | 4"));
    assert!(compared.to_json().contains("\"difference\""));
}

#[test]
fn what_is_no_judged_run_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = RunDir::new(dir.path());
    let error = Run::load(&run_dir).unwrap_err().to_string();
    assert!(error.contains("summary.json") && error.contains("cargo xtask judge"), "{error}");
    run_dir.write_json(&run_dir.summary(), &summary()).unwrap();
    let error = Run::load(&run_dir).unwrap_err().to_string();
    assert!(error.contains("plan.json"), "{error}");
    run_dir.write_json(&run_dir.plan(), &run().plan).unwrap();
    assert_eq!(Run::load(&run_dir).unwrap().summary.outcome_digest, summary().outcome_digest);
}

#[test]
fn figures_at_reference_speed_stand_beside_each_other_only_by_one_version_of_the_index() {
    let name = "cpu_ms_per_pod (index 1)";
    let speed = |compared: &super::Comparison| figure(&compared.figures, Group::Speed, name).clone();
    let both = compare(&run(), &run(), false).unwrap();
    assert!(speed(&both).difference == Some(0.0) && both.host_speed_note.is_empty(), "{both:?}");
    let (mut old, mut other) = (run(), run());
    old.summary.host_speed = None;
    other.summary.host_speed.as_mut().unwrap().index_version = 2;
    for (b, told) in [(&old, "index version 1 in A, not measured in B"), (&other, "index version 2 in B")] {
        let compared = compare(&run(), b, false).unwrap();
        assert_eq!((speed(&compared).b, speed(&compared).difference), (None, None));
        let text = screen::render(&compared);
        assert!(text.contains("figures are not normalised: ") && text.contains(told), "{text}");
    }
    let neither = compare(&old, &old, false).unwrap();
    assert!(neither.host_speed_note.contains("in neither run"), "{}", neither.host_speed_note);
    assert!(neither.figures.iter().all(|f| f.group != Group::Speed));
}
