//! Latencies of the stages of the chain, from the ledger.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;

use crate::judge::{Evidence, MEASURED};
use harness_model::record::{NodeRecord, Phase, PodRecord};
use harness_model::summary::Latency;

/// A day: far above any latency of a run, so that nothing saturates.
const HIGHEST_US: u64 = 86_400_000_000;

/// A latency histogram in microseconds, exact to three digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("the bounds must be valid"))
    }
}

impl Latencies {
    /// Adds a sample.
    pub fn add(&mut self, latency_us: u64) {
        self.0.saturating_record(latency_us.max(1));
    }

    /// Returns the number of samples.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns a quantile in seconds, if there are samples.
    pub fn quantile_s(&self, q: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(q) as f64 / 1e6)
    }

    /// Returns the largest sample in seconds, if there are samples.
    pub fn max_s(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.max() as f64 / 1e6)
    }

    /// Whether a sample lay beyond the histogram.
    pub fn is_saturated(&self) -> bool {
        self.0.max() >= HIGHEST_US
    }

    fn summary(&self) -> Latency {
        let ms = |q: f64| self.0.value_at_quantile(q) as f64 / 1e3;
        Latency {
            count: self.0.len(),
            ms_p50: ms(0.5),
            ms_p90: ms(0.9),
            ms_p99: ms(0.99),
            ms_max: self.0.max() as f64 / 1e3,
        }
    }
}

/// Nodes by cluster and name, each with its records in order of creation.
pub struct NodeIndex<'a>(HashMap<(&'a str, &'a str), Vec<&'a NodeRecord>>);

impl<'a> NodeIndex<'a> {
    /// Indexes all Nodes.
    pub fn new(evidence: &'a Evidence) -> Self {
        let mut index: HashMap<_, Vec<&NodeRecord>> = HashMap::new();
        for node in evidence.nodes.iter().filter(|n| n.created_us.is_some()) {
            index.entry((node.cluster.as_str(), node.name.as_str())).or_default().push(node);
        }
        index.values_mut().for_each(|records| records.sort_by_key(|n| n.created_us));
        Self(index)
    }

    /// Returns the Node that a Pod was bound to.
    pub fn of(&self, pod: &PodRecord) -> Option<&'a NodeRecord> {
        let records = self.0.get(&(pod.cluster.as_str(), pod.node.as_deref()?))?;
        let bound_us = pod.bound_us?;
        // Two watches have no common order: the Pod's bind may arrive before the Node's creation.
        records.iter().rev().find(|n| n.created_us <= Some(bound_us)).or_else(|| records.first()).copied()
    }
}

/// Whether a Pod had to wait for a machine: the Node it was bound to is younger than the Pod.
pub fn needed_new_capacity(pod: &PodRecord, nodes: &NodeIndex) -> bool {
    nodes.of(pod).is_some_and(|node| node.created_us > Some(pod.created_us))
}

/// Returns the Pods created in a phase.
pub fn born_in(evidence: &Evidence, phase: Phase) -> impl Iterator<Item = &PodRecord> {
    let window = evidence.window(phase);
    let born = move |p: &&PodRecord| window.is_some_and(|(from, to)| (from..=to).contains(&p.created_us));
    evidence.pods.iter().filter(born)
}

/// Returns the latency of each stage for the Pods created, and the Nodes announced, in each measured phase.
pub fn stages(evidence: &Evidence) -> BTreeMap<Phase, BTreeMap<String, Latency>> {
    let index = NodeIndex::new(evidence);
    let mut stages = BTreeMap::new();
    for phase in MEASURED {
        let mut by_stage: BTreeMap<&str, Latencies> = BTreeMap::new();
        born_in(evidence, phase).for_each(|pod| pod_stages(evidence, &index, pod, &mut by_stage));
        if let Some(window) = evidence.window(phase) {
            let announced =
                |n: &&NodeRecord| n.upcoming_us.is_some_and(|at| (window.0..=window.1).contains(&at));
            evidence
                .nodes
                .iter()
                .filter(announced)
                .for_each(|node| node_stages(evidence, node, &mut by_stage));
        }
        let summaries = by_stage.iter().map(|(name, l)| ((*name).to_owned(), l.summary())).collect();
        stages.insert(phase, summaries);
    }
    stages
}

type ByStage = BTreeMap<&'static str, Latencies>;

fn pod_stages(evidence: &Evidence, index: &NodeIndex, pod: &PodRecord, stages: &mut ByStage) {
    let mut stage = |name, from: Option<u64>, to: Option<u64>| {
        if let (Some(from), Some(to)) = (from, to) {
            stages.entry(name).or_default().add(to.saturating_sub(from));
        }
    };
    let born = Some(pod.created_us);
    stage("create_to_mark", born, pod.marked_us);
    stage("create_to_request", born, pod.request_us);
    stage("request_to_acknowledged", pod.request_us, pod.acked_us);
    stage(
        "request_to_rollup",
        pod.request_us,
        pod.request_us.and_then(|at| first_rollup(evidence, &pod.cluster, at)),
    );
    stage("create_to_bound", born, pod.bound_us);
    stage("bound_to_running", pod.bound_us, pod.running_us);
    if needed_new_capacity(pod, index) {
        stage("create_to_bound_needed_new_capacity", born, pod.bound_us);
        stage("node_ready_to_bound", index.of(pod).and_then(|n| n.ready_us), pod.bound_us);
    } else if pod.bound_us.is_some() {
        stage("create_to_bound_schedulable_at_creation", born, pod.bound_us);
    }
    if pod.deleting_us.is_some() {
        stage("deleting_to_gone", pod.deleting_us, pod.gone_us);
    }
}

fn node_stages(evidence: &Evidence, node: &NodeRecord, stages: &mut ByStage) {
    let mut stage = |name, from: Option<u64>, to: Option<u64>| {
        if let (Some(from), Some(to)) = (from, to) {
            stages.entry(name).or_default().add(to.saturating_sub(from));
        }
    };
    let bootstrap = bootstrap_of(evidence, node);
    let rollup = bootstrap.and_then(|at| last_rollup(evidence, &node.cluster, at));
    stage("rollup_to_bootstrap", rollup, bootstrap);
    stage("bootstrap_to_upcoming_ready", bootstrap, node.upcoming_ready_us);
    stage("upcoming_ready_to_node", node.upcoming_ready_us, node.created_us);
    stage("node_to_ready", node.created_us, node.ready_us);
    stage("draining_to_gone", node.draining_us, node.gone_us);
}

/// Returns the first roll-up of the cluster after `at_us`.
fn first_rollup(evidence: &Evidence, cluster: &str, at_us: u64) -> Option<u64> {
    let rollups = evidence.rollups_us.get(cluster)?;
    rollups.get(rollups.partition_point(|r| *r < at_us)).copied()
}

/// Returns the last roll-up of the cluster before `at_us`.
fn last_rollup(evidence: &Evidence, cluster: &str, at_us: u64) -> Option<u64> {
    let rollups = evidence.rollups_us.get(cluster)?;
    rollups.partition_point(|r| *r <= at_us).checked_sub(1).map(|i| rollups[i])
}

/// Returns when the shard began the Bootstrap that led to this Node: the last one of the machine before its
/// UpcomingNode was Ready.
fn bootstrap_of(evidence: &Evidence, node: &NodeRecord) -> Option<u64> {
    let ready = node.upcoming_ready_us?;
    let of_node = |(at, cluster, machine): &&(u64, String, String)| {
        *at <= ready && *machine == node.name && *cluster == node.cluster
    };
    evidence.bootstraps.iter().rev().find(of_node).map(|(at, ..)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_keep_three_digits_and_say_when_they_saturate() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile_s(0.99), None, "no sample, no value");
        (1..=1000).for_each(|ms| latencies.add(ms * 1000));
        let p99 = latencies.quantile_s(0.99).unwrap();
        assert!((p99 - 0.990).abs() < 0.001, "{p99}");
        assert!(!latencies.is_saturated());
        latencies.add(u64::MAX);
        assert!(latencies.is_saturated());
    }

    #[test]
    fn new_capacity_is_a_node_younger_than_the_pod() {
        let node = |created_us| NodeRecord {
            cluster: "c".into(),
            name: "n".into(),
            created_us: Some(created_us),
            ..NodeRecord::default()
        };
        let evidence = Evidence { nodes: vec![node(10), node(50)], ..Evidence::default() };
        let index = NodeIndex::new(&evidence);
        let pod = |created_us, bound_us| PodRecord {
            cluster: "c".into(),
            node: Some("n".into()),
            created_us,
            bound_us: Some(bound_us),
            ..PodRecord::default()
        };
        assert!(needed_new_capacity(&pod(5, 20), &index));
        assert!(!needed_new_capacity(&pod(15, 20), &index));
        assert!(needed_new_capacity(&pod(40, 60), &index), "the second life of the machine");
        assert!(!needed_new_capacity(&pod(40, 45), &index));
    }
}
