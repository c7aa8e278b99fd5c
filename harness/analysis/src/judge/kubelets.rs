//! Whether the fake kubelets kept up. kwok runs bound Pods and removes deleted ones; an autoscaler that waits for
//! either must not be judged by how long kwok took.

use std::collections::BTreeMap;

use crate::judge::{Evidence, Expect};
use harness_model::record::{NodeRecord, Phase, PodRecord};
use harness_model::summary::HeldBack;

/// Time within which a bound Pod runs and a deleted one is gone. Either takes a second, or half a minute when all of
/// dev-500's Pods are filled in at once.
pub const WITHIN_S: u64 = 60;

/// What a Pod waits for kwok to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Run,
    Go,
}

/// Pods that waited too long for the same thing.
#[derive(Debug, PartialEq, Eq)]
struct Late {
    cluster: String,
    deed: Deed,
    pods: usize,
    longest_s: u64,
}

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pods, longest_s, .. } = self;
        match self.deed {
            Deed::Run => write!(f, "{pods} bound Pods did not run"),
            Deed::Go => write!(f, "{pods} deleted Pods did not go"),
        }?;
        write!(f, " within {WITHIN_S} s, the latest waited {longest_s} s")
    }
}

/// Checks the rule that no Pod waited for kwok for longer than [`WITHIN_S`].
///
/// # Errors
/// Returns how many did, and where.
pub fn kept_up(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    let late = late(evidence, expect.pod_termination_s, (0, u64::MAX));
    let told: Vec<_> = late.iter().map(|late| format!("{}: {late}", late.cluster)).collect();
    match told.is_empty() {
        true => Ok(format!("kwok ran or removed every Pod that it had to within {WITHIN_S} s")),
        false => Err(format!("kwok did not keep up, or lost Pods: {}", told.join("; "))),
    }
}

/// Returns what kwok held back, by the phase in which the Pods began to wait.
pub fn held_back(evidence: &Evidence, phase: Phase, pod_termination_s: u64) -> Vec<HeldBack> {
    let Some(window) = evidence.window(phase) else { return Vec::new() };
    let told = |late: Late| HeldBack {
        phase,
        component: "kwok".to_owned(),
        why: late.to_string(),
        cluster: Some(late.cluster),
    };
    late(evidence, pod_termination_s, window).into_iter().map(told).collect()
}

/// Finds Pods that began to wait in a window (from, before) and waited too long, by cluster.
fn late(evidence: &Evidence, pod_termination_s: u64, (from, to): (u64, u64)) -> Vec<Late> {
    let mut lives: BTreeMap<(&str, &str), Vec<&NodeRecord>> = BTreeMap::new();
    for node in &evidence.nodes {
        lives.entry((&node.cluster, &node.name)).or_default().push(node);
    }
    let mut found: BTreeMap<(&str, Deed), Late> = BTreeMap::new();
    for pod in &evidence.pods {
        let Some(bound_us) = pod.bound_us else { continue };
        let nodes = lives.get(&(pod.cluster.as_str(), pod.node.as_deref().unwrap_or_default()));
        // A Node's kubelet goes with the Node.
        let node_gone_us = nodes.and_then(|lives| gone_after(lives, bound_us)).unwrap_or(u64::MAX);
        let until = |at_us: u64| at_us.min(node_gone_us).min(evidence.end_us);
        for (deed, since_us, until_us, within_s) in [
            (Deed::Run, Some(bound_us), until(ran_or_need_not(pod)), WITHIN_S),
            (Deed::Go, deleted(pod), until(pod.gone_us.unwrap_or(u64::MAX)), WITHIN_S + pod_termination_s),
        ] {
            let Some(since_us) = since_us.filter(|at| (from..to).contains(at)) else { continue };
            let waited_s = until_us.saturating_sub(since_us) / 1_000_000;
            if waited_s > within_s {
                let none = Late { cluster: pod.cluster.clone(), deed, pods: 0, longest_s: 0 };
                let late = found.entry((&pod.cluster, deed)).or_insert(none);
                late.pods += 1;
                late.longest_s = late.longest_s.max(waited_s);
            }
        }
    }
    found.into_values().collect()
}

/// Returns the end of that life of a Node during which a Pod was bound to it.
fn gone_after(lives: &[&NodeRecord], bound_us: u64) -> Option<u64> {
    lives.iter().filter_map(|node| node.gone_us).filter(|gone| *gone >= bound_us).min()
}

/// Returns when a Pod ran, or when it began to end before it ran.
fn ran_or_need_not(pod: &PodRecord) -> u64 {
    let ends = [pod.running_us, pod.finished_us, pod.deleting_us, pod.gone_us];
    ends.into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// Returns when a bound Pod was deleted. A Pod that was deleted before it was bound has no kubelet to wait for.
fn deleted(pod: &PodRecord) -> Option<u64> {
    pod.deleting_us.filter(|deleting| pod.bound_us.is_some_and(|bound| bound <= *deleting))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::made_up::{CLUSTER, evidence, expect};

    const LONG_US: u64 = (WITHIN_S + 2) * 1_000_000;

    #[test]
    fn the_made_up_run_waited_for_nobody() {
        assert!(kept_up(&expect(), &evidence()).is_ok());
    }

    #[test]
    fn a_bound_pod_that_does_not_run_breaks_the_rule_and_is_kwoks() {
        let mut run = evidence();
        run.pods[0].running_us = Some(run.pods[0].bound_us.unwrap() + LONG_US);
        let told = kept_up(&expect(), &run).unwrap_err();
        assert!(told.contains(&format!("{CLUSTER}: 1 bound Pods did not run within 60 s")), "{told}");
        let held = held_back(&run, Phase::Fill, 0);
        assert_eq!(held.iter().map(|h| h.component.as_str()).collect::<Vec<_>>(), ["kwok"]);
        assert!(held[0].why.starts_with("1 bound Pods"), "{}", held[0].why);
        run.pods[0].running_us = None;
        assert!(kept_up(&expect(), &run).is_err(), "one that never ran");
    }

    /// Returns the made-up run, in which one Pod is deleted in the fill and stays to the end.
    fn with_one_that_stays() -> Evidence {
        let mut run = evidence();
        let pod = &mut run.pods[0];
        pod.deleting_us = Some(pod.bound_us.unwrap() + 1);
        pod.gone_us = None;
        run
    }

    #[test]
    fn a_deleted_pod_that_stays_breaks_the_rule() {
        let told = kept_up(&expect(), &with_one_that_stays()).unwrap_err();
        assert!(told.contains("1 deleted Pods did not go within 60 s"), "{told}");
    }

    #[test]
    fn a_profile_that_lets_pods_terminate_slowly_waits_for_that_too() {
        let mut run = with_one_that_stays();
        run.pods[0].gone_us = Some(run.pods[0].deleting_us.unwrap() + LONG_US);
        assert!(kept_up(&expect(), &run).is_err());
        assert!(kept_up(&crate::judge::Expect { pod_termination_s: 10, ..expect() }, &run).is_ok());
    }

    #[test]
    fn a_pod_whose_node_is_gone_has_no_kubelet_to_wait_for() {
        let mut run = with_one_that_stays();
        let (name, deleting_us) = (run.pods[0].node.clone().unwrap(), run.pods[0].deleting_us.unwrap());
        let node = run.nodes.iter_mut().find(|node| node.name == name).unwrap();
        node.gone_us = Some(deleting_us + 1_000_000);
        assert!(kept_up(&expect(), &run).is_ok());
    }
}
