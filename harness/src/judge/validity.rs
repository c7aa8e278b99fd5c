//! Whether a run's measurement can be trusted at all.

use std::collections::BTreeMap;

use crate::judge::{Evidence, Expect, MEASURED, held, refused};
use crate::record::event::End;
use crate::record::{Event, Phase, Sample};
use crate::summary::Finding;

/// Largest share of CPU time that other guests of the host may take.
const STEAL_SHARE_MAX: f64 = 0.10;
/// Latest that the two-second sampler may fire.
pub const SAMPLER_LATE_MS_MAX: u64 = 5_000;
/// Least memory that must be left.
const AVAILABLE_MIB_MIN: u64 = 256;
/// Largest jump of the wall clock against the monotonic clock between two samples.
const CLOCK_JUMP_MS_MAX: u64 = 1_000;
/// Longest time without a sample or a scrape.
const SILENCE_S_MAX: u64 = 30;

/// Rules that say nothing about a run which failed before its soak.
const NEED_A_WHOLE_RUN: [&str; 4] =
    ["completed", "ledger_complete", "ledger_agrees_with_list", "measurements_present"];

/// A rule: what was found, as an error if it does not hold.
type Rule = fn(&Expect, &Evidence) -> Result<String, String>;

/// Checks all rules, each with what was found.
pub fn check(expect: &Expect, evidence: &Evidence) -> Vec<Finding> {
    let rules: [(&str, Rule); 11] = [
        ("completed", completed),
        ("components_alive", components_alive),
        ("watches_without_gap", watches_without_gap),
        ("ledger_complete", ledger_complete),
        ("ledger_agrees_with_list", ledger_agrees_with_list),
        ("nodes_stayed_ready", nodes_stayed_ready),
        ("host_not_starved", host_not_starved),
        ("clock_steady", clock_steady),
        ("apiserver_rejected_nothing", apiserver_rejected_nothing),
        ("measurements_present", measurements_present),
        ("driver_kept_pace", driver_kept_pace),
    ];
    let cut_short = evidence.end == Some(End::GoalMissed);
    let finding = |(rule, check): (&str, Rule)| {
        let (ok, detail) = match check(expect, evidence) {
            // The run failed already, and left out what these rules look at.
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
        // Log lines may follow: they were shown when it happened.
        Some(_) => Err(evidence
            .end_reason
            .as_deref()
            .and_then(|r| r.lines().next())
            .unwrap_or("the run was cut short")
            .to_owned()),
        None => Err("the run was killed: its last event is missing".into()),
    }
}

fn components_alive(_: &Expect, evidence: &Evidence) -> Result<String, String> {
    let ended = evidence.events.iter().filter_map(|e| match &e.event {
        Event::ProcessEnded { name, cluster, exit_code, signal, .. } => {
            let whose = cluster.as_ref().map_or_else(String::new, |c| format!(" of {c}"));
            let how = match (exit_code, signal) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "an unknown status (a signal, most likely)".into(),
            };
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
    // A Pod that runs was bound: without that receipt it would silently drop out of the latencies.
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
    let steal = if all > 0.0 { stolen / all } else { 0.0 };
    let detail = format!(
        "steal {:.1} %, least memory left {available_mib} MiB, sampler at most {late_ms} ms late",
        steal * 100.0
    );
    let ok = steal <= STEAL_SHARE_MAX && late_ms <= SAMPLER_LATE_MS_MAX && AVAILABLE_MIB_MIN <= available_mib;
    if ok { Ok(detail) } else { Err(detail) }
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

/// The driver is to be slower than nothing that is measured, in the fill as in the soak.
fn driver_kept_pace(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    let mut worst: (f64, Phase) = (0.0, Phase::Fill);
    for phase in MEASURED.into_iter().filter(|phase| evidence.window(*phase).is_some()) {
        let shares = held::wait_shares(evidence, phase, "load-driver");
        if shares.len() < expect.clusters.len() {
            return Err(format!("{} of {} load-drivers were scraped", shares.len(), expect.clusters.len()));
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
