//! The metrics of a run, each measured or said not to be.

use std::collections::BTreeMap;

use crate::judge::latency::{Latencies, NodeIndex, born_in, needed_new_capacity};
use crate::judge::{Evidence, Expect, cpu, packing};
use crate::observe::prometheus::{Buckets, Quantile, Series, label, sum};
use crate::profile::Scheduler;
use crate::record::{Event, Phase, PodRecord};
use crate::summary::{Metric, Packing};

/// The shard's gauge of Needs that lack machines.
pub const SHORTFALLS: &str = "bigfleet_shard_shortfalls";
/// The shard's counter of actions that were carried out, by kind and outcome.
pub const ACTION_OUTCOMES: &str = "bigfleet_shard_action_execute_outcomes_total";
/// kube-scheduler's counter of attempts, by result.
pub const SCHEDULE_ATTEMPTS: &str = "scheduler_schedule_attempts_total";

/// All metrics by name.
pub fn all(expect: &Expect, evidence: &Evidence) -> BTreeMap<String, Metric> {
    let mut metrics = Metrics::default();
    fill(expect, evidence, &mut metrics);
    soak(evidence, &mut metrics);
    fleet(evidence, &mut metrics);
    scheduling(expect, evidence, &mut metrics);
    resources(expect, evidence, &mut metrics);
    metrics.put("ledger_mismatch_pods", "Pods", ledger_mismatch(expect, evidence), "");
    metrics.put("machines_over_plan", "machines", machines_over_plan(expect, evidence), "");
    let overfilled = packing::overfilled(expect, evidence).map(|nodes| nodes as f64);
    metrics.put("overfilled_nodes", "Nodes", overfilled, "more taken than allocatable, at any moment");
    metrics.0
}

#[derive(Default)]
struct Metrics(BTreeMap<String, Metric>);

impl Metrics {
    fn put(&mut self, name: &str, unit: &str, value: Option<f64>, note: &str) {
        let note = if value.is_none() && note.is_empty() { "not measured" } else { note };
        let metric = Metric { value, unit: unit.into(), saturated: false, note: note.into() };
        self.0.insert(name.to_owned(), metric);
    }

    fn put_quantiles(&mut self, name: &str, latencies: &Latencies) {
        for (suffix, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let note = format!("{} samples", latencies.count());
            let metric = Metric {
                value: latencies.quantile_s(q),
                unit: "s".into(),
                saturated: latencies.is_saturated(),
                note,
            };
            self.0.insert(format!("{name}_s_{suffix}"), metric);
        }
    }

    fn put_scraped_p99(&mut self, name: &str, histogram: Result<Buckets, String>) {
        let metric = |value, saturated, note| Metric { value, unit: "s".into(), saturated, note };
        let metric = match histogram {
            Err(reason) => metric(None, false, reason),
            Ok(buckets) => match buckets.quantile(0.99) {
                Quantile::Empty => metric(None, false, "no observation in the soak".into()),
                Quantile::Value(v) => metric(Some(v), false, format!("{} samples", buckets.count())),
                Quantile::Saturated(v) => metric(Some(v), true, format!("above {v} s, the last bucket")),
            },
        };
        self.0.insert(name.to_owned(), metric);
    }
}

fn fill(expect: &Expect, evidence: &Evidence, metrics: &mut Metrics) {
    let finished = evidence.finished(Phase::Fill);
    let window = evidence.window(Phase::Fill);
    let length_s = window.map(|(from, to)| (to - from) as f64 / 1e6);
    metrics.put("fill_s", "s", length_s.filter(|_| finished), "");
    let bound_at_end = window.filter(|_| expect.total_pods() > 0).map(|(_, end)| {
        let live = |p: &&PodRecord| p.deleting_us.is_none_or(|at| at > end);
        let bound = |p: &&PodRecord| p.bound_us.is_some_and(|at| at <= end);
        evidence.pods.iter().filter(live).filter(bound).count() as f64
    });
    let ratio = bound_at_end.map(|bound| (bound / expect.total_pods() as f64).min(1.0));
    metrics.put("bound_ratio", "share", ratio, "live bound Pods of the target at the end of the fill");
    let rate = bound_at_end.zip(length_s).filter(|(_, s)| *s > 0.0).map(|(bound, s)| bound / s);
    metrics.put("fill_rate_pods_per_s", "Pods/s", rate, "");
}

fn soak(evidence: &Evidence, metrics: &mut Metrics) {
    let index = NodeIndex::new(evidence);
    let (mut every, mut at_once, mut new) = <(Latencies, Latencies, Latencies)>::default();
    let mut unbound_us: Option<u64> = None;
    for pod in born_in(evidence, Phase::Soak) {
        unbound_us = unbound_us.max(Some(pod.unbound_us(evidence.end_us)));
        let Some(bound_us) = pod.bound_us else { continue };
        let latency = bound_us.saturating_sub(pod.created_us);
        every.add(latency);
        if needed_new_capacity(pod, &index) { new.add(latency) } else { at_once.add(latency) }
    }
    metrics.put("unbound_s_max", "s", unbound_us.map(|us| us as f64 / 1e6), "Pods born in the soak");
    metrics.put_quantiles("bind_latency_soak", &every);
    metrics.put_quantiles("schedulable_latency", &at_once);
    metrics.put_quantiles("new_capacity_latency", &new);
    let has_soak = evidence.finished(Phase::Soak);
    metrics.put("new_capacity_samples", "Pods", has_soak.then_some(new.count() as f64), "");
    metrics.put(
        "soak_pods",
        "Pods",
        has_soak.then_some((every.count()) as f64),
        "born and bound in the soak",
    );
}

fn fleet(evidence: &Evidence, metrics: &mut Metrics) {
    let histogram = |target, name| soak_histogram(evidence, target, name);
    metrics.put_scraped_p99("shard_cycle_s_p99", histogram("shard", "bigfleet_shard_cycle_duration_seconds"));
    metrics.put_scraped_p99(
        "operator_rollup_s_p99",
        histogram("operator", "bigfleet_operator_rollup_duration_seconds"),
    );
    metrics.put_scraped_p99(
        "operator_ack_s_p99",
        histogram("operator", "bigfleet_operator_acknowledge_duration_seconds"),
    );
    let configure = histogram("shard", "bigfleet_shard_configure_phase_seconds");
    metrics.put_scraped_p99("shard_configure_s_p99", configure);
    let window = evidence.window(Phase::Soak);
    let shortfalls = window.and_then(|window| {
        let mut timelines = evidence.timelines("shard").map(|(_, t)| t);
        let read = |s: &Series| sum(s, SHORTFALLS, |_| true);
        let cycles = |s: &Series| sum(s, "bigfleet_shard_cycles_with_shortfalls_total", |_| true);
        timelines.next().and_then(|t| {
            t.times(window).next()?;
            let during = cycles(&t.at(window.1)?).zip(cycles(&t.at(window.0)?)).map(|(b, a)| b - a);
            [t.max_in(window, read), during].into_iter().flatten().reduce(f64::max)
        })
    });
    metrics.put("shortfalls_max", "needs", shortfalls, "largest value of the gauge over the soak");
    for (name, kind) in [("reclaims_soak", "Reclaim"), ("bootstraps_soak", "Bootstrap")] {
        let count = soak_increase(evidence, "shard", ACTION_OUTCOMES, |key| {
            label(key, "kind") == Some(kind) && label(key, "outcome") == Some("success")
        });
        metrics.put(name, "actions", count, "");
    }
}

fn scheduling(expect: &Expect, evidence: &Evidence, metrics: &mut Metrics) {
    let attempts = |result: &'static str| {
        let read = |s: &Series| sum(s, SCHEDULE_ATTEMPTS, |key| label(key, "result") == Some(result));
        let finals: Vec<Option<f64>> = evidence
            .timelines("kube-scheduler")
            .map(|(_, t)| t.at(evidence.end_us).map(|s| read(&s).unwrap_or(0.0)))
            .collect();
        // Of some clusters only, it would say nothing about the others.
        if finals.len() < expect.clusters.len() { None } else { finals.into_iter().sum::<Option<f64>>() }
    };
    let per_pod = attempts("unschedulable").zip(attempts("scheduled").filter(|n| *n > 0.0));
    let per_pod = per_pod.map(|(failed, scheduled)| failed / scheduled);
    let name = "failed_attempts_per_pod";
    match expect.inapplicable(name) {
        Some(reason) => metrics.put(name, "attempts/Pod", None, reason),
        None => metrics.put(name, "attempts/Pod", per_pod, "scheduler attempts over the whole run"),
    }
    let cut_off = total(evidence, "kube-apiserver", "apiserver_terminated_watchers_total");
    let note = "by a starved apiserver; each may list everything anew";
    metrics.put("watchers_cut_off", "watchers", cut_off, note);
    let node_maker = match expect.scheduler {
        Scheduler::KubeScheduler => "node-creator",
        Scheduler::PodShim => "pod-shim",
    };
    for component in ["load-driver", node_maker, "operator", "unschedulable-pod-controller"] {
        let waited = total(evidence, component, "rest_client_rate_limiter_duration_seconds_sum");
        let name = format!("throttled_{}_s", component.replace('-', "_"));
        metrics.put(&name, "s", waited, "time that requests waited for the client's own limiter");
    }
}

fn resources(expect: &Expect, evidence: &Evidence, metrics: &mut Metrics) {
    let account = cpu::account(evidence);
    let measured = account.total_s > 0.0;
    let mut put = |name: &str, unit: &str, value: Option<f64>, note: &str| match expect.inapplicable(name) {
        Some(reason) => metrics.put(name, unit, None, reason),
        None => metrics.put(name, unit, value, note),
    };
    put(
        "harness_and_fleet_cpu_share",
        "share",
        measured.then_some(account.harness_and_fleet_share),
        "of the CPU that all processes of the run used",
    );
    let used_ms = evidence.window(Phase::Fill).map(|w| cpu::used_ms(evidence, w).values().sum::<u64>());
    let bound = born_in(evidence, Phase::Fill).filter(|p| p.bound_us.is_some()).count();
    let per_pod = used_ms.filter(|ms| *ms > 0 && bound > 0).map(|ms| ms as f64 / bound as f64);
    put("cpu_ms_per_pod", "ms", per_pod, "all processes, during the fill");
    let peak = cpu::memory(evidence).peak;
    put("memory_mib_max", "MiB", (peak > 0).then_some(peak as f64), "");
    metrics.put(
        "host_slowdown_p90",
        "x",
        host_slowdown(evidence),
        "CPU time of a fixed piece of work under load: 90th over 10th percentile",
    );
    let lag_ms = evidence.pods.iter().map(|p| p.watch_lag_ms).max();
    metrics.put(
        "watch_lag_ms_max",
        "ms",
        lag_ms.map(|ms| ms as f64),
        "receipt against creationTimestamp, grain 1 s",
    );
}

/// How much slower the cores were at their worst than at their best.
fn host_slowdown(evidence: &Evidence) -> Option<f64> {
    let (from, to) = evidence.loaded()?;
    let in_window = evidence.samples.iter().filter(|s| (from..=to).contains(&s.at_us));
    let mut taken_us: Vec<u64> = in_window.map(|s| s.host.yardstick_us).filter(|us| *us > 0).collect();
    taken_us.sort_unstable();
    let at = |q: f64| taken_us.get((taken_us.len() as f64 * q) as usize).map(|us| *us as f64);
    Some(at(0.9)? / at(0.1)?)
}

/// Largest disagreement of declared, live and requested Pods at the quiet points.
fn ledger_mismatch(expect: &Expect, evidence: &Evidence) -> Option<f64> {
    let mut points = 0;
    let mut worst = 0;
    for stamped in &evidence.events {
        if let Event::QuietPoint { declared, live, requests, .. } = &stamped.event {
            points += 1;
            worst = worst.max(declared.abs_diff(*live)).max(live.abs_diff(*requests));
        }
    }
    // Three in a row per cluster, after the fill and after the soak.
    (points >= 3 * expect.clusters.len() && points > 0).then_some(worst as f64)
}

/// Machines more or fewer than the plan foresees, over all Needs, when quiet.
fn machines_over_plan(expect: &Expect, evidence: &Evidence) -> Option<f64> {
    if expect.needs.is_empty() || evidence.nodes.is_empty() {
        return None;
    }
    let machines = packing::account(expect, evidence).packing;
    Some(machines.iter().map(Packing::off_plan).sum::<u64>() as f64)
}

fn soak_histogram(evidence: &Evidence, target: &str, name: &str) -> Result<Buckets, String> {
    let (from, to) = evidence.window(Phase::Soak).ok_or("there was no soak")?;
    let mut all = Buckets::default();
    let mut targets = 0;
    for (cluster, timeline) in evidence.timelines(target) {
        targets += 1;
        let whose = cluster.map_or_else(|| target.to_owned(), |c| format!("{target} of {c}"));
        if timeline.times((from, to)).next().is_none() {
            return Err(format!("{whose} was not scraped during the soak"));
        }
        let at = |t| timeline.at(t).map(|s| Buckets::collect(&s, name, |_| true));
        let later = at(to).ok_or_else(|| format!("{whose} was not scraped"))?;
        let window = later.since(&at(from).unwrap_or_default());
        all.add(&window.ok_or_else(|| format!("{whose} restarted during the soak"))?);
    }
    if targets == 0 { Err(format!("no {target} was scraped")) } else { Ok(all) }
}

fn soak_increase(
    evidence: &Evidence,
    target: &str,
    name: &str,
    accept: impl Fn(&str) -> bool,
) -> Option<f64> {
    let (from, to) = evidence.window(Phase::Soak)?;
    let mut timelines = evidence.timelines(target).map(|(_, t)| t).peekable();
    timelines.peek()?;
    let mut increase = 0.0;
    for timeline in timelines {
        let value = |at| Some(sum(&timeline.at(at)?, name, &accept).unwrap_or(0.0));
        increase += value(to)? - value(from)?;
    }
    Some(increase)
}

fn total(evidence: &Evidence, target: &str, name: &str) -> Option<f64> {
    let finals: Vec<f64> = evidence
        .timelines(target)
        .filter_map(|(_, t)| t.at(evidence.end_us))
        // A limiter that nobody waited for has no series.
        .map(|s| sum(&s, name, |_| true).unwrap_or(0.0))
        .collect();
    (!finals.is_empty()).then(|| finals.iter().sum())
}
