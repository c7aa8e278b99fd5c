//! What happened to the Pods of machines that were taken away: evictions, live Pods at every moment, and Pods on
//! machines that the shard considered free.

use std::collections::BTreeMap;

use crate::judge::Evidence;
use crate::judge::evidence::Action;
use harness_model::families::APISERVER_REQUESTS;
use harness_model::prometheus::{label, of};
use harness_model::record::{NodeRecord, PodRecord};

/// Delay of news about a Pod if no later Pod shows it: receipts of simultaneous events lay 150 ms apart.
const RECEIPTS_APART_US: u64 = 1_000_000;

/// Times by which we had heard of everything that happened to the Pods of a cluster up to some moment of our clock.
///
/// Pods reach us through a watch, which lags (4 s were seen while cores were full) but keeps its order: everything that
/// we heard after the first event of a Pod created after a moment (`creationTimestamp`, whole seconds) happened after
/// that moment.
struct Hearing<'a> {
    /// By cluster: when a Pod was created, in order, and when we first heard of any Pod created then or later.
    births: BTreeMap<&'a str, Vec<(u64, u64)>>,
}

impl<'a> Hearing<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let mut births: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for pod in &evidence.pods {
            let born_us = pod.created_us.saturating_add_signed(-1_000 * pod.watch_lag_ms);
            births.entry(&pod.cluster).or_default().push((born_us, pod.created_us));
        }
        for births in births.values_mut() {
            births.sort_unstable();
            let mut first = u64::MAX;
            for (_, heard_us) in births.iter_mut().rev() {
                first = first.min(*heard_us);
                *heard_us = first;
            }
        }
        Self { births }
    }

    fn of_all_until(&self, cluster: &str, at_us: u64) -> u64 {
        let births = self.births.get(cluster).map_or(&[][..], Vec::as_slice);
        let later = births.partition_point(|(born_us, _)| *born_us < at_us);
        births.get(later).map_or(at_us + RECEIPTS_APART_US, |(_, heard_us)| *heard_us)
    }
}

/// Returns the requests for `pods/eviction` in a window by the HTTP code of their answer, as the apiservers counted
/// them. Returns `None` if a scrape is missing at either end, or if an apiserver does not expose the family: not
/// counted is not zero.
pub fn answers(evidence: &Evidence, window: (u64, u64)) -> Option<BTreeMap<u16, u64>> {
    let mut answers: BTreeMap<u16, u64> = BTreeMap::new();
    for (_, timeline) in evidence.showing("kube-apiserver", 1, &APISERVER_REQUESTS).ok()? {
        let (before, after) = (timeline.at(window.0)?, timeline.at(window.1)?);
        for (key, count) in of(&after, APISERVER_REQUESTS.name) {
            let is_eviction =
                label(key, "resource") == Some("pods") && label(key, "subresource") == Some("eviction");
            let code = label(key, "code").and_then(|code| code.parse().ok());
            let (true, Some(code)) = (is_eviction, code) else { continue };
            let count = count - before.get(key).copied().unwrap_or(0.0);
            *answers.entry(code).or_default() += count.max(0.0) as u64;
        }
    }
    Some(answers)
}

/// Returns when a Pod ceased to be live: its deletion began, it finished, or it was gone at once.
pub fn ended_us(pod: &PodRecord) -> Option<u64> {
    [pod.deleting_us, pod.finished_us, pod.gone_us].into_iter().flatten().min()
}

/// Returns how many of these Pods were live after each event of the watch that changed it, in the watch's order.
pub fn live<'a>(pods: impl IntoIterator<Item = &'a PodRecord>) -> Vec<(u64, u64)> {
    changes(pods, |p| Some((p.created_us, ended_us(p))))
}

/// Returns the same for Pods that run: Running and Ready, and not being deleted.
pub fn running<'a>(pods: impl IntoIterator<Item = &'a PodRecord>) -> Vec<(u64, u64)> {
    changes(pods, |p| {
        let ended = ended_us(p);
        p.running_us.filter(|at| ended.is_none_or(|end| *at < end)).map(|at| (at, ended))
    })
}

fn changes<'a>(
    pods: impl IntoIterator<Item = &'a PodRecord>,
    life: impl Fn(&PodRecord) -> Option<(u64, Option<u64>)>,
) -> Vec<(u64, u64)> {
    let mut events: Vec<(u64, i64)> = Vec::new();
    for (from, to) in pods.into_iter().filter_map(life) {
        events.push((from, 1));
        events.extend(to.map(|to| (to, -1)));
    }
    // A watch has one order; at the same microsecond, an end came before the beginning that follows from it.
    events.sort_unstable();
    let mut count = 0_i64;
    let step = |(at, change): (u64, i64)| {
        count += change;
        (at, u64::try_from(count).unwrap_or_default())
    };
    events.into_iter().map(step).collect()
}

/// Returns when the shard considered a machine free, after it had served: from the end of a Reclaim or Preempt to the
/// beginning of the next Bootstrap.
pub fn idle(evidence: &Evidence) -> BTreeMap<&str, Vec<(u64, u64)>> {
    let mut idle: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    let gave_back = |a: &&Action| matches!(a.kind.as_str(), "Reclaim" | "Preempt") && a.outcome == "success";
    for end in evidence.actions.iter().filter(gave_back) {
        let next = evidence.actions.iter().filter(|a| a.kind == "Bootstrap" && a.machine == end.machine);
        let until = next.map(|a| a.started_us).filter(|at| *at >= end.ended_us).min();
        let since_until = (end.ended_us, until.unwrap_or(u64::MAX));
        idle.entry(&end.machine).or_default().push(since_until);
    }
    idle
}

/// Returns Pods that were bound to a machine while the shard considered it free.
pub fn bound_to_idle(evidence: &Evidence) -> Vec<&PodRecord> {
    on_idle(evidence, |pod, since, until| pod.bound_us.is_some_and(|at| (since..until).contains(&at)))
}

/// Returns Pods that were on a machine while the shard considered it free.
pub fn present_on_idle(evidence: &Evidence) -> Vec<&PodRecord> {
    let hearing = Hearing::new(evidence);
    on_idle(evidence, |pod, since, until| {
        pod.bound_us.is_some_and(|at| at < until)
            && pod.gone_us.is_none_or(|at| at > hearing.of_all_until(&pod.cluster, since))
    })
}

fn on_idle(evidence: &Evidence, counts: impl Fn(&PodRecord, u64, u64) -> bool) -> Vec<&PodRecord> {
    let idle = idle(evidence);
    let of_its_node = |pod: &&PodRecord| {
        let spans = pod.node.as_deref().and_then(|node| idle.get(node));
        spans.into_iter().flatten().any(|(since, until)| counts(pod, *since, *until))
    };
    evidence.pods.iter().filter(of_its_node).collect()
}

/// Returns Pods whose Node was deleted while the Pod object still existed, with that Node, by the versions of both
/// ends. The times of receipt decide only if no watch reported one of the ends.
pub fn left_on_deleted_nodes(evidence: &Evidence) -> Vec<(&PodRecord, &NodeRecord)> {
    let mut left = Vec::new();
    for node in evidence.nodes.iter().filter(|n| n.gone_us.is_some()) {
        let gone_us = node.gone_us.unwrap_or_default();
        let outlived = |p: &PodRecord| match (p.gone_version, node.gone_version) {
            (Some(pod), Some(node)) => pod > node,
            _ => p.gone_us.is_none_or(|at| at > gone_us),
        };
        let was_on = |p: &&PodRecord| {
            p.cluster == node.cluster
                && p.node.as_deref() == Some(&node.name)
                && p.bound_us.is_some_and(|at| at >= node.created_us.unwrap_or_default() && at <= gone_us)
                && outlived(p)
        };
        left.extend(evidence.pods.iter().filter(was_on).map(|p| (p, node)));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, created_us: u64, deleting_us: Option<u64>, gone_us: Option<u64>) -> PodRecord {
        PodRecord {
            node: Some(node.into()),
            created_us,
            bound_us: Some(created_us + 1),
            running_us: Some(created_us + 2),
            deleting_us,
            gone_us,
            ..PodRecord::default()
        }
    }

    fn action(kind: &str, started_us: u64, ended_us: u64) -> Action {
        Action {
            kind: kind.into(),
            machine: "m".into(),
            outcome: "success".into(),
            started_us,
            ended_us,
            ..Action::default()
        }
    }

    #[test]
    fn counts_change_with_every_event() {
        let pods = [pod("m", 0, Some(10), Some(12)), pod("m", 10, None, None), pod("m", 11, None, Some(14))];
        assert_eq!(live(&pods), [(0, 1), (10, 0), (10, 1), (11, 2), (14, 1)]);
        assert_eq!(running(&pods), [(2, 1), (10, 0), (12, 1), (13, 2), (14, 1)]);
    }

    #[test]
    fn a_machine_is_free_from_the_end_of_a_reclaim_to_the_next_bootstrap() {
        let s = |seconds: u64| seconds * 1_000_000;
        let evidence = Evidence {
            actions: vec![action("Reclaim", s(10), s(20)), action("Bootstrap", s(30), s(31))],
            pods: vec![
                pod("m", s(0), Some(s(12)), Some(s(15))),
                pod("m", s(5), Some(s(12)), Some(s(25))),
                pod("m", s(22), None, None),
                pod("m", s(35), None, None),
                pod("other", s(22), None, None),
                // We heard of its end after the end of its Node, on another watch.
                PodRecord { gone_version: Some(7), ..pod("m", s(5), Some(s(12)), Some(s(20) + 150_000)) },
                // We heard of the end of this one before the end of its Node, although it came after.
                PodRecord { gone_version: Some(9), ..pod("m", s(5), Some(s(12)), Some(s(19))) },
            ],
            nodes: vec![NodeRecord {
                name: "m".into(),
                created_us: Some(0),
                gone_us: Some(s(20)),
                gone_version: Some(8),
                ..NodeRecord::default()
            }],
            ..Evidence::default()
        };
        assert_eq!(idle(&evidence)["m"], [(s(20), s(30))]);
        assert_eq!(bound_to_idle(&evidence), [&evidence.pods[2]]);
        assert_eq!(present_on_idle(&evidence), [&evidence.pods[1], &evidence.pods[2]]);
        let left: Vec<_> = left_on_deleted_nodes(&evidence).into_iter().map(|(pod, _)| pod).collect();
        assert_eq!(left, [&evidence.pods[1], &evidence.pods[6]]);
    }

    #[test]
    fn what_a_late_watch_tells_of_is_put_in_its_place() {
        let s = |seconds: u64| seconds * 1_000_000;
        let evidence = Evidence {
            actions: vec![action("Reclaim", s(10), s(20))],
            pods: vec![
                // Four seconds late, as the creation of the third Pod shows.
                pod("m", s(0), Some(s(12)), Some(s(24))),
                pod("m", s(0), Some(s(12)), Some(s(27))),
                PodRecord { watch_lag_ms: 4_500, ..pod("n", s(25), None, None) },
            ],
            ..Evidence::default()
        };
        assert_eq!(present_on_idle(&evidence), [&evidence.pods[1]]);
    }

    #[test]
    fn evictions_that_were_not_counted_are_not_zero() {
        assert_eq!(answers(&Evidence::default(), (0, 1)), None);
    }
}
