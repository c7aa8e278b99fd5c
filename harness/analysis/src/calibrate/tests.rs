//! Tests of calibration, on made-up runs.

use serde_json::json;

use super::{Calibration, Error, RUNS_MIN, Subject, calibrate, file_text, rounded};
use crate::compare::sets::Member;
use crate::judge::{made_up, weigh};
use harness_model::profile::{Range, Ranges};
use harness_model::summary::Verdict;

const CLASS: &str = "2 cores / 24 GiB / x";

fn member(n: usize, fill_s: f64) -> Member {
    let mut summary = weigh(&made_up::expect(), &made_up::evidence());
    summary.run_id = format!("run-{n}");
    summary.started = format!("2026-11-2{n}T10:00:00Z");
    summary.host = json!({"cores": 2, "memory_mib": 24_105, "cpu_model": "x"});
    summary.tools = json!({"digest": "d", "tools": [{"name": "etcd", "version": "v3.7.3"}]});
    summary.metrics.get_mut("fill_s").unwrap().value = Some(fill_s);
    summary.host_speed.as_mut().unwrap().normalised.insert("fill_s".into(), fill_s);
    Member { path: summary.run_id.clone().into(), summary }
}

fn members() -> Vec<Member> {
    [98.0, 99.0, 100.0, 101.0, 102.0].into_iter().enumerate().map(|(n, fill_s)| member(n, fill_s)).collect()
}

fn placeholder(max: f64) -> Range {
    Range { max: Some(max), calibrated: "placeholder".into(), ..Range::default() }
}

fn known() -> Ranges {
    let metrics = [("fill_s", 1500.0), ("machines_over_plan", 0.0)];
    Ranges {
        metrics: metrics.map(|(name, max)| (name.to_owned(), placeholder(max))).into(),
        ..Ranges::default()
    }
}

fn calibrated(known: &Ranges, members: &[Member]) -> Result<Calibration, Error> {
    only(&[], known, members)
}

fn only(metrics: &[&str], known: &Ranges, members: &[Member]) -> Result<Calibration, Error> {
    let only: Vec<String> = metrics.iter().map(|&metric| metric.to_owned()).collect();
    calibrate(&Subject { profile: "made-up", known, only: &only, plan_digest: Some("plan") }, members)
}

#[test]
fn a_range_is_the_mean_and_a_fifth_and_says_whence_it_is() {
    let found = calibrated(&known(), &members()).unwrap();
    assert_eq!(found.class, CLASS);
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
    let own = &found.ranges.machine_classes[CLASS];
    let fill = &own["fill_s"];
    assert_eq!((fill.min, fill.max), (None, Some(120.0)));
    let told = format!("mean x 1.2, n=5, mean=100, deviation=1.58, {CLASS}, 2026-11-24, at reference speed");
    assert_eq!(fill.calibrated, told);
    assert_eq!(own["machines_over_plan"].max, Some(0.0), "what is always 0 must stay 0");
    assert_eq!(found.ranges.metrics, known().metrics, "placeholders stay for other machines");
}

#[test]
fn the_file_is_read_back_as_it_was_written_and_keeps_other_classes() {
    let mut before = known();
    let other = [("fill_s".to_owned(), placeholder(7.0))].into();
    before.machine_classes.insert("8 cores / 64 GiB / y".into(), other);
    before.machine_classes.insert(CLASS.into(), [("old".to_owned(), placeholder(1.0))].into());
    let found = calibrated(&before, &members()).unwrap().ranges;
    assert_eq!(found.machine_classes["8 cores / 64 GiB / y"], before.machine_classes["8 cores / 64 GiB / y"]);
    assert!(!found.machine_classes[CLASS].contains_key("old"), "a class is calibrated as a whole");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ranges.yaml");
    let text = file_text("made-up", &found).unwrap();
    std::fs::write(&path, &text).unwrap();
    assert_eq!(harness_model::profile::read::<Ranges>(&path).unwrap(), found, "{text}");
    assert!(text.starts_with("# Ranges of profile made-up."), "{text}");
}

#[test]
fn both_ends_are_calibrated_where_both_are_known() {
    let mut known = known();
    known.metrics.get_mut("fill_s").unwrap().min = Some(1.0);
    let fill = calibrated(&known, &members()).unwrap().ranges.machine_classes[CLASS]["fill_s"].clone();
    assert_eq!((fill.min, fill.max), (Some(80.0), Some(120.0)));
    assert!(fill.calibrated.starts_with("mean x 0.8 to x 1.2, n=5,"), "{}", fill.calibrated);
}

#[test]
fn a_metric_whose_runs_lie_too_far_apart_gets_no_range() {
    let mut members = members();
    members[4] = member(4, 200.0);
    let found = calibrated(&known(), &members).unwrap();
    assert!(!found.ranges.machine_classes[CLASS].contains_key("fill_s"));
    let [told] = found.left_out.as_slice() else { panic!("{:?}", found.left_out) };
    assert!(told.starts_with("fill_s: the runs lie too far apart, from 98 to 200"), "{told}");
}

#[test]
fn a_metric_that_moves_in_steps_gets_three_deviations() {
    let steps = [4.0, 5.0, 4.0, 5.0, 5.0];
    let members: Vec<Member> = steps.into_iter().enumerate().map(|(n, fill_s)| member(n, fill_s)).collect();
    let fill = &calibrated(&known(), &members).unwrap().ranges.machine_classes[CLASS]["fill_s"];
    assert!(fill.calibrated.starts_with("mean x 1.36, n=5, mean=4.6"), "{}", fill.calibrated);
    assert_eq!(fill.max, Some(6.256), "the next step passes");
}

#[test]
fn only_the_metrics_that_are_asked_for_are_calibrated() {
    let own = only(&["fill_s"], &known(), &members()).unwrap().ranges.machine_classes[CLASS].clone();
    assert_eq!(own.keys().collect::<Vec<_>>(), ["fill_s"]);
    let told = only(&["fil_s"], &known(), &members()).unwrap_err().to_string();
    assert_eq!(told, "the ranges of made-up do not name fil_s; they name fill_s, machines_over_plan");
}

#[test]
fn fewer_than_five_runs_are_refused() {
    let error = calibrated(&known(), &members()[..RUNS_MIN - 1]).unwrap_err();
    assert!(matches!(error, Error::Few(4)));
    assert!(error.to_string().starts_with("4 runs are given, but a range needs 5 or more"), "{error}");
}

#[test]
fn runs_that_do_not_belong_together_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Member), expected: &str| {
        let mut members = members();
        change(&mut members[2]);
        let error = calibrated(&known(), &members).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    refused(&|m| m.summary = member(1, 99.0).summary, "the run run-2 is given twice");
    refused(&|m| m.summary.profile = "other".into(), "run-2 is a run of other, and not of made-up");
    refused(&|m| m.summary.verdict = Verdict::Fail, "run-2 is FAIL, and only runs that passed");
    refused(&|m| m.summary.verdict = Verdict::Invalid, "run-2 is INVALID");
    refused(
        &|m| m.summary.plan_digest = "x".into(),
        "plan digest:\n      plan: run-0, run-1, run-3, run-4\n      x: run-2",
    );
    refused(&|m| m.summary.host["cores"] = json!(4), "4 cores / 24 GiB / x: run-2");
    refused(&|m| m.summary.host = json!({}), "not recorded in run-2");
    refused(&|m| m.summary.tools["tools"][0]["version"] = json!("v9"), "tool etcd:");
    let unmeasured = |m: &mut Member| m.summary.metrics.get_mut("fill_s").unwrap().value = None;
    refused(&unmeasured, "run-2 has no value of fill_s");
    let saturated = |m: &mut Member| m.summary.metrics.get_mut("fill_s").unwrap().saturated = true;
    refused(&saturated, "run-2 has no value of fill_s");
}

#[test]
fn runs_of_another_plan_than_the_profile_has_are_refused_unless_that_is_allowed() {
    let known = known();
    let with = |plan_digest| {
        calibrate(&Subject { profile: "made-up", known: &known, only: &[], plan_digest }, &members())
    };
    let error = with(Some("newer")).unwrap_err().to_string();
    assert!(error.contains("from plan plan, and made-up as it stands gives newer"), "{error}");
    assert!(with(None).is_ok());
    let error = calibrated(&Ranges::default(), &members()).unwrap_err().to_string();
    assert!(error.contains("made-up name no metric"), "{error}");
}

#[test]
fn bounds_are_written_with_four_digits() {
    for (value, expected) in
        [(785.7354, 785.7), (31.60056, 31.6), (0.047_290_7, 0.04729), (19_696.8, 19_700.0), (0.0, 0.0)]
    {
        assert_eq!(rounded(value), expected);
    }
}

/// Returns a run on a host of that speed, with fill and CPU per Pod as measured there and at reference speed.
fn at_speed(mut member: Member, index: f64) -> Member {
    let metrics = &member.summary.metrics;
    let at_reference = |name: &str| (name.to_owned(), metrics[name].value.unwrap() * index);
    let normalised = [at_reference("fill_s"), at_reference("cpu_ms_per_pod")].into();
    member.summary.host_speed.as_mut().unwrap().normalised = normalised;
    member
}

#[test]
fn ranges_of_cpu_and_time_are_calibrated_at_reference_speed() {
    // By the clock, these runs lie far apart: their hosts have speeds from 0.5 to 1.
    let speeds = [1.0, 0.9, 0.8, 0.6, 0.5];
    let members: Vec<Member> =
        speeds.iter().enumerate().map(|(n, speed)| at_speed(member(n, 100.0 / speed), *speed)).collect();
    let found = calibrated(&known(), &members).unwrap();
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
    let own = &found.ranges.machine_classes[CLASS];
    assert_eq!((own["fill_s"].max, own["fill_s"].index_version), (Some(120.0), Some(1)));
    assert!(own["fill_s"].calibrated.ends_with(", at reference speed"), "{}", own["fill_s"].calibrated);
    assert_eq!(own["machines_over_plan"].index_version, None, "a count does not depend on the host");
    let text = file_text("made-up", &found.ranges).unwrap();
    assert!(text.contains("indexVersion: 1"), "{text}");
}

#[test]
fn runs_whose_hosts_were_not_measured_alike_are_not_calibrated_together() {
    let mixed = |change: &dyn Fn(&mut Member)| {
        let mut members = members();
        change(&mut members[1]);
        calibrated(&known(), &members).unwrap_err().to_string()
    };
    let error = mixed(&|m| m.summary.host_speed = None);
    assert!(
        error.contains("host speed index:\n      not measured: figures are not normalised: run-1"),
        "{error}"
    );
    let error = mixed(&|m| m.summary.host_speed.as_mut().unwrap().index_version = 2);
    assert!(error.contains("version 2: run-1"), "{error}");
    let error = mixed(&|m| m.summary.host_speed.as_mut().unwrap().normalised.clear());
    assert!(error.contains("run-1 has no value of fill_s at reference speed"), "{error}");

    let mut old = members();
    old.iter_mut().for_each(|m| m.summary.host_speed = None);
    let own = calibrated(&known(), &old).unwrap().ranges.machine_classes[CLASS].clone();
    assert_eq!((own["fill_s"].max, own["fill_s"].index_version), (Some(120.0), None));
}
