//! Whether a run's measurement can be trusted at all.

use std::collections::BTreeMap;

use crate::judge::{Evidence, Expect, MEASURED, held, holds, kubelets, load, refused};
use harness_model::families::{APISERVER_DISPATCHED, APISERVER_REJECTED, APISERVER_REQUESTS};
use harness_model::record::event::{End, how_it_ended};
use harness_model::record::{Event, Phase, Sample};
use harness_model::summary::Finding;

/// Largest share of CPU time that other guests of the host may take.
const STEAL_SHARE_MAX: f64 = 0.10;
/// Largest delay of the two-second sampler.
pub const SAMPLER_LATE_MS_MAX: u64 = 5_000;
/// Largest share of the time for which the limit of our control group may stop CPUs: beyond it, the limit is what is
/// measured.
const THROTTLED_SHARE_MAX: f64 = 0.01;
/// Least memory that must remain available.
const AVAILABLE_MIB_MIN: u64 = 256;
/// Largest jump of the wall clock against the monotonic clock between two samples.
const CLOCK_JUMP_MS_MAX: u64 = 1_000;
/// Longest time without a sample or a scrape.
const SILENCE_S_MAX: u64 = 30;

/// Files that every run writes.
const ALWAYS_WRITTEN: [&str; 3] = ["events.jsonl", "processes.jsonl", "metrics.jsonl"];
/// Files that a run writes from its fill on.
const WRITTEN_WITH_PODS: [&str; 2] = ["pods.jsonl.gz", "nodes.jsonl"];

/// Rules that do not apply to a run that failed before its soak.
const NEED_A_WHOLE_RUN: [&str; 4] =
    ["completed", "ledger_complete", "ledger_agrees_with_list", "measurements_present"];

/// A rule, which returns what was found, as an error if the rule does not hold.
type Rule = fn(&Expect, &Evidence) -> Result<String, String>;

/// Checks all rules, each with what was found.
pub fn check(expect: &Expect, evidence: &Evidence) -> Vec<Finding> {
    let rules: [(&str, Rule); 15] = [
        // First, because everything else may follow from a lost cluster.
        ("clusters_held", holds::clusters_held),
        // Next, because later rules may be broken for lack of load.
        ("load_was_made", load::was_made),
        ("completed", completed),
        ("evidence_complete", evidence_complete),
        ("components_alive", components_alive),
        ("watches_without_gap", watches_without_gap),
        ("ledger_complete", ledger_complete),
        ("ledger_agrees_with_list", ledger_agrees_with_list),
        ("nodes_stayed_ready", nodes_stayed_ready),
        ("kubelets_kept_up", kubelets::kept_up),
        ("host_not_starved", host_not_starved),
        ("clock_steady", clock_steady),
        ("apiserver_rejected_nothing", apiserver_rejected_nothing),
        ("measurements_present", measurements_present),
        ("driver_kept_pace", driver_kept_pace),
    ];
    let cut_short = evidence.end == Some(End::GoalMissed);
    let finding = |(rule, check): (&str, Rule)| {
        let (ok, detail) = match check(expect, evidence) {
            // The run has already failed, and left out what these rules check.
            _ if cut_short && NEED_A_WHOLE_RUN.contains(&rule) => {
                (true, "does not apply: the run ended early".into())
            }
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        Finding { rule: rule.to_owned(), ok, detail }
    };
    rules.into_iter().map(finding).collect()
}

fn completed(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    match evidence.end {
        Some(End::Completed) => Ok("all phases were run".into()),
        // Log lines may follow; they were shown when it happened.
        Some(_) => Err(evidence
            .end_reason
            .as_deref()
            .and_then(|r| r.lines().next())
            .unwrap_or("the run was cut short")
            .to_owned()),
        None => Err("its last event is missing: the run was killed, or the disk was full".into()),
    }
}

/// Checks that every line that the run wrote is there, and that none was lost.
fn evidence_complete(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    if evidence.written.is_empty() {
        return Err(
            "how many lines of evidence the run wrote is not recorded: it was killed, or made by a version \
                    that did not count them"
                .into(),
        );
    }
    let has_pods = evidence.window(Phase::Fill).is_some();
    let needed = ALWAYS_WRITTEN.into_iter().chain(WRITTEN_WITH_PODS.into_iter().filter(|_| has_pods));
    let missing = needed.filter(|file| !evidence.written.contains_key(*file));
    let missing = missing.map(|file| format!("{file} was not written"));
    let lost =
        evidence.written.iter().filter_map(|(file, written)| Some(format!("lost: {}", written.loss(file)?)));
    let differs = evidence.written.iter().filter_map(|(file, written)| {
        let found = evidence.found.get(file).copied().unwrap_or_default();
        let cut =
            format!("{} lines were written to {file}, and {found} are in it: was it cut?", written.lines);
        (found != written.lines).then_some(cut)
    });
    let lines: u64 = evidence.written.values().map(|written| written.lines).sum();
    let otherwise = format!("{lines} lines in {} files, none lost", evidence.written.len());
    let faults: Vec<String> = lost.chain(missing).chain(differs).collect();
    if faults.is_empty() { Ok(otherwise) } else { Err(faults.join("; ")) }
}

fn components_alive(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    let ended = evidence.events.iter().filter_map(|e| match &e.event {
        Event::ProcessEnded { name, cluster, exit_code, signal, .. } => {
            let whose = cluster.as_ref().map_or_else(String::new, |c| format!(" of {c}"));
            let how = how_it_ended(*exit_code, *signal);
            Some(format!("{name}{whose} ended with {how}"))
        }
        _ => None,
    });
    none_of(ended, "no component ended early")
}

fn watches_without_gap(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    let gaps = evidence.events.iter().filter_map(|e| match &e.event {
        Event::WatchGap { cluster, kind } => {
            Some(format!("the watch of {kind} in {cluster} had to list again"))
        }
        _ => None,
    });
    none_of(gaps, "no watch had to list again")
}

fn ledger_complete(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    if evidence.pods.is_empty() {
        return Err("no Pod was recorded".into());
    }
    let missed = evidence.pods.iter().filter(|p| p.preexisting).count();
    if missed > 0 {
        return Err(format!("the creation of {missed} Pods was not seen"));
    }
    // A Pod that runs was bound: without that receipt, it would silently drop out of the latencies.
    let unmeasured = evidence.pods.iter().filter(|p| p.running_us.is_some() && p.bound_us.is_none()).count();
    if unmeasured > 0 {
        return Err(format!("{unmeasured} Pods run, but their bind was not seen"));
    }
    let live: u64 = evidence.pods.iter().filter(|p| p.is_live()).count() as u64;
    let declared = declared(evidence);
    if declared.len() != expect.clusters.len() {
        return Err(format!(
            "declared replicas were read in {} of {} clusters",
            declared.len(),
            expect.clusters.len()
        ));
    }
    let total: u64 = declared.values().sum();
    if live != total {
        return Err(format!("{total} Pods are declared at the end, the ledger has {live} live ones"));
    }
    Ok(format!("{} Pods, {live} live at the end, as declared", evidence.pods.len()))
}

fn declared(evidence: &Evidence) -> BTreeMap<&str, u64> {
    let last = evidence.events.iter().filter_map(|e| match &e.event {
        Event::Declared { cluster, workloads } => Some((cluster.as_str(), workloads.values().sum())),
        _ => None,
    });
    last.collect()
}

fn ledger_agrees_with_list(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    let mut checked = 0;
    for stamped in &evidence.events {
        let Event::LedgerCheck { cluster, unknown, vanished } = &stamped.event else { continue };
        checked += 1;
        if !unknown.is_empty() || !vanished.is_empty() {
            return Err(format!(
                "{cluster}: the ledger lacks {} Pods of the list and has {} that the list lacks",
                unknown.len(),
                vanished.len()
            ));
        }
    }
    match checked == expect.clusters.len() {
        true => Ok(format!("the ledgers of {checked} clusters agree with a list of their Pods")),
        false => Err(format!("{checked} of {} ledgers were compared with a list", expect.clusters.len())),
    }
}

fn nodes_stayed_ready(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    let lost = evidence.events.iter().filter_map(|e| match &e.event {
        Event::NodeNotReady { cluster, node } => Some(format!("Node {node} of {cluster} left Ready")),
        _ => None,
    });
    none_of(lost, "no Node left Ready")
}

fn host_not_starved(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    let loaded: Vec<&Sample> = match evidence.loaded() {
        Some((from, to)) => evidence.samples.iter().filter(|s| (from..=to).contains(&s.at_us)).collect(),
        None => Vec::new(),
    };
    let (Some(first), Some(last)) = (loaded.first(), loaded.last()) else {
        return Err("the host was not sampled".into());
    };
    let late_ms = loaded.iter().map(|s| s.late_ms).max().unwrap_or_default();
    let available_mib = loaded.iter().map(|s| s.host.available_mib).min().unwrap_or_default();
    let delta = |of: fn(&Sample) -> u64| of(last).saturating_sub(of(first)) as f64;
    let stolen = delta(|s| s.host.steal_cpu_ms);
    let all = stolen + delta(|s| s.host.busy_cpu_ms) + delta(|s| s.host.idle_cpu_ms);
    if all <= 0.0 {
        return Err("the CPU time of the host was not sampled twice".into());
    }
    let steal = stolen / all;
    let mut detail = format!(
        "steal {:.1} %, least memory left {available_mib} MiB, sampler at most {late_ms} ms late",
        steal * 100.0
    );
    let throttled = throttled_share(first, last);
    if let Some(share) = throttled.filter(|share| *share > 0.0) {
        let percent = share * 100.0;
        detail += &format!(", CPUs stopped for {percent:.1} % of the time by the control group's limit");
    }
    let ok = steal <= STEAL_SHARE_MAX
        && late_ms <= SAMPLER_LATE_MS_MAX
        && AVAILABLE_MIB_MIN <= available_mib
        && throttled.is_none_or(|share| share <= THROTTLED_SHARE_MAX);
    if ok { Ok(detail) } else { Err(detail) }
}

/// Returns the share of the time between two samples for which the limit of our control group stopped CPUs, summed over
/// CPUs; `None` if that is not counted.
fn throttled_share(first: &Sample, last: &Sample) -> Option<f64> {
    let throttled_ms = last.host.throttled_cpu_ms?.saturating_sub(first.host.throttled_cpu_ms?);
    let span_us = last.at_us.saturating_sub(first.at_us);
    Some(if span_us == 0 { 0.0 } else { throttled_ms as f64 * 1_000.0 / span_us as f64 })
}

fn clock_steady(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    let jumps = evidence.samples.windows(2).map(|w| w[0].wall_skew_ms.abs_diff(w[1].wall_skew_ms));
    let Some(largest_ms) = jumps.max() else { return Err("the clock was not sampled".into()) };
    let detail = format!("the wall clock jumped by at most {largest_ms} ms");
    if largest_ms <= CLOCK_JUMP_MS_MAX { Ok(detail) } else { Err(detail) }
}

fn apiserver_rejected_nothing(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    let Some((from, _)) = evidence.window(Phase::Fill) else { return Err("there was no fill".into()) };
    let mut seen = 0;
    for (cluster, timeline) in evidence.timelines("kube-apiserver") {
        if timeline.at(from).is_none() {
            continue;
        }
        seen += 1;
        for family in [&APISERVER_REQUESTS, &APISERVER_REJECTED, &APISERVER_DISPATCHED] {
            evidence.showing("kube-apiserver", expect.clusters.len(), family)?;
        }
        if let Some(told) = refused::told(timeline, (from, evidence.end_us)) {
            return Err(format!("{}: {told}", cluster.unwrap_or("a cluster")));
        }
    }
    match seen == expect.clusters.len() {
        true => Ok("no request was answered 429".into()),
        false => Err(format!("{seen} of {} apiservers were scraped", expect.clusters.len())),
    }
}

fn measurements_present(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    let Some(window) = evidence.window(Phase::Soak) else { return Err("there was no soak".into()) };
    let sampled = evidence.samples.iter().map(|s| s.at_us).filter(|at| (window.0..=window.1).contains(at));
    silence("processes", window, sampled)?;
    for (target, at_least) in [("shard", 1), ("operator", expect.clusters.len())] {
        let timelines: Vec<_> = evidence.timelines(target).collect();
        if timelines.len() < at_least {
            return Err(format!("{} of {at_least} {target} endpoints were scraped", timelines.len()));
        }
        for (cluster, timeline) in timelines {
            silence(&format!("{target} {}", cluster.unwrap_or_default()), window, timeline.times(window))?;
        }
    }
    Ok(format!("no source was silent for more than {SILENCE_S_MAX} s during the soak"))
}

fn silence(what: &str, window: (u64, u64), times: impl Iterator<Item = u64>) -> Result<(), String> {
    let mut last = window.0;
    for at in times.chain([window.1]) {
        let silent_s = at.saturating_sub(last) / 1_000_000;
        if silent_s > SILENCE_S_MAX {
            return Err(format!("{} was silent for {silent_s} s during the soak", what.trim_end()));
        }
        last = at;
    }
    Ok(())
}

/// Checks that the driver did not hold back anything that is measured, neither in the fill nor in the soak.
fn driver_kept_pace(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    let mut worst: (f64, Phase) = (0.0, Phase::Fill);
    for phase in MEASURED.into_iter().filter(|phase| evidence.window(*phase).is_some()) {
        let shares = held::wait_shares(evidence, phase, "load-driver");
        if shares.len() < expect.clusters.len() {
            let told = format!("{} of {} load-drivers showed", shares.len(), expect.clusters.len());
            return Err(format!("{told} how long their requests waited for their own client limit"));
        }
        let largest = shares.into_iter().map(|(_, share)| share).fold(0.0, f64::max);
        if largest >= worst.0 {
            worst = (largest, phase);
        }
    }
    let (share, phase) = worst;
    let detail = format!(
        "load-driver's requests waited {share:.2} s for its own client limit in each second of the {}",
        phase.name()
    );
    if share <= held::WAIT_SHARE_MAX { Ok(detail) } else { Err(detail) }
}

fn none_of(mut faults: impl Iterator<Item = String>, otherwise: &str) -> Result<String, String> {
    match faults.next() {
        None => Ok(otherwise.to_owned()),
        Some(first) => match faults.count() {
            0 => Err(first),
            more => Err(format!("{first} (and {more} more)")),
        },
    }
}
