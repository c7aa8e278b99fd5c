//! Tests of the index and what follows from it, on the judge's made-up run, whose host has reference speed throughout.

use host_speed::{INDEX_VERSION, Parts, REFERENCE};

use super::normalise::{busy_share, time_factor};
use super::{account, told};
use crate::judge::{Evidence, Expect, made_up, weigh};
use harness_model::record::{Phase, Sample};
use harness_model::summary::{Bound, Gate, Outcome, Summary};

const SECOND: u64 = 1_000_000;

/// Returns the slice of a host that takes that many times the reference's CPU time.
fn slower(times: u32) -> Parts {
    let part = |us: u32| us * times;
    Parts {
        allocation_us: part(REFERENCE.allocation_us),
        maps_us: part(REFERENCE.maps_us),
        json_us: part(REFERENCE.json_us),
        protobuf_us: part(REFERENCE.protobuf_us),
        tls_us: part(REFERENCE.tls_us),
        syscalls_us: part(REFERENCE.syscalls_us),
        memory_us: part(REFERENCE.memory_us),
    }
}

fn set(evidence: &mut Evidence, parts: Parts, of: impl Fn(&Sample) -> bool) {
    for sample in evidence.samples.iter_mut().filter(|sample| of(sample)) {
        sample.host_speed.iter_mut().for_each(|slice| slice.parts = parts);
    }
}

fn judged(change: impl FnOnce(&mut Expect, &mut Evidence)) -> Summary {
    let (mut expect, mut evidence) = (made_up::expect(), made_up::evidence());
    change(&mut expect, &mut evidence);
    weigh(&expect, &evidence)
}

fn gate<'a>(summary: &'a Summary, metric: &str) -> &'a Gate {
    summary.gates.iter().find(|gate| gate.metric == metric).unwrap()
}

#[test]
fn the_index_is_known_before_the_start_and_by_phase() {
    let mut evidence = made_up::evidence();
    set(&mut evidence, slower(2), |s| s.at_us > 50 * SECOND);
    let speed = account(&evidence).unwrap();
    assert_eq!((speed.index_version, speed.before_start.unwrap().median), (INDEX_VERSION, 1.0));
    assert_eq!((speed.fill().unwrap().median, speed.under_load[&Phase::Soak].median), (1.0, 0.5));
    assert_eq!(speed.fill_by_part.len(), 7);
    assert!(speed.own_cpu_share > 0.0 && speed.own_cpu_share < 0.01, "{}", speed.own_cpu_share);
    assert_eq!(told(&speed), None, "fill and soak load the host differently");
}

#[test]
fn a_host_that_changes_within_a_phase_is_told_with_the_verdict() {
    let summary = judged(|_, evidence| set(evidence, slower(2), |s| s.at_us > 120 * SECOND));
    assert!(summary.reason.contains("changed by a factor of 2.00 within the soak"), "{}", summary.reason);
    assert_eq!(summary.verdict, harness_model::summary::Verdict::Pass, "said, and no more than that");
    assert!(!judged(|_, _| {}).reason.contains("host"));
}

#[test]
fn a_host_that_was_not_measured_or_by_another_work_has_no_index() {
    let none = judged(|_, evidence| evidence.samples.iter_mut().for_each(|s| s.host_speed.clear()));
    assert_eq!(none.host_speed, None);
    let other = judged(|_, evidence| {
        evidence.samples[3].host_speed[0].index_version = INDEX_VERSION + 1;
    });
    assert_eq!(other.host_speed, None, "slices of two versions are not put together");
    let screen = harness_model::summary::screen::render(&none, std::path::Path::new("run"));
    assert!(screen.contains("host speed: not measured; no figure is normalised"), "{screen}");
    let few = judged(|_, evidence| {
        evidence.samples.iter_mut().filter(|s| s.at_us > 12 * SECOND).for_each(|s| s.host_speed.clear());
    });
    assert!(few.host_speed.unwrap().normalised.is_empty(), "one or two slices are no index");
}

#[test]
fn cpu_scales_with_the_index_and_time_as_far_as_cores_were_busy() {
    let plain = judged(|_, _| {});
    let slow = judged(|_, evidence| set(evidence, slower(2), |_| true));
    let value = |summary: &Summary, metric: &str| summary.metrics[metric].value.unwrap();
    let at_reference = |summary: &Summary, metric: &str| summary.normalised(metric, INDEX_VERSION).unwrap();
    assert_eq!(at_reference(&plain, "cpu_ms_per_pod"), value(&plain, "cpu_ms_per_pod"));
    assert_eq!(at_reference(&slow, "cpu_ms_per_pod"), value(&slow, "cpu_ms_per_pod") / 2.0);
    // A quarter of the cores' time was busy, and would take half as long: 30 s - 30 s * 0.25 * 0.5.
    assert_eq!(busy_share(&made_up::evidence(), Phase::Fill), Some(0.25));
    assert_eq!((value(&slow, "fill_s"), at_reference(&slow, "fill_s")), (30.0, 26.25));
    assert_eq!((time_factor(0.5, 1.0), time_factor(0.5, 0.0)), (0.5, 1.0));
    let theirs = judged(|expect, _| expect.theirs = true);
    assert!(theirs.host_speed.unwrap().normalised.is_empty(), "this host is not theirs");
}

#[test]
fn a_range_at_reference_speed_judges_alike_on_a_slow_host() {
    let ranged = |times: u32, max: f64| {
        judged(|expect, evidence| {
            set(evidence, slower(times), |_| true);
            expect.ranges.insert("cpu_ms_per_pod".into(), Bound::max(max));
            expect.normalised_ranges.insert("cpu_ms_per_pod".into(), INDEX_VERSION);
        })
    };
    let plain = judged(|_, _| {}).metrics["cpu_ms_per_pod"].value.unwrap();
    for (times, max, outcome) in
        [(1, plain, Outcome::Pass), (2, plain / 2.0, Outcome::Pass), (2, plain / 2.1, Outcome::Fail)]
    {
        let summary = ranged(times, max);
        let gate = gate(&summary, "cpu_ms_per_pod");
        assert_eq!((gate.outcome, gate.value), (outcome, Some(plain)), "{times} {max}");
        let shown = gate.range.unwrap().max.unwrap();
        assert!((shown - max * f64::from(times)).abs() < 1e-6, "the range as it is on this host: {shown}");
        assert!(gate.note.starts_with("at reference speed "), "{}", gate.note);
    }
}

#[test]
fn a_range_of_another_index_or_of_none_never_passes() {
    for version in [INDEX_VERSION + 1, INDEX_VERSION] {
        let summary = judged(|expect, evidence| {
            if version == INDEX_VERSION {
                evidence.samples.iter_mut().for_each(|s| s.host_speed.clear());
            }
            expect.slos.insert("cpu_ms_per_pod".into(), Bound::max(1e9));
            expect.ranges.insert("cpu_ms_per_pod".into(), Bound::max(1e9));
            expect.normalised_ranges.insert("cpu_ms_per_pod".into(), version);
        });
        let gate = gate(&summary, "cpu_ms_per_pod");
        assert_eq!(gate.outcome, Outcome::Unmeasured, "the objective alone does not let it pass");
        assert!(gate.note.contains("the host's speed was not measured with it"), "{}", gate.note);
    }
}

#[test]
fn old_runs_and_old_summaries_are_read() {
    let line = r#"{"at_us":1,"late_ms":0,"wall_skew_ms":0,"host":{"load1":0.1,"busy_cpu_ms":1,"idle_cpu_ms":1,
        "steal_cpu_ms":0,"available_mib":9,"yardstick_us":300},"processes":[]}"#;
    let sample: Sample = serde_json::from_str(line).unwrap();
    assert!(sample.host_speed.is_empty());
    let mut document = serde_json::to_value(judged(|_, _| {})).unwrap();
    document.as_object_mut().unwrap().remove("host_speed");
    document["cpu"].as_object_mut().unwrap().remove("fill_ms_per_pod");
    let summary: Summary = serde_json::from_value(document).unwrap();
    assert_eq!((summary.index_version(), summary.normalised("fill_s", INDEX_VERSION)), (None, None));
}
