//! The metrics of a run, each measured or marked as not measured.

use std::collections::BTreeMap;

use crate::judge::latency::{Latencies, NodeIndex, born_in, needed_new_capacity};
use crate::judge::{Evidence, Expect, cpu, packing};
use harness_model::families::{self, Family};
use harness_model::profile::Scheduler;
use harness_model::prometheus::{Buckets, Quantile, Series, label, sum};
use harness_model::record::event::End;
use harness_model::record::{Event, Phase, PodRecord};
use harness_model::summary::{Metric, Packing};

/// Returns all metrics by name.
pub fn all(expect: &Expect, evidence: &Evidence) -> BTreeMap<String, Metric> {
    let mut metrics = Metrics::default();
    fill(expect, evidence, &mut metrics);
    soak(evidence, &mut metrics);
    fleet(expect, evidence, &mut metrics);
    scheduling(expect, evidence, &mut metrics);
    resources(expect, evidence, &mut metrics);
    metrics.put("ledger_mismatch_pods", "Pods", ledger_mismatch(expect, evidence), "");
    let note = "live Pods without a Node when the run ended";
    metrics.put("unbound_pods_end", "Pods", unbound_at_end(evidence), note);
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

    /// Records a value, or why there is none.
    fn put_result(&mut self, name: &str, unit: &str, value: Result<f64, String>, note: &str) {
        match value {
            Ok(value) => self.put(name, unit, Some(value), note),
            Err(reason) => self.put(name, unit, None, &reason),
        }
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

fn fleet(expect: &Expect, evidence: &Evidence, metrics: &mut Metrics) {
    let clusters = expect.clusters.len();
    for (name, target, at_least, family) in [
        ("shard_cycle_s_p99", "shard", 1, &families::SHARD_CYCLE),
        ("shard_configure_s_p99", "shard", 1, &families::SHARD_CONFIGURE),
        ("operator_rollup_s_p99", "operator", clusters, &families::OPERATOR_ROLLUP),
        ("operator_ack_s_p99", "operator", clusters, &families::OPERATOR_ACKNOWLEDGE),
    ] {
        metrics.put_scraped_p99(name, soak_histogram(evidence, target, at_least, family));
    }
    metrics.put_result(
        "shortfalls_max",
        "needs",
        shortfalls_max(evidence),
        "largest value of the gauge over the soak",
    );
    for (name, kind) in [("reclaims_soak", "Reclaim"), ("bootstraps_soak", "Bootstrap")] {
        let count = soak_increase(evidence, "shard", &families::SHARD_OUTCOMES, |key| {
            label(key, "kind") == Some(kind) && label(key, "outcome") == Some("success")
        });
        metrics.put_result(name, "actions", count, "");
    }
    let told = evidence.actions.len() as u64 + evidence.actions_without_times;
    let untimed = (told > 0).then_some(evidence.actions_without_times as f64);
    let untimed = untimed.ok_or_else(|| "the shard's audit log names no action".to_owned());
    metrics.put_result("actions_without_times", "actions", untimed, "of the audit log; left out elsewhere");
}

/// Returns the most Needs that were short in the soak, by the gauge and by the cycles that the gauge did not show.
fn shortfalls_max(evidence: &Evidence) -> Result<f64, String> {
    let window = evidence.window(Phase::Soak).ok_or("there was no soak")?;
    evidence.showing("shard", 1, &families::SHARD_SHORT_CYCLES)?;
    let shards = evidence.showing("shard", 1, &families::SHARD_SHORTFALLS)?;
    let of_one = |timeline: &crate::judge::evidence::Timeline| {
        timeline.times(window).next()?;
        let gauge = timeline.max_in(window, |s| sum(s, families::SHARD_SHORTFALLS.name, |_| true))?;
        let cycles = |s: &Series| sum(s, families::SHARD_SHORT_CYCLES.name, |_| true);
        let during = cycles(&timeline.at(window.1)?).zip(cycles(&timeline.at(window.0)?)).map(|(b, a)| b - a);
        Some(during.map_or(gauge, |during| gauge.max(during)))
    };
    let all: Option<Vec<f64>> = shards.into_iter().map(|(_, timeline)| of_one(timeline)).collect();
    let largest = all.and_then(|all| all.into_iter().reduce(f64::max));
    largest.ok_or_else(|| "the shard was not scraped during the soak".to_owned())
}

fn scheduling(expect: &Expect, evidence: &Evidence, metrics: &mut Metrics) {
    let name = "failed_attempts_per_pod";
    match expect.inapplicable(name) {
        Some(reason) => metrics.put(name, "attempts/Pod", None, reason),
        None => {
            let per_pod = failed_attempts_per_pod(expect, evidence);
            metrics.put_result(name, "attempts/Pod", per_pod, "scheduler attempts over the whole run");
        }
    }
    let clusters = expect.clusters.len();
    let cut_off = &families::APISERVER_CUT_OFF;
    let cut_off = total(evidence, "kube-apiserver", clusters, cut_off, cut_off.name, |_| true);
    let note = "by a starved apiserver; each may list everything anew";
    metrics.put_result("watchers_cut_off", "watchers", cut_off, note);
    let node_maker = match expect.scheduler {
        Scheduler::KubeScheduler => "node-creator",
        Scheduler::PodShim => "pod-shim",
    };
    let waited = &families::CLIENT_WAITED;
    for component in ["load-driver", node_maker, "operator", "unschedulable-pod-controller"] {
        let waited = total(evidence, component, clusters, waited, &waited.sum(), |_| true);
        let name = format!("throttled_{}_s", component.replace('-', "_"));
        metrics.put_result(&name, "s", waited, "time that requests waited for the client's own limiter");
    }
}

fn failed_attempts_per_pod(expect: &Expect, evidence: &Evidence) -> Result<f64, String> {
    let family = &families::SCHEDULE_ATTEMPTS;
    let attempts = |result: &'static str| {
        let accept = |key: &str| label(key, "result") == Some(result);
        total(evidence, "kube-scheduler", expect.clusters.len(), family, family.name, accept)
    };
    let (failed, scheduled) = (attempts("unschedulable")?, attempts("scheduled")?);
    if scheduled > 0.0 { Ok(failed / scheduled) } else { Err("no Pod was scheduled".into()) }
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
    let lag_ms = evidence.pods.iter().map(|p| p.watch_lag_ms).max();
    metrics.put(
        "watch_lag_ms_max",
        "ms",
        lag_ms.map(|ms| ms as f64),
        "receipt against creationTimestamp, grain 1 s",
    );
}

/// Returns the largest disagreement of declared, live and requested Pods at the quiet points.
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

/// Returns the live Pods without a Node at the end; `None` for a run that ended early, which did not reach that end.
fn unbound_at_end(evidence: &Evidence) -> Option<f64> {
    if evidence.end != Some(End::Completed) || evidence.pods.is_empty() {
        return None;
    }
    Some(evidence.pods.iter().filter(|p| p.is_live() && p.bound_us.is_none()).count() as f64)
}

/// Returns by how many machines the run is above or below the plan, over all Needs, when quiet.
fn machines_over_plan(expect: &Expect, evidence: &Evidence) -> Option<f64> {
    if expect.needs.is_empty() || evidence.nodes.is_empty() {
        return None;
    }
    let machines = packing::account(expect, evidence).packing;
    Some(machines.iter().map(Packing::off_plan).sum::<u64>() as f64)
}

fn soak_histogram(
    evidence: &Evidence,
    target: &str,
    at_least: usize,
    family: &Family,
) -> Result<Buckets, String> {
    let (from, to) = evidence.window(Phase::Soak).ok_or("there was no soak")?;
    let mut all = Buckets::default();
    for (cluster, timeline) in evidence.showing(target, at_least, family)? {
        let whose = cluster.map_or_else(|| target.to_owned(), |c| format!("{target} of {c}"));
        if timeline.times((from, to)).next().is_none() {
            return Err(format!("{whose} was not scraped during the soak"));
        }
        let at = |t| timeline.at(t).map(|s| Buckets::collect(&s, family.name, |_| true));
        let later = at(to).ok_or_else(|| format!("{whose} was not scraped"))?;
        let window = later.since(&at(from).unwrap_or_default());
        all.add(&window.ok_or_else(|| format!("{whose} restarted during the soak"))?);
    }
    Ok(all)
}

fn soak_increase(
    evidence: &Evidence,
    target: &str,
    family: &Family,
    accept: impl Fn(&str) -> bool,
) -> Result<f64, String> {
    let (from, to) = evidence.window(Phase::Soak).ok_or("there was no soak")?;
    let mut all = 0.0;
    for (_, timeline) in evidence.showing(target, 1, family)? {
        // The family is exposed: a series that is missing was never counted.
        let value = |at| Some(sum(&timeline.at(at)?, family.name, &accept).unwrap_or(0.0));
        let increase = value(to).zip(value(from)).map(|(later, earlier)| later - earlier);
        let increase = increase.ok_or_else(|| format!("{target} was not scraped before the soak"))?;
        if increase < 0.0 {
            return Err(format!("{target} restarted during the soak"));
        }
        all += increase;
    }
    Ok(all)
}

/// Returns the sum of the accepted series of that name at the end, over all targets.
fn total(
    evidence: &Evidence,
    target: &str,
    at_least: usize,
    family: &Family,
    series: &str,
    accept: impl Fn(&str) -> bool,
) -> Result<f64, String> {
    let timelines = evidence.showing(target, at_least, family)?;
    // The family is exposed: a series that is missing was never counted.
    let last = |t: &crate::judge::evidence::Timeline| {
        t.at(evidence.end_us).map(|s| sum(&s, series, &accept).unwrap_or(0.0))
    };
    let all: Option<f64> = timelines.into_iter().map(|(_, timeline)| last(timeline)).sum();
    all.ok_or_else(|| format!("{target} was not scraped"))
}
