//! What held a run back without using CPU for it: a client's own limit, kubelets that do not run bound Pods, or a
//! memory limit that garbage collection has to keep.
//!
//! The component that uses the most CPU is the bottleneck only as long as nothing waits for something else.

use crate::judge::{Evidence, Expect, MEASURED, kubelets};
use harness_model::components::APISERVER;
use harness_model::families::{self, CLIENT_WAITED};
use harness_model::prometheus::sum;
use harness_model::record::ProcessSample;
use harness_model::record::event::Phase;
use harness_model::summary::{HeldBack, machine};

/// Seconds of waiting per second of a phase (several requests wait at once) above which a limit is reported. Runs with
/// lifted limits have less than 0.02.
pub const WAIT_SHARE_MAX: f64 = 0.5;
/// CPU seconds that a Go program spent on garbage collection, and those of them in idle time.
const GC_CPU: &str = families::APISERVER_GC.name;
const GC_IDLE_CPU: &str = families::APISERVER_GC_IDLE.name;
/// Share of its memory limit from which an apiserver counts as at the limit. Its runtime stays below it, at the cost of
/// CPU.
const AT_LIMIT: f64 = 0.9;
/// Share of its CPU that garbage collection may take. dev-500's apiservers spend a twentieth of it in the fill and a
/// tenth in the soak; an apiserver with too little memory reaches a half, where Go stops.
pub const GC_SHARE_MAX: f64 = 0.2;

/// Returns everything that held the run back, in the order of its phases.
pub fn back(expect: &Expect, evidence: &Evidence) -> Vec<HeldBack> {
    let mut all = Vec::new();
    for phase in MEASURED {
        // Clients that limit themselves and report how long their requests waited for it.
        let limited = CLIENT_WAITED.targets.iter();
        all.extend(limited.flat_map(|component| by_its_limit(evidence, phase, component)));
        all.extend(kubelets::held_back(evidence, phase, expect.pod_termination_s));
        all.extend(by_memory_limit(evidence, phase));
    }
    all
}

fn by_its_limit(evidence: &Evidence, phase: Phase, component: &str) -> Vec<HeldBack> {
    let shares = wait_shares(evidence, phase, component).into_iter();
    let held = shares.filter(|(_, share)| *share > WAIT_SHARE_MAX).map(|(cluster, share)| HeldBack {
        phase,
        component: component.to_owned(),
        cluster,
        why: format!("its requests waited {share:.1} s for its own client limit in each second"),
    });
    held.collect()
}

/// Returns the seconds that requests waited for the client's own limit per second of the phase, by cluster. A client
/// that never exposed this time is left out: whether its requests waited is not measured.
pub fn wait_shares(evidence: &Evidence, phase: Phase, component: &str) -> Vec<(Option<String>, f64)> {
    let Some((from, to)) = evidence.window(phase) else { return Vec::new() };
    let length_s = ((to - from) as f64 / 1e6).max(1.0);
    let share = |(cluster, timeline): (Option<&str>, &crate::judge::evidence::Timeline)| {
        let waited = |at| {
            let series = timeline.at(at)?;
            // The family is exposed: without a series, no request has waited yet.
            Some(sum(&series, &CLIENT_WAITED.sum(), |_| true).unwrap_or(0.0))
        };
        let (before, after) = (waited(from).unwrap_or(0.0), waited(to)?);
        Some((cluster.map(str::to_owned), (after - before) / length_s))
    };
    let shows = |(_, timeline): &(Option<&str>, &crate::judge::evidence::Timeline)| {
        CLIENT_WAITED.is_proved_by(&timeline.shown)
    };
    evidence.timelines(component).filter(shows).filter_map(share).collect()
}

/// Finds apiservers whose memory was at its limit and that therefore spent their CPU on garbage collection.
fn by_memory_limit(evidence: &Evidence, phase: Phase) -> Vec<HeldBack> {
    let limit_mib = evidence.host[machine::APISERVER_GOMEMLIMIT_MIB].as_u64();
    let (Some(window), Some(limit_mib)) = (evidence.window(phase), limit_mib) else { return Vec::new() };
    let held = evidence.timelines(APISERVER).filter_map(|(cluster, timeline)| {
        let (rss_mib, cpu_ms) = apiserver_use(evidence, cluster, window)?;
        let collected = |at| {
            let series = timeline.at(at)?;
            // Collection in idle time does not take CPU from anything else.
            Some(sum(&series, GC_CPU, |_| true)? - sum(&series, GC_IDLE_CPU, |_| true).unwrap_or(0.0))
        };
        let share = (collected(window.1)? - collected(window.0)?) * 1e3 / cpu_ms as f64;
        let at_limit = rss_mib as f64 >= AT_LIMIT * limit_mib as f64;
        (at_limit && share > GC_SHARE_MAX).then(|| HeldBack {
            phase,
            component: APISERVER.to_owned(),
            cluster: cluster.map(str::to_owned),
            why: format!(
                "it was at its memory limit ({rss_mib} MiB of {limit_mib}), and spent {:.0} % of its CPU on garbage \
                 collection; raise controlPlane.apiserverGomemlimitMib",
                share * 100.0
            ),
        })
    });
    held.collect()
}

/// Returns what the apiserver of a cluster used in a window: largest resident memory in MiB, CPU in ms; `None` if
/// nothing.
fn apiserver_use(evidence: &Evidence, cluster: Option<&str>, (from, to): (u64, u64)) -> Option<(u64, u64)> {
    let samples = evidence.samples.iter().filter(|s| (from..=to).contains(&s.at_us));
    let mine = |p: &&ProcessSample| p.name == APISERVER && p.cluster.as_deref() == cluster;
    let seen: Vec<_> = samples.filter_map(|s| s.processes.iter().find(mine)).collect();
    let (first, last) = (seen.first()?, seen.last()?);
    let cpu_ms = last.cpu_ms.checked_sub(first.cpu_ms).filter(|ms| *ms > 0)?;
    Some((seen.iter().map(|p| p.rss_mib).max()?, cpu_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::made_up::{CLUSTER, evidence, expect, scrapes};

    #[test]
    fn a_run_that_nobody_held_back_names_nobody() {
        assert_eq!(back(&expect(), &evidence()), []);
    }

    #[test]
    fn a_client_that_waits_for_itself_is_named_with_its_phase() {
        let mut run = evidence();
        run.scrapes.remove(&("kube-scheduler".into(), Some(CLUSTER.into())));
        for mut scrape in scrapes().into_iter().filter(|s| s.target == "kube-scheduler") {
            // Ten requests wait at once.
            let waited = scrape.at_us as f64 / 1e6 * 10.0;
            scrape.series.insert(CLIENT_WAITED.sum(), waited);
            run.scrapes.entry((scrape.target.clone(), scrape.cluster.clone())).or_default().push(scrape);
        }
        let held = back(&expect(), &run);
        assert!(held.iter().any(|h| h.component == "kube-scheduler" && h.phase == Phase::Fill), "{held:?}");
        assert!(held.iter().all(|h| h.component == "kube-scheduler"), "{held:?}");
    }

    /// Returns the run with an apiserver of `rss_mib` whose collector takes that many ms of its 80 ms per second.
    fn with_collector(rss_mib: u64, gc_ms_per_s: f64) -> Evidence {
        let mut run = evidence();
        run.host = serde_json::json!({ machine::APISERVER_GOMEMLIMIT_MIB: 2048 });
        for process in run.samples.iter_mut().flat_map(|s| &mut s.processes).filter(|p| p.name == APISERVER) {
            process.cluster = Some(CLUSTER.into());
            process.rss_mib = rss_mib;
        }
        run.scrapes.remove(&(APISERVER.into(), Some(CLUSTER.into())));
        for mut scrape in scrapes().into_iter().filter(|s| s.target == APISERVER) {
            let idle_s = scrape.at_us as f64 / 1e6;
            scrape.series.insert(GC_CPU.into(), scrape.at_us as f64 / 1e9 * gc_ms_per_s + idle_s);
            scrape.series.insert(GC_IDLE_CPU.into(), idle_s);
            run.scrapes.entry((scrape.target.clone(), scrape.cluster.clone())).or_default().push(scrape);
        }
        run
    }

    #[test]
    fn an_apiserver_that_collects_garbage_at_its_memory_limit_is_named() {
        let held = back(&expect(), &with_collector(2040, 40.0));
        assert_eq!(held.iter().map(|h| h.phase).collect::<Vec<_>>(), [Phase::Fill, Phase::Soak]);
        assert_eq!((held[0].component.as_str(), held[0].cluster.as_deref()), (APISERVER, Some(CLUSTER)));
        assert!(held[0].why.contains("2040 MiB of 2048), and spent 50 % of its CPU"), "{}", held[0].why);
        assert_eq!(
            back(&expect(), &with_collector(2040, 8.0)),
            [],
            "dev-500's are at their limit and do not mind"
        );
        assert_eq!(back(&expect(), &with_collector(1000, 40.0)), [], "more memory would not help it");
        let unknown = Evidence { host: serde_json::Value::Null, ..with_collector(2040, 40.0) };
        assert_eq!(back(&expect(), &unknown), [], "nobody knows the limit");
    }
}
