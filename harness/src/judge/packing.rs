//! How full the machines are when everything is quiet.

use std::collections::{BTreeMap, HashMap};

use crate::judge::expect::ExpectedNeed;
use crate::judge::{Evidence, Expect};
use crate::summary::Packing;

/// Machines and Pods on them by cluster and archetype, for all planned Needs, at the end of the run.
pub fn account(expect: &Expect, evidence: &Evidence) -> Vec<Packing> {
    let mut pods_on: HashMap<(&str, &str), (u64, &str)> = HashMap::new();
    for pod in evidence.pods.iter().filter(|p| p.is_live()) {
        if let Some(node) = &pod.node {
            let entry = pods_on.entry((&pod.cluster, node)).or_insert((0, &pod.archetype));
            entry.0 += 1;
        }
    }
    let mut histograms: BTreeMap<(&str, &str), BTreeMap<u64, u64>> = BTreeMap::new();
    for node in evidence.nodes.iter().filter(|n| n.created_us.is_some() && n.gone_us.is_none()) {
        let (pods, archetype) = pods_on
            .get(&(node.cluster.as_str(), node.name.as_str()))
            .copied()
            .unwrap_or((0, &node.archetype));
        *histograms.entry((&node.cluster, archetype)).or_default().entry(pods).or_default() += 1;
    }
    let packing = |need: &ExpectedNeed| {
        let key = (need.cluster.as_str(), need.archetype.as_str());
        let pods_per_node = histograms.get(&key).cloned().unwrap_or_default();
        Packing {
            cluster: need.cluster.clone(),
            archetype: need.archetype.clone(),
            nodes: pods_per_node.values().sum(),
            lower_bound: need.machines,
            density: need.density,
            pods_per_node,
        }
    };
    let mut all: Vec<Packing> = expect.needs.iter().map(packing).collect();
    let is_planned = |(c, a): (&str, &str)| expect.needs.iter().any(|n| n.cluster == c && n.archetype == a);
    // Machines that serve no planned Need: named, so that they cannot hide.
    let strays = histograms.into_iter().filter(|(key, _)| !is_planned(*key));
    all.extend(strays.map(|((cluster, archetype), pods_per_node)| Packing {
        cluster: cluster.to_owned(),
        archetype: if archetype.is_empty() { "(none)".into() } else { archetype.to_owned() },
        nodes: pods_per_node.values().sum(),
        pods_per_node,
        ..Packing::default()
    }));
    all
}
