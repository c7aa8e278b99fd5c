//! The judge on a small made-up run: it passes, and each single fault turns it.

use serde_json::json;

use crate::judge::made_up::{CLUSTER, events, evidence, expect, scrapes};
use crate::judge::{Evidence, Expect, weigh};
use crate::profile::Scheduler;
use crate::record::event::{End, Hold};
use crate::record::{Event, Phase, Stamped};
use crate::summary::{Outcome, Summary, Verdict};

/// Applies `fault` to the run that passes and judges it.
fn broken(fault: impl FnOnce(&mut Expect, &mut Evidence)) -> Summary {
    let (mut expect, mut evidence) = (expect(), evidence());
    fault(&mut expect, &mut evidence);
    weigh(&expect, &evidence)
}

fn with_event(event: Event) -> Summary {
    broken(|_, evidence| {
        let mut all = events();
        all.insert(all.len() - 1, Stamped { at_us: 100_000_000, event });
        evidence.read_events(all);
    })
}

#[track_caller]
fn assert_invalid(summary: &Summary, rule: &str) {
    assert_eq!(summary.verdict, Verdict::Invalid, "{}", summary.reason);
    let failed: Vec<_> = summary.validity.iter().filter(|f| !f.ok).map(|f| f.rule.as_str()).collect();
    assert!(failed.contains(&rule), "{failed:?}");
}

#[track_caller]
fn assert_gate(summary: &Summary, metric: &str, outcome: Outcome) {
    assert_eq!(summary.verdict, Verdict::Fail, "{}", summary.reason);
    let failed: Vec<_> = summary
        .gates
        .iter()
        .filter(|g| g.outcome != Outcome::Pass)
        .map(|g| (g.metric.as_str(), g.outcome))
        .collect();
    assert_eq!(failed, [(metric, outcome)]);
}

#[test]
fn the_sound_run_passes() {
    let summary = broken(|_, _| {});
    assert_eq!(summary.verdict, Verdict::Pass, "{}", summary.reason);
    assert_eq!(summary.verdict.exit_code(), 0);
    let account = &summary.pods[CLUSTER];
    assert_eq!((account.created, account.bound, account.pending, account.deleted), (5, 4, 0, 1));
    assert_eq!(summary.cpu.bottleneck[&Phase::Fill], "kube-apiserver");
    assert_eq!(summary.stages[&Phase::Fill]["create_to_bound_needed_new_capacity"].count, 4);
    assert_eq!(summary.stages[&Phase::Soak]["create_to_bound_schedulable_at_creation"].count, 1);
    assert_eq!(summary.packing[0].pods_per_node, [(2, 2)].into());
    assert_eq!((summary.packing[0].nodes_asked_max, summary.packing[0].lower_bound), (2, 2));
    assert_eq!((summary.utilisation["cpu"], summary.packing[0].node_utilisation_max["cpu"]), (1.0, 1.0));
}

#[test]
fn the_verdict_on_another_autoscaler_says_so() {
    let of = |name: Option<&str>| {
        broken(|_, evidence| {
            evidence.host = name.map_or_else(Default::default, |name| json!({"autoscaler": name}))
        })
    };
    let (reference, mine) = (of(None), of(Some("mine")));
    assert_eq!((reference.autoscaler(), mine.autoscaler()), (None, Some("mine")));
    let added = mine.reason.strip_prefix(reference.reason.as_str());
    assert_eq!(added, Some("; the autoscaler is `mine`, not the reference"), "{}", mine.reason);
}

#[test]
fn a_host_that_gets_slower_is_told() {
    let steady = broken(|_, _| {});
    assert_eq!(steady.metrics["host_slowdown_p90"].value, Some(1.0));
    let slower = broken(|_, evidence| {
        let half = evidence.samples.len() / 2;
        evidence.samples[half..].iter_mut().for_each(|s| s.host.yardstick_us = 150);
    });
    assert_eq!(slower.metrics["host_slowdown_p90"].value, Some(1.5));
}

#[test]
fn a_removed_range_fails() {
    let summary = broken(|expect, _| expect.ranges.retain(|name, _| name != "fill_s"));
    assert_gate(&summary, "fill_s", Outcome::Unbounded);
}

#[test]
fn a_machine_class_without_calibrated_ranges_is_told_with_the_verdict() {
    let told =
        "judged by objectives (SLOs) and placeholders alone: no range is calibrated for 2 cores / 24 GiB / x";
    let calibrated = broken(|_, _| {});
    assert!(!calibrated.reason.contains("calibrated"), "{}", calibrated.reason);
    let passed = broken(|expect, _| expect.is_calibrated = false);
    assert!(passed.verdict == Verdict::Pass && passed.reason.ends_with(told), "{}", passed.reason);
    assert_eq!(passed.outcome_digest, calibrated.outcome_digest, "the outcome is the same");
    let failed = broken(|expect, _| {
        expect.is_calibrated = false;
        expect.ranges.retain(|name, _| name != "fill_s");
    });
    assert!(failed.verdict == Verdict::Fail && failed.reason.ends_with(told), "{}", failed.reason);
    let without = broken(|expect, _| {
        expect.is_calibrated = false;
        expect.ranges.clear();
    });
    assert!(without.reason.contains("judged by objectives (SLOs) alone: no range"), "{}", without.reason);
    let nowhere = broken(|expect, _| (expect.is_calibrated, expect.machine_class) = (false, None));
    assert!(nowhere.reason.ends_with("for the machine, which was not recorded"), "{}", nowhere.reason);
    let invalid = broken(|expect, evidence| {
        expect.is_calibrated = false;
        evidence.end = None;
    });
    assert!(!invalid.reason.contains("calibrated"), "validity needs no range: {}", invalid.reason);
}

#[test]
fn ranges_are_those_of_the_machine_that_the_run_was_made_on() {
    use crate::profile::{Range, Ranges, fixtures_dir, load};
    let loaded = load(&fixtures_dir(), "smoke", &[]).unwrap();
    let plan = crate::plan::derive(&loaded).unwrap();
    let range = |max: f64| Range { min: None, max: Some(max), calibrated: "placeholder".into() };
    let of = |metric: &str, max: f64| [(metric.to_owned(), range(max))].into();
    let ranges = Ranges {
        metrics: of("fill_s", 60.0),
        machine_classes: [("x".to_owned(), of("fill_s", 20.0))].into(),
    };
    let on = |class: Option<&str>| Expect::of(&plan, &ranges, class.map(str::to_owned));
    assert_eq!(on(Some("x")).ranges["fill_s"].max, Some(20.0));
    assert!(on(Some("x")).is_calibrated);
    for other in [Some("y"), None] {
        assert_eq!(on(other).ranges["fill_s"].max, Some(60.0), "{other:?}");
        assert!(!on(other).is_calibrated, "{other:?}");
    }
}

#[test]
fn a_broken_objective_fails() {
    let summary = broken(|_, evidence| {
        let late = evidence.pods.last_mut().unwrap();
        late.bound_us = Some(late.created_us + 31_000_000);
    });
    assert_gate(&summary, "bind_latency_soak_s_p99", Outcome::Fail);
    assert_eq!(summary.verdict.exit_code(), 1);
}

#[test]
fn an_unmeasured_metric_fails() {
    let summary =
        broken(|_, evidence| drop(evidence.scrapes.remove(&("kube-scheduler".into(), Some(CLUSTER.into())))));
    assert_gate(&summary, "failed_attempts_per_pod", Outcome::Unmeasured);
}

#[test]
fn without_a_scheduler_its_gate_does_not_apply_and_all_others_do() {
    let shim = |expect: &mut Expect, evidence: &mut Evidence| {
        expect.scheduler = Scheduler::PodShim;
        evidence.scrapes.remove(&("kube-scheduler".into(), Some(CLUSTER.into())));
    };
    let summary = broken(shim);
    assert_eq!(summary.verdict, Verdict::Pass, "{}", summary.reason);
    assert!(summary.reason.ends_with("not applicable: failed_attempts_per_pod"), "{}", summary.reason);
    assert!(summary.metrics["failed_attempts_per_pod"].note.contains("no kube-scheduler runs"));
    assert!(!summary.metrics.contains_key("throttled_node_creator_s"), "it does not run");
    let screen = crate::summary::screen::render(&summary, std::path::Path::new("run"));
    assert!(screen.contains("- failed_attempts_per_pod          does not apply: pod-shim"), "{screen}");
    let late = broken(|expect, evidence| {
        shim(expect, evidence);
        evidence.pods[4].bound_us = Some(evidence.pods[4].created_us + 31_000_000);
    });
    assert_eq!(late.verdict, Verdict::Fail, "{}", late.reason);
}

#[test]
fn a_saturated_histogram_fails() {
    let summary = broken(|_, evidence| {
        evidence.scrapes.remove(&("shard".into(), None));
        for mut scrape in scrapes().into_iter().filter(|s| s.target == "shard") {
            scrape.series.retain(|key, _| !key.contains("le=\"0.1\""));
            scrape.series.insert("bigfleet_shard_cycle_duration_seconds_bucket{le=\"0.1\"}".into(), 0.0);
            evidence.scrapes.entry(("shard".into(), None)).or_default().push(scrape);
        }
    });
    assert_gate(&summary, "shard_cycle_s_p99", Outcome::Saturated);
}

#[test]
fn a_shortfall_in_one_scrape_fails() {
    let summary = broken(|_, evidence| {
        evidence.scrapes.remove(&("shard".into(), None));
        for mut scrape in scrapes().into_iter().filter(|s| s.target == "shard") {
            let short = f64::from(u8::from(scrape.at_us == 100_000_000));
            scrape.series.insert("bigfleet_shard_shortfalls".into(), short);
            evidence.scrapes.entry(("shard".into(), None)).or_default().push(scrape);
        }
    });
    assert_gate(&summary, "shortfalls_max", Outcome::Fail);
}

#[test]
fn requests_that_disagree_with_pods_fail() {
    let point = Event::QuietPoint {
        cluster: CLUSTER.into(),
        phase: Phase::Soak,
        declared: 4,
        live: 4,
        requests: 5,
        bound: 4,
        running: 4,
    };
    assert_gate(&with_event(point), "ledger_mismatch_pods", Outcome::Fail);
}

#[test]
fn an_unbound_pod_fails_and_is_listed_with_the_reason() {
    let summary = broken(|_, evidence| {
        let pod = &mut evidence.pods[0];
        (pod.bound_us, pod.node, pod.running_us) = (None, None, None);
        pod.reason = Some("0/2 nodes are available: 2 Insufficient cpu.".into());
    });
    assert_gate(&summary, "bound_ratio", Outcome::Fail);
    assert_eq!(summary.stuck_pods.len(), 1);
    assert!(summary.stuck_pods[0].reason.contains("Insufficient cpu"));
}

#[test]
fn a_machine_too_many_fails() {
    let summary = broken(|_, evidence| {
        let spare = crate::record::NodeRecord { name: "m-9".into(), ..evidence.nodes[0].clone() };
        evidence.nodes.push(spare);
    });
    assert_gate(&summary, "machines_over_plan", Outcome::Fail);
}

#[test]
fn a_node_that_was_too_full_for_a_moment_fails() {
    let summary = broken(|_, evidence| evidence.pods[4].bound_us = Some(70_900_000));
    assert_gate(&summary, "overfilled_nodes", Outcome::Fail);
}

#[test]
fn a_watch_gap_makes_it_invalid() {
    let summary = with_event(Event::WatchGap { cluster: CLUSTER.into(), kind: "Pod".into() });
    assert_invalid(&summary, "watches_without_gap");
    assert_eq!(summary.verdict.exit_code(), 4);
}

#[test]
fn a_dead_component_makes_it_invalid() {
    let ended = Event::ProcessEnded {
        name: "operator".into(),
        cluster: Some(CLUSTER.into()),
        exit_code: Some(1),
        log_tail: Vec::new(),
    };
    assert_invalid(&with_event(ended), "components_alive");
}

#[test]
fn a_node_that_left_ready_makes_it_invalid() {
    let lost = Event::NodeNotReady { cluster: CLUSTER.into(), node: "m-0".into() };
    assert_invalid(&with_event(lost), "nodes_stayed_ready");
}

#[test]
fn a_missing_pod_makes_it_invalid() {
    assert_invalid(&broken(|_, evidence| drop(evidence.pods.remove(0))), "ledger_complete");
    let unseen_bind = broken(|_, evidence| evidence.pods[0].bound_us = None);
    assert_invalid(&unseen_bind, "ledger_complete");
    let unseen_birth = broken(|_, evidence| evidence.pods[0].preexisting = true);
    assert_invalid(&unseen_birth, "ledger_complete");
}

#[test]
fn a_ledger_that_disagrees_with_a_list_makes_it_invalid() {
    let check =
        Event::LedgerCheck { cluster: CLUSTER.into(), unknown: vec!["pod-9".into()], vanished: Vec::new() };
    assert_invalid(&with_event(check), "ledger_agrees_with_list");
}

#[test]
fn a_starved_host_makes_it_invalid() {
    let late = broken(|_, evidence| evidence.samples[20].late_ms = 9_000);
    assert_invalid(&late, "host_not_starved");
    let stolen = broken(|_, evidence| {
        evidence.samples.iter_mut().for_each(|s| s.host.steal_cpu_ms = s.at_us / 2_000);
    });
    assert_invalid(&stolen, "host_not_starved");
}

#[test]
fn a_clock_jump_makes_it_invalid() {
    let jumped = broken(|_, evidence| evidence.samples[30..].iter_mut().for_each(|s| s.wall_skew_ms = 5_000));
    assert_invalid(&jumped, "clock_steady");
}

#[test]
fn a_rejected_request_makes_it_invalid() {
    let rejected = broken(|_, evidence| {
        let key = ("kube-apiserver".to_owned(), Some(CLUSTER.to_owned()));
        let mut scrape = scrapes().pop().unwrap();
        scrape.series = [
            (
                "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"f\",reason=\"queue-full\"}"
                    .into(),
                3.0,
            ),
            ("apiserver_request_total{code=\"429\",resource=\"pods\",verb=\"POST\"}".into(), 2.0),
            ("apiserver_request_total{code=\"429\",subresource=\"eviction\",verb=\"POST\"}".into(), 9.0),
        ]
        .into();
        evidence.scrapes.get_mut(&key).unwrap().push(scrape);
    });
    assert_invalid(&rejected, "apiserver_rejected_nothing");
    let told = rejected.validity.iter().find(|rule| rule.rule == "apiserver_rejected_nothing").unwrap();
    insta::assert_snapshot!(
        told.detail,
        @"kwok-cluster-0: 3 requests were answered 429, the first before 200.0 s of the run: 2 POST pods; by flow control: 3 f queue-full"
    );
}

#[test]
fn a_silent_source_makes_it_invalid() {
    let silent = broken(|_, evidence| {
        evidence.scrapes.remove(&("operator".into(), Some(CLUSTER.into())));
    });
    assert_invalid(&silent, "measurements_present");
    let unsampled = broken(|_, evidence| evidence.samples.retain(|s| s.at_us < 100_000_000));
    assert_invalid(&unsampled, "measurements_present");
}

#[test]
fn a_driver_that_waits_for_itself_makes_it_invalid() {
    let throttled = broken(|_, evidence| {
        evidence.scrapes.remove(&("load-driver".into(), Some(CLUSTER.into())));
        for mut scrape in scrapes().into_iter().filter(|s| s.target == "load-driver") {
            let waited = scrape.at_us as f64 / 1e6 * 0.9;
            scrape.series.insert("rest_client_rate_limiter_duration_seconds_sum".into(), waited);
            evidence.scrapes.entry((scrape.target.clone(), scrape.cluster.clone())).or_default().push(scrape);
        }
    });
    assert_invalid(&throttled, "driver_kept_pace");
}

#[test]
fn a_killed_run_is_invalid_and_an_interrupted_one_says_so() {
    let killed = broken(|_, evidence| evidence.end = None);
    assert_invalid(&killed, "completed");
    let interrupted = broken(|_, evidence| evidence.end = Some(End::Interrupted));
    assert_eq!((interrupted.verdict, interrupted.verdict.exit_code()), (Verdict::Interrupted, 130));
}

#[test]
fn a_run_that_missed_its_goal_fails_unless_its_measurement_is_void() {
    let missed = |_: &mut Expect, evidence: &mut Evidence| {
        evidence.end = Some(End::GoalMissed);
        evidence.end_reason = Some("3 of 4 Pods were bound".into());
        evidence.events.retain(|e| !matches!(e.event, Event::PhaseStarted { phase: Phase::Soak }));
    };
    let summary = broken(missed);
    assert_eq!((summary.verdict, summary.reason.as_str()), (Verdict::Fail, "3 of 4 Pods were bound"));
    let void = broken(|expect, evidence| {
        missed(expect, evidence);
        evidence.samples[30..].iter_mut().for_each(|s| s.wall_skew_ms = 5_000);
    });
    assert_invalid(&void, "clock_steady");
}

#[test]
fn the_digest_knows_outcomes_but_no_latency() {
    let digest = broken(|_, _| {}).outcome_digest;
    let slower = broken(|_, evidence| {
        evidence.pods[0].bound_us = evidence.pods[0].bound_us.map(|at| at + 1_000_000);
        evidence.pods[1].name = "another-name".into();
    });
    assert_eq!(slower.outcome_digest, digest);
    let other_plan = broken(|expect, _| expect.plan_digest = "other".into());
    assert_ne!(other_plan.outcome_digest, digest);
    let fewer_machines = broken(|_, evidence| drop(evidence.nodes.pop()));
    assert_ne!(fewer_machines.outcome_digest, digest);
}

#[test]
fn the_reports_name_the_verdict_and_every_gate() {
    let summary = broken(|expect, _| expect.ranges.retain(|name, _| name != "fill_s"));
    let screen = crate::summary::screen::render(&summary, std::path::Path::new("target/e2e/run"));
    let markdown = crate::summary::markdown::render(&summary);
    for gate in &summary.gates {
        assert!(screen.contains(&gate.metric) && markdown.contains(&gate.metric), "{}", gate.metric);
    }
    assert!(screen.contains("  Nodes by Pods on them: 2 × 2\n"), "{screen}");
    assert!(screen.contains("  used of allocatable: cpu 100 %, memory 100 %, pods 0 %\n"), "{screen}");
    assert!(screen.starts_with("FAIL") && screen.contains("neither objective nor range"), "{screen}");
    assert!(screen.contains("next: cargo xtask judge target/e2e/run"), "{screen}");
}

#[test]
fn what_control_planes_of_others_used_is_not_measured() {
    let summary = broken(|expect, evidence| {
        expect.theirs = true;
        let hold = Hold { cluster: CLUSTER.into(), renewals: 9, unrenewed_ms_max: 10_000, lease_ms: 120_000 };
        evidence.events.push(Stamped { at_us: 200_000_000, event: Event::ClusterHeld(hold) });
    });
    assert_eq!(summary.verdict, Verdict::Pass, "{}", summary.reason);
    for metric in ["cpu_ms_per_pod", "harness_and_fleet_cpu_share"] {
        let gate = summary.gates.iter().find(|gate| gate.metric == metric).unwrap();
        assert_eq!((gate.outcome, gate.value), (Outcome::NotApplicable, None), "{metric}");
        assert!(gate.note.contains("not measured"), "{}", gate.note);
    }
    assert!(summary.cpu.share.is_empty() && summary.cpu.bottleneck.is_empty(), "{:?}", summary.cpu);
}

#[test]
fn a_scheduler_that_cannot_be_read_is_no_pass() {
    let none = broken(|_, evidence| evidence.scrapes.retain(|(target, _), _| target != "kube-scheduler"));
    assert_gate(&none, "failed_attempts_per_pod", Outcome::Unmeasured);
    let some = broken(|expect, _| expect.clusters.push("another".into()));
    assert_eq!(some.metrics["failed_attempts_per_pod"].value, None, "of one cluster is not of both");
}
