//! Tests of the judge on a small made-up run: it passes, and each single fault changes the verdict.

use serde_json::json;

use crate::judge::made_up::{CLUSTER, events, evidence, expect, scrapes, written};
use crate::judge::{Evidence, Expect, weigh};
use harness_model::families::{self, Family, Shown};
use harness_model::profile::Scheduler;
use harness_model::prometheus;
use harness_model::record::event::{Blame, End, Hold, LoadFailed};
use harness_model::record::{Event, Phase, PodRecord, Stamped};
use harness_model::summary::{Outcome, Summary, Verdict, file};

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
    use harness_model::profile::{Range, Ranges, fixtures_dir, load};
    let loaded = load(&fixtures_dir(), "smoke", &[]).unwrap();
    let plan = harness_model::plan::derive(&loaded).unwrap();
    let range = |max: f64| Range { max: Some(max), calibrated: "placeholder".into(), ..Range::default() };
    let of = |metric: &str, max: f64| [(metric.to_owned(), range(max))].into();
    let ranges = Ranges {
        gates: Vec::new(),
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

/// Readers of families other than rules and metrics; `throttled_pod_shim_s` is the same as that of node-creator, in
/// other runs.
const READ_ELSEWHERE: [&str; 7] = [
    "view",
    "held back",
    "picture of writes",
    "picture of scheduling attempts",
    "claims about evictions",
    "claims about preemption",
    "throttled_pod_shim_s",
];

/// Judges the run that passes as if no target had ever exposed the family or the one that proves it.
fn without(family: &Family) -> Summary {
    let hidden = [family.name, if let Shown::With(other) = family.shown { other } else { family.name }];
    broken(|_, evidence| {
        evidence.scrapes.clear();
        for mut scrape in scrapes() {
            scrape.families.retain(|name| !hidden.contains(&name.as_str()));
            let is_hidden = |key: &str| {
                families::of_series(prometheus::name(key)).is_some_and(|f| hidden.contains(&f.name))
            };
            scrape.series.retain(|key, _| !is_hidden(key));
            evidence.scrapes.entry((scrape.target.clone(), scrape.cluster.clone())).or_default().push(scrape);
        }
    })
}

#[test]
fn what_is_read_of_a_family_that_was_never_shown_is_not_measured_and_never_0() {
    let sound = broken(|_, _| {});
    assert_eq!(sound.not_shown, [""; 0]);
    for family in families::ALL {
        let summary = without(family);
        for reader in family.read_by {
            if let Some(rule) = reader.strip_prefix("rule ") {
                assert_invalid(&summary, rule);
            } else if let Some(metric) = summary.metrics.get(*reader) {
                assert!(sound.metrics[*reader].value.is_some(), "{reader} is not measured at all");
                assert_eq!(metric.value, None, "{reader} without {}", family.name);
                assert!(metric.note.contains("never showed"), "{reader}: {}", metric.note);
                let gate = summary.gates.iter().find(|gate| gate.metric == *reader);
                assert!(gate.is_none_or(|gate| gate.outcome == Outcome::Unmeasured), "{gate:?}");
            } else {
                assert!(READ_ELSEWHERE.contains(reader), "{reader} is no metric");
            }
        }
        let told = summary.not_shown.iter().any(|line| line.ends_with(family.name));
        assert_eq!(told, !family.read_by.is_empty(), "{}: {:?}", family.name, summary.not_shown);
    }
}

#[test]
fn a_family_that_one_cluster_of_two_shows_is_not_measured() {
    let summary = broken(|expect, evidence| {
        expect.clusters.push("another".into());
        for mut scrape in scrapes().into_iter().filter(|s| s.target == "kube-apiserver") {
            scrape.cluster = Some("another".into());
            scrape.families.clear();
            evidence.scrapes.entry((scrape.target.clone(), scrape.cluster.clone())).or_default().push(scrape);
        }
    });
    let cut_off = &summary.metrics["watchers_cut_off"];
    assert_eq!(cut_off.value, None);
    assert_eq!(cut_off.note, "kube-apiserver of another never showed apiserver_terminated_watchers_total");
    let rule = summary.validity.iter().find(|finding| finding.rule == "apiserver_rejected_nothing").unwrap();
    assert!(!rule.ok && rule.detail.contains("another never showed"), "{}", rule.detail);
}

#[test]
fn what_another_autoscaler_may_lack_is_no_fault_of_it() {
    let hide = |evidence: &mut Evidence| {
        let shard = evidence.scrapes.get_mut(&("shard".to_owned(), None)).unwrap();
        shard.shown.remove(families::SHARD_SHORT_CYCLES.name);
    };
    assert_gate(&broken(|_, evidence| hide(evidence)), "shortfalls_max", Outcome::Unmeasured);
    let other = broken(|_, evidence| {
        hide(evidence);
        evidence.host = json!({"autoscaler": "mine"});
    });
    assert_eq!((other.verdict, other.metrics["shortfalls_max"].value), (Verdict::Pass, Some(0.0)));
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
    let screen = harness_model::summary::screen::render(&summary, std::path::Path::new("run"));
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
    assert_eq!(summary.verdict, Verdict::Fail, "{}", summary.reason);
    let failed: Vec<_> =
        summary.gates.iter().filter(|g| g.outcome == Outcome::Fail).map(|g| g.metric.as_str()).collect();
    assert_eq!(failed, ["bound_ratio", "unbound_pods_end"]);
    assert_eq!(summary.stuck_pods.len(), 1);
    assert!(summary.stuck_pods[0].reason.contains("Insufficient cpu"));
}

#[test]
fn a_machine_too_many_fails() {
    let summary = broken(|_, evidence| {
        let spare = harness_model::record::NodeRecord { name: "m-9".into(), ..evidence.nodes[0].clone() };
        evidence.nodes.push(spare);
    });
    assert_gate(&summary, "machines_over_plan", Outcome::Fail);
}

#[test]
fn where_counts_are_not_exact_machines_are_judged_by_their_range() {
    let summary = |nodes: usize| {
        broken(|expect, evidence| {
            expect.needs[0].machines_most = 3;
            let spare =
                |n| harness_model::record::NodeRecord { name: format!("s-{n}"), ..evidence.nodes[0].clone() };
            let spares: Vec<_> = (2..nodes).map(spare).collect();
            evidence.nodes.extend(spares);
        })
    };
    assert_eq!(summary(3).packing[0].planned_text(), "2–3");
    for nodes in [2, 3] {
        assert_eq!(summary(nodes).verdict, Verdict::Pass, "{nodes}: {}", summary(nodes).reason);
    }
    assert_gate(&summary(4), "machines_over_plan", Outcome::Fail);
}

#[test]
fn a_profile_of_ones_own_passes_by_what_it_gives_and_says_what_was_not_judged() {
    let own = |expect: &mut Expect, _: &mut Evidence| {
        expect.listed.clear();
        expect.ranges.clear();
    };
    let passed = broken(own);
    assert_eq!(passed.verdict, Verdict::Pass, "{}", passed.reason);
    assert!(passed.reason.contains("not judged, because they have no objective or range: shortfalls_max, "));
    assert!(passed.reason.contains("fill_s, cpu_ms_per_pod, failed_attempts_per_pod"), "{}", passed.reason);
    assert!(passed.gates.iter().all(|gate| gate.metric != "fill_s"));
    let too_many = broken(|expect, evidence| {
        own(expect, evidence);
        let spare = harness_model::record::NodeRecord { name: "m-9".into(), ..evidence.nodes[0].clone() };
        evidence.nodes.push(spare);
    });
    assert_gate(&too_many, "machines_over_plan", Outcome::Fail);
    let listed = broken(|expect, _| {
        expect.ranges.remove("fill_s");
    });
    assert_gate(&listed, "fill_s", Outcome::Unbounded);
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
        exit_code: None,
        signal: Some(9),
        log_tail: Vec::new(),
    };
    let summary = with_event(ended);
    assert_invalid(&summary, "components_alive");
    let found = summary.validity.iter().find(|found| found.rule == "components_alive").unwrap();
    assert!(found.detail.contains("ended with signal 9"), "{}", found.detail);
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
    // A limit that stopped one CPU for a twentieth of the time.
    let throttled = broken(|_, evidence| {
        evidence.samples.iter_mut().for_each(|s| s.host.throttled_cpu_ms = Some(s.at_us / 20_000));
    });
    assert_invalid(&throttled, "host_not_starved");
}

#[test]
fn a_limit_on_cpu_that_was_never_reached_in_the_run_is_no_fault() {
    let before = broken(|_, evidence| {
        evidence.samples.iter_mut().for_each(|s| s.host.throttled_cpu_ms = Some(90_000));
    });
    assert_eq!(before.verdict, Verdict::Pass, "{:?}", before.reason);
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
fn a_line_that_was_lost_or_cut_makes_it_invalid() {
    let detail = |summary: &Summary| {
        assert_invalid(summary, "evidence_complete");
        let finding = summary.validity.iter().find(|finding| finding.rule == "evidence_complete");
        finding.unwrap().detail.clone()
    };
    let lost = broken(|_, evidence| {
        let samples = evidence.written.get_mut("processes.jsonl").unwrap();
        (samples.lost, samples.phase) = (3, Some(Phase::Soak));
        samples.error = Some("No space left on device (os error 28)".into());
    });
    assert_eq!(
        detail(&lost),
        "lost: 3 lines of processes.jsonl, from the phase soak on (No space left on device (os error 28))"
    );
    let cut = broken(|_, evidence| *evidence.found.get_mut("audit.jsonl").unwrap() = 6);
    assert_eq!(detail(&cut), "7 lines were written to audit.jsonl, and 6 are in it: was it cut?");
    let gone = broken(|_, evidence| assert!(evidence.found.remove("pods.jsonl.gz").is_some()));
    assert!(detail(&gone).contains("to pods.jsonl.gz, and 0 are in it"), "{}", detail(&gone));
    for file in ["events.jsonl", "processes.jsonl", "metrics.jsonl", "pods.jsonl.gz", "nodes.jsonl"] {
        let unsaid = broken(|_, evidence| drop(evidence.written.remove(file)));
        assert_eq!(detail(&unsaid), format!("{file} was not written"));
    }
    let uncounted = broken(|_, evidence| evidence.written.clear());
    assert!(detail(&uncounted).contains("not recorded"), "{}", detail(&uncounted));
    let early = broken(|_, evidence| {
        evidence.end = Some(End::GoalMissed);
        evidence.written.get_mut("metrics.jsonl").unwrap().lost = 1;
    });
    assert_eq!(
        detail(&early),
        "lost: 1 line of metrics.jsonl (the system did not say why)",
        "it failed early"
    );
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

fn load_failed(by: Blame) -> Event {
    Event::LoadFailed(LoadFailed {
        cluster: CLUSTER.into(),
        what: "get the Pods of Deployment tiny-0".into(),
        message: "pods \"tiny-0-x\" is forbidden: exceeded quota: few, requested: pods=1".into(),
        by,
        object: Some("ResourceQuota few".into()),
    })
}

/// Judges the run as if it had ended early with this event.
fn cut_short_by(event: Event, end: End) -> Summary {
    broken(|_, evidence| {
        let mut all: Vec<Stamped> = events();
        all.retain(|e| e.at_us < 100_000_000);
        all.push(Stamped { at_us: 100_000_000, event });
        let reason = Some("why it ended".to_owned());
        all.push(Stamped { at_us: 101_000_000, event: Event::RunEnded { end, reason, written: written() } });
        evidence.read_events(all);
    })
}

#[test]
fn load_that_the_environment_refused_voids_a_run_however_it_ended() {
    for end in [End::Aborted, End::GoalMissed] {
        let summary = cut_short_by(load_failed(Blame::Environment), end);
        assert_invalid(&summary, "load_was_made");
        assert_eq!(summary.verdict.exit_code(), 4);
        let words = "load_was_made: kwok-cluster-0: cannot get the Pods of Deployment tiny-0: pods \"tiny-0-x\" is \
                     forbidden: exceeded quota: few";
        assert!(summary.reason.starts_with(words), "{}", summary.reason);
    }
    assert_invalid(&with_event(load_failed(Blame::Environment)), "load_was_made");
}

#[test]
fn load_that_the_autoscaler_refused_is_its_failure() {
    let early = cut_short_by(load_failed(Blame::Autoscaler), End::GoalMissed);
    for summary in [early, with_event(load_failed(Blame::Autoscaler))] {
        assert_eq!((summary.verdict, summary.verdict.exit_code()), (Verdict::Fail, 1), "{}", summary.reason);
        for words in ["exceeded quota: few", "ResourceQuota few, which came after the autoscaler"] {
            assert!(summary.reason.contains(words), "{}", summary.reason);
        }
    }
    let both = broken(|_, evidence| {
        let mut all = events();
        for by in [Blame::Autoscaler, Blame::Environment] {
            all.insert(all.len() - 1, Stamped { at_us: 100_000_000, event: load_failed(by) });
        }
        evidence.read_events(all);
    });
    assert_invalid(&both, "load_was_made");
}

#[test]
fn a_load_driver_that_died_voids_the_run_in_every_phase() {
    let ended = |exit_code: Option<i32>| Event::ProcessEnded {
        name: "load-driver".into(),
        cluster: Some(CLUSTER.into()),
        exit_code,
        signal: exit_code.is_none().then_some(9),
        log_tail: Vec::new(),
    };
    for end in [End::Aborted, End::GoalMissed] {
        let summary = cut_short_by(ended(None), end);
        assert_invalid(&summary, "load_was_made");
        assert!(
            summary.reason.contains("kwok-cluster-0: load-driver ended with signal 9"),
            "{}",
            summary.reason
        );
    }
    assert_invalid(&with_event(ended(Some(1))), "load_was_made");
}

#[test]
fn what_a_load_driver_said_at_the_end_counts_and_must_be_there() {
    let with_status =
        |status: serde_json::Value| with_event(Event::DriverReport { cluster: CLUSTER.into(), status });
    let failure = json!({"what": "scale Deployment tiny-0 to 9", "message": "forbidden"});
    let failed = with_status(json!({"failures": [failure]}));
    assert_invalid(&failed, "load_was_made");
    assert!(failed.reason.contains("cannot scale Deployment tiny-0 to 9: forbidden"), "{}", failed.reason);
    assert_invalid(&with_status(json!({"phase": "filled"})), "load_was_made");
    let silent = broken(|_, evidence| {
        evidence.events.retain(|e| !matches!(e.event, Event::DriverReport { .. }));
    });
    assert_invalid(&silent, "load_was_made");
}

#[test]
fn a_pod_that_is_pending_at_the_end_fails_however_full_the_fill_was() {
    let pending = |_: &mut Expect, evidence: &mut Evidence| {
        let replaced = evidence.pods[0].clone();
        (evidence.pods[0].deleting_us, evidence.pods[0].gone_us) = (Some(190_000_000), Some(191_000_000));
        evidence.pods.push(PodRecord {
            uid: "uid-9".into(),
            created_us: 190_000_000,
            bound_us: None,
            node: None,
            running_us: None,
            ..replaced
        });
    };
    let summary = broken(pending);
    assert_eq!(summary.metrics["bound_ratio"].value, Some(1.0), "the fill was bound");
    assert_eq!(summary.metrics["unbound_pods_end"].value, Some(1.0));
    assert_gate(&summary, "unbound_pods_end", Outcome::Fail);
    let declared = broken(|expect, evidence| {
        pending(expect, evidence);
        expect.slos.insert("unbound_pods_end".into(), harness_model::summary::Bound::max(1.0));
    });
    assert_eq!(declared.verdict, Verdict::Pass, "{}", declared.reason);
    let early = broken(|_, evidence| evidence.end = Some(End::GoalMissed));
    assert_eq!(early.metrics["unbound_pods_end"].value, None, "it came to no end");
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
    let screen = harness_model::summary::screen::render(&summary, std::path::Path::new("target/e2e/run"));
    let markdown = harness_model::summary::markdown::render(&summary);
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

#[test]
fn a_summary_is_read_back_from_its_file_and_from_its_run() {
    let summary = broken(|_, _| {});
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("summary.json");
    std::fs::write(&path, serde_json::to_vec(&summary).unwrap()).unwrap();
    assert_eq!(file::read(&path).unwrap().outcome_digest, summary.outcome_digest);
    assert_eq!(file::read(dir.path()).unwrap().run_id, summary.run_id);
}
