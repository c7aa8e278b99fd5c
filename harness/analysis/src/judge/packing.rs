//! How full the machines are: when everything is quiet, and at any moment before.
//!
//! A Pod takes room from the receipt of its bind to the receipt of its end. Both come from one watch, which keeps their
//! order, so the sums are those of the apiserver's own history, not samples.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::judge::expect::{Amounts, ExpectedNeed, amounts};
use crate::judge::{Evidence, Expect};
use harness_model::record::{NodeRecord, PodRecord};
use harness_model::summary::Packing;

/// A Node, by cluster and name.
pub type NodeKey<'a> = (&'a str, &'a str);

/// Resources that Pods take of one Node, in thousandths of each resource's unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What is available.
    pub allocatable: Amounts,
    /// What was taken at the end.
    pub last: Amounts,
    /// The most that was ever taken.
    pub most: Amounts,
}

/// How full the machines of a run are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// By cluster and archetype: all planned Needs, then machines that serve none of them.
    pub packing: Vec<Packing>,
    /// Share of the resources of all Nodes that Pods take at the end, by resource.
    pub utilisation: BTreeMap<String, f64>,
}

/// Returns the machines and the Pods on them, for all planned Needs, at the end of the run.
pub fn account(expect: &Expect, evidence: &Evidence) -> Account {
    let owners = archetypes(evidence);
    let mut histograms: BTreeMap<(&str, &str), BTreeMap<u64, u64>> = BTreeMap::new();
    for (key, pods) in pods_per_node(evidence, evidence.end_us) {
        let owner = (key.0, owners.get(&key).copied().unwrap_or_default());
        *histograms.entry(owner).or_default().entry(pods).or_default() += 1;
    }
    let used = usage(expect, evidence);
    let is_there: BTreeSet<NodeKey<'_>> = there(evidence, evidence.end_us).map(key_of).collect();
    let now: Vec<_> = used.iter().filter(|(key, _)| is_there.contains(*key)).collect();
    let packing = |(cluster, archetype): (&str, &str), need: Option<&ExpectedNeed>| {
        let mine = |key: NodeKey<'_>| key.0 == cluster && owners.get(&key) == Some(&archetype);
        let pods_per_node = histograms.get(&(cluster, archetype)).cloned().unwrap_or_default();
        Packing {
            cluster: cluster.to_owned(),
            archetype: if archetype.is_empty() { "(none)".into() } else { archetype.to_owned() },
            nodes: pods_per_node.values().sum(),
            nodes_asked_max: asked_max(evidence.nodes.iter().filter(|n| mine(key_of(n)))),
            planned: need.map_or(0, |n| n.machines),
            planned_most: need
                .map(|n| n.machines_most)
                .filter(|most| need.is_some_and(|n| n.machines < *most)),
            lower_bound: need.map_or(0, |n| n.lower_bound),
            density: need.map_or(0, |n| n.density),
            pods_per_node,
            utilisation: shares(now.iter().filter(|(key, _)| mine(**key)).map(|(_, u)| *u)),
            node_utilisation_max: fullest(used.iter().filter(|(key, _)| mine(**key)).map(|(_, u)| u)),
        }
    };
    let planned = expect.needs.iter().map(|n| packing((&n.cluster, &n.archetype), Some(n)));
    let is_planned = |(c, a): (&str, &str)| expect.needs.iter().any(|n| n.cluster == c && n.archetype == a);
    // Machines that serve no planned Need are listed, so that they cannot go unnoticed.
    let strays = histograms.keys().filter(|key| !is_planned(**key)).map(|key| packing(*key, None));
    Account { packing: planned.chain(strays).collect(), utilisation: shares(now.iter().map(|(_, u)| *u)) }
}

/// Returns the bound Pods on each Node that exists as of `at_us`.
pub fn pods_per_node(evidence: &Evidence, at_us: u64) -> BTreeMap<NodeKey<'_>, u64> {
    let mut counts: BTreeMap<NodeKey<'_>, u64> = there(evidence, at_us).map(|n| (key_of(n), 0)).collect();
    let live = |p: &&PodRecord| {
        [p.deleting_us, p.gone_us, p.finished_us].iter().all(|t| t.is_none_or(|t| t > at_us))
    };
    for pod in evidence.pods.iter().filter(|p| p.bound_us.is_some_and(|t| t <= at_us)).filter(live) {
        if let Some(count) =
            pod.node.as_deref().and_then(|node| counts.get_mut(&(pod.cluster.as_str(), node)))
        {
            *count += 1;
        }
    }
    counts
}

/// Returns what Pods took of each Node over the whole run. A machine that came back is one Node.
pub fn usage<'a>(expect: &Expect, evidence: &'a Evidence) -> BTreeMap<NodeKey<'a>, Usage> {
    let created = evidence.nodes.iter().filter(|n| n.created_us.is_some());
    let mut usage: BTreeMap<NodeKey<'_>, Usage> = created
        .map(|n| (key_of(n), Usage { allocatable: amounts(&n.allocatable), ..Usage::default() }))
        .collect();
    // (when, whether it begins, Node, what): at one moment, ends sort before beginnings.
    let mut changes: Vec<(u64, bool, NodeKey<'_>, &Amounts)> = Vec::new();
    for pod in &evidence.pods {
        let (Some(bound_us), Some(node)) = (pod.bound_us, pod.node.as_deref()) else { continue };
        let Some(requests) = expect.requests.get(&pod.workload) else { continue };
        let key = (pod.cluster.as_str(), node);
        changes.push((bound_us, true, key, requests));
        // A Pod that is being deleted still takes its room; a finished one does not.
        if let Some(end_us) = pod.gone_us.into_iter().chain(pod.finished_us).min() {
            changes.push((end_us.max(bound_us), false, key, requests));
        }
    }
    changes.sort_by_key(|(at_us, begins, key, _)| (*at_us, *begins, *key));
    for (_, begins, key, requests) in changes {
        let Some(node) = usage.get_mut(&key) else { continue };
        for (resource, amount) in requests {
            let now = node.last.entry(resource.clone()).or_default();
            *now += if begins { *amount } else { -amount };
            let most = node.most.entry(resource.clone()).or_default();
            *most = (*most).max(*now);
        }
    }
    usage
}

/// Returns on how many Nodes Pods ever took more of a resource than there is; `None` if no Node was seen.
pub fn overfilled(expect: &Expect, evidence: &Evidence) -> Option<usize> {
    let usage = usage(expect, evidence);
    let too_full = |u: &&Usage| {
        u.most.iter().any(|(resource, most)| *most > u.allocatable.get(resource).copied().unwrap_or(0))
    };
    (!usage.is_empty()).then(|| usage.values().filter(too_full).count())
}

fn there(evidence: &Evidence, at_us: u64) -> impl Iterator<Item = &NodeRecord> {
    let is_there = move |n: &&NodeRecord| {
        n.created_us.is_some_and(|t| t <= at_us) && n.gone_us.is_none_or(|t| t > at_us)
    };
    evidence.nodes.iter().filter(is_there)
}

fn key_of(node: &NodeRecord) -> NodeKey<'_> {
    (&node.cluster, &node.name)
}

/// Returns the archetype of each Node: that of a Pod on it or, without one, that of its label.
fn archetypes(evidence: &Evidence) -> HashMap<NodeKey<'_>, &str> {
    let mut owners: HashMap<NodeKey<'_>, &str> = HashMap::new();
    for pod in evidence.pods.iter().filter(|p| p.is_live()) {
        if let Some(node) = &pod.node {
            owners.entry((&pod.cluster, node)).or_insert(&pod.archetype);
        }
    }
    for node in &evidence.nodes {
        owners.entry(key_of(node)).or_insert(&node.archetype);
    }
    owners
}

/// Returns the most machines at one moment, including those on their way.
fn asked_max<'a>(nodes: impl Iterator<Item = &'a NodeRecord>) -> u64 {
    let mut changes: Vec<(u64, i64)> = Vec::new();
    for node in nodes {
        let Some(start_us) = node.upcoming_us.into_iter().chain(node.created_us).min() else { continue };
        changes.push((start_us, 1));
        let end_us = if node.created_us.is_some() { node.gone_us } else { node.upcoming_gone_us };
        changes.extend(end_us.map(|at_us| (at_us, -1)));
    }
    changes.sort_unstable();
    let (mut now, mut most) = (0_i64, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    most.unsigned_abs()
}

/// Returns what is taken at the end, as a share of what there is, over all Nodes.
fn shares<'a>(usage: impl Iterator<Item = &'a Usage>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&String, (i128, i128)> = BTreeMap::new();
    for (resource, allocatable, taken) in usage.flat_map(|u| {
        u.allocatable.iter().map(|(resource, n)| (resource, n, u.last.get(resource).copied().unwrap_or(0)))
    }) {
        let sum = sums.entry(resource).or_default();
        *sum = (sum.0 + taken, sum.1 + allocatable);
    }
    sums.into_iter().filter_map(|(name, (taken, all))| Some((name.clone(), share(taken, all)?))).collect()
}

/// Returns the largest share of one Node that was ever taken, by resource.
fn fullest<'a>(usage: impl Iterator<Item = &'a Usage>) -> BTreeMap<String, f64> {
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for (resource, share) in usage.flat_map(|u| {
        u.allocatable.iter().filter_map(|(resource, all)| {
            Some((resource, share(u.most.get(resource).copied().unwrap_or(0), *all)?))
        })
    }) {
        let kept = largest.entry(resource.clone()).or_default();
        *kept = kept.max(share);
    }
    largest
}

/// Returns a share with four decimals, which are enough for people and keep summaries short.
fn share(taken: i128, all: i128) -> Option<f64> {
    (all > 0).then(|| (taken as f64 / all as f64 * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::made_up::{CLUSTER, evidence, expect};

    #[test]
    fn a_replacement_takes_the_room_of_a_pod_that_is_gone() {
        let evidence = evidence();
        let usage = usage(&expect(), &evidence);
        // Pod 3 went at 71 s, its replacement was bound at 74 s: never more than two on a Node of two.
        let node = &usage[&(CLUSTER, "m-1")];
        assert_eq!((node.most["cpu"], node.last["cpu"], node.allocatable["cpu"]), (1000, 1000, 1000));
        assert_eq!((node.most["pods"], node.allocatable["pods"]), (2000, 1_100_000));
        assert_eq!(overfilled(&expect(), &evidence), Some(0));
        assert_eq!(overfilled(&expect(), &Evidence::default()), None, "nothing was seen");
    }

    #[test]
    fn one_pod_too_many_for_a_moment_is_seen() {
        let mut evidence = evidence();
        evidence.pods[4].bound_us = Some(70_900_000);
        let usage = usage(&expect(), &evidence);
        assert_eq!(usage[&(CLUSTER, "m-1")].most["cpu"], 1500);
        assert_eq!(overfilled(&expect(), &evidence), Some(1));
        let packing = &account(&expect(), &evidence).packing[0];
        assert_eq!(packing.node_utilisation_max["cpu"], 1.5);
        assert_eq!(packing.utilisation["cpu"], 1.0, "in the end all is as it should be");
    }

    #[test]
    fn counts_are_those_of_the_moment() {
        let evidence = evidence();
        let counts = |at_s: u64| pods_per_node(&evidence, at_s * 1_000_000).into_values().collect::<Vec<_>>();
        assert_eq!(counts(13), [] as [u64; 0]);
        assert_eq!(counts(14), [0, 0]);
        assert_eq!(counts(40), [2, 2]);
        assert_eq!(counts(72), [2, 1]);
        assert_eq!(counts(200), [2, 2]);
    }

    #[test]
    fn machines_asked_for_count_from_their_announcement_to_their_end() {
        let node = |upcoming_us, created_us, upcoming_gone_us, gone_us| NodeRecord {
            upcoming_us: Some(upcoming_us),
            created_us,
            upcoming_gone_us,
            gone_us,
            ..NodeRecord::default()
        };
        // One that never became a Node, and one that is gone when the last one appears.
        let nodes =
            [node(1, None, Some(5), None), node(2, Some(3), Some(8), Some(9)), node(9, Some(10), None, None)];
        assert_eq!(asked_max(nodes.iter()), 2);
    }

    #[test]
    fn a_spare_machine_shows_in_every_figure() {
        let mut evidence = evidence();
        evidence.nodes.push(NodeRecord { name: "m-9".into(), ..evidence.nodes[0].clone() });
        let account = account(&expect(), &evidence);
        let packing = &account.packing[0];
        assert_eq!(
            (packing.nodes, packing.nodes_asked_max, packing.planned, packing.lower_bound),
            (3, 3, 2, 2)
        );
        assert_eq!(packing.pods_per_node, [(0, 1), (2, 2)].into());
        assert_eq!(account.utilisation["cpu"], 0.6667);
    }
}
