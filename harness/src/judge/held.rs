//! What held a run back without using CPU: a client's own limit, or kubelets that do not run what is bound.
//!
//! The component that uses the most CPU is the bottleneck only as long as nobody waits for something else.

use crate::judge::{Evidence, MEASURED};
use crate::observe::families::CLIENT_WAITED;
use crate::observe::prometheus::sum;
use crate::record::PodRecord;
use crate::record::event::Phase;
use crate::summary::HeldBack;

/// Seconds of waiting per second of a phase (several requests wait at once) from which a limit is named. Runs whose
/// limits are lifted have less than 0.02.
pub const WAIT_SHARE_MAX: f64 = 0.5;
/// A bound Pod that does not run within this waits for kwok. It takes a second, and half a minute when all of dev-500's
/// Pods are filled in at once.
const RUNS_WITHIN_S: u64 = 60;

/// Everything that held the run back, in the order of its phases.
pub fn back(evidence: &Evidence) -> Vec<HeldBack> {
    let mut all = Vec::new();
    for phase in MEASURED {
        // Clients that limit themselves, and say for how long their requests waited for that.
        let limited = CLIENT_WAITED.targets.iter();
        all.extend(limited.flat_map(|component| by_its_limit(evidence, phase, component)));
        all.extend(by_kwok(evidence, phase));
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

/// Seconds that requests waited for the client's own limit per second of the phase, by cluster. A client that never
/// showed how long they wait is left out: whether they did is not measured.
pub fn wait_shares(evidence: &Evidence, phase: Phase, component: &str) -> Vec<(Option<String>, f64)> {
    let Some((from, to)) = evidence.window(phase) else { return Vec::new() };
    let length_s = ((to - from) as f64 / 1e6).max(1.0);
    let share = |(cluster, timeline): (Option<&str>, &crate::judge::evidence::Timeline)| {
        let waited = |at| {
            let series = timeline.at(at)?;
            // Its family is there: without a series, nobody waited yet.
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

fn by_kwok(evidence: &Evidence, phase: Phase) -> Option<HeldBack> {
    let (from, to) = evidence.window(phase)?;
    let waited_s = |pod: &PodRecord| {
        let bound = pod.bound_us.filter(|at| (from..to).contains(at))?;
        let until = pod.running_us.or(pod.gone_us).unwrap_or(evidence.end_us);
        Some(until.saturating_sub(bound) / 1_000_000)
    };
    let late: Vec<u64> = evidence.pods.iter().filter_map(waited_s).filter(|s| *s > RUNS_WITHIN_S).collect();
    let longest = late.iter().max()?;
    Some(HeldBack {
        phase,
        component: "kwok".to_owned(),
        cluster: None,
        why: format!(
            "{} bound Pods did not run within {RUNS_WITHIN_S} s, the latest within {longest} s",
            late.len()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::made_up::{CLUSTER, evidence, scrapes};

    #[test]
    fn a_run_that_nobody_held_back_names_nobody() {
        assert_eq!(back(&evidence()), []);
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
        let held = back(&run);
        assert!(held.iter().any(|h| h.component == "kube-scheduler" && h.phase == Phase::Fill), "{held:?}");
        assert!(held.iter().all(|h| h.component == "kube-scheduler"), "{held:?}");
    }

    #[test]
    fn pods_that_are_bound_and_do_not_run_are_kwoks() {
        let mut run = evidence();
        let bound_us = run.pods[0].bound_us.unwrap();
        run.pods[0].running_us = Some(bound_us + (RUNS_WITHIN_S + 2) * 1_000_000);
        let held = back(&run);
        assert_eq!(held.iter().map(|h| h.component.as_str()).collect::<Vec<_>>(), ["kwok"]);
        assert!(held[0].why.starts_with("1 bound Pods"), "{}", held[0].why);
    }
}
