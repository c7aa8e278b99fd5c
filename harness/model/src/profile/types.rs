//! The sections of a profile. Keys are camelCase in YAML; durations have units.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::knobs::{ControlPlane, LoadDriver, NodeCreator, Operator, Shard, UnschedulablePodController};
use super::slo::Slo;
use super::span::Span;

/// One run: how many clusters and Pods, under which load, judged by which SLOs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// Name that commands use for it.
    pub name: String,
    /// One sentence for `--list`.
    #[serde(default)]
    pub description: String,
    /// Number of control planes, named `kwok-cluster-0..`.
    pub clusters: u32,
    /// Pod target of each cluster.
    pub pods_per_cluster: u32,
    /// Pods of one shape per machine (ADR-0022), for archetypes without `podsPerNode`.
    pub density: u32,
    /// Catalog file under `fixtures/catalogs`, without extension.
    pub catalog: String,
    /// Seed of everything that is drawn at random.
    pub seed: u64,
    /// Pods per archetype in each cluster, adding up to `podsPerCluster`; empty: by the catalog's weights.
    #[serde(default)]
    pub pods_per_archetype: BTreeMap<String, u32>,
    /// Whether the number of machines of every Need is known in advance. If false, Needs may lie at the edge of a
    /// machine and counts need not divide by the zones; machine counts are then predicted and judged as ranges.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub exact: bool,
    /// How Pods are bound to Nodes.
    #[serde(default)]
    pub harness: Harness,
    /// What owns the Pods (ADR-0038).
    #[serde(default)]
    pub workloads: Workloads,
    /// Whether load-driver binds the first fill itself (ADR-0035), in the same way on all machines that serve from the
    /// start, instead of leaving it to the scheduler, which is held back during that time.
    #[serde(default)]
    pub pre_bind: bool,
    /// PodDisruptionBudget of each workload object. The disruption controller runs only if this is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,
    /// Machines that exist before the run.
    #[serde(default)]
    pub inventory: InventorySpec,
    /// Pace of the first fill.
    #[serde(default)]
    pub fill: Fill,
    /// Share of the target that is deleted and recreated per minute, 0..=1 (0.02 = 2 %).
    #[serde(default)]
    pub churn_per_minute: f64,
    /// Seeded swings of demand during the soak; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand_wave: Option<DemandWave>,
    /// Lengths of the phases.
    #[serde(default)]
    pub phases: Phases,
    /// Knobs of the operator.
    #[serde(default)]
    pub operator: Operator,
    /// Knobs of the shard.
    #[serde(default)]
    pub shard: Shard,
    /// Knobs of the unschedulable-pod-controller.
    #[serde(default)]
    pub unschedulable_pod_controller: UnschedulablePodController,
    /// Knobs of node-creator, or of pod-shim if that replaces it.
    #[serde(default)]
    pub node_creator: NodeCreator,
    /// Knobs of load-driver.
    #[serde(default)]
    pub load_driver: LoadDriver,
    /// Tuning of the control planes.
    #[serde(default)]
    pub control_plane: ControlPlane,
    /// Service-level objectives; absent ones are reported but not judged.
    #[serde(default)]
    pub slo: Slo,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // Serde's signature.
fn is_true(value: &bool) -> bool {
    *value
}

impl Profile {
    /// Names of the clusters, in order.
    pub fn cluster_names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.clusters).map(|i| format!("kwok-cluster-{i}"))
    }

    /// Pods over all clusters.
    pub fn total_pods(&self) -> u64 {
        u64::from(self.clusters) * u64::from(self.pods_per_cluster)
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisruptionBudget {
    /// Pods of one object that may be down at once; 0: none may be evicted.
    pub max_unavailable: u32,
}

/// How Pods are bound to Nodes (ADR-0023).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Harness {
    /// What binds Pods: `kube-scheduler`, or `pod-shim`, the legacy first-fit binder that is kept for contrast. With
    /// pod-shim, neither kube-scheduler nor node-creator runs, and `nodeCreator` holds the knobs of pod-shim.
    pub scheduler: Scheduler,
    /// Name of a file in `fixtures/scheduler`, or a path (anything with a `/`) relative to the profile's file.
    pub scheduler_config: String,
    /// Overlay on that file: sections are merged key by key, lists of named things (profiles, plugin configurations) by
    /// name; null removes a key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scheduler_config_overlay: BTreeMap<String, serde_json::Value>,
}

impl Default for Harness {
    fn default() -> Self {
        Self {
            scheduler: Scheduler::KubeScheduler,
            scheduler_config: "most-allocated.yaml".into(),
            scheduler_config_overlay: BTreeMap::new(),
        }
    }
}

/// What binds Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Scheduler {
    #[default]
    KubeScheduler,
    PodShim,
}

/// What owns Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Workloads {
    /// Deployments and StatefulSets (ADR-0038).
    #[default]
    ControllerManaged,
    /// Pods without an owner, which eviction destroys; kept to show the difference.
    Bare,
}

/// Machines that exist before the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InventorySpec {
    /// Share of the needed machines that serve their cluster from the start, 0..=1.
    pub configured_fraction: f64,
    /// Idle machines beyond the needed number, as a share of that number, per shape.
    pub headroom_fraction: f64,
    /// Speculative slots, as a share of the needed machines, per shape.
    pub speculative_fraction: f64,
    /// Idle machines of a shape (= archetype), instead of the computed number.
    pub idle_per_shape: BTreeMap<String, u32>,
    /// Machines of a shape that serve each cluster from the start, instead of the share; machines beyond the needed
    /// number are surplus.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub configured_per_shape: BTreeMap<String, u32>,
}

impl Default for InventorySpec {
    fn default() -> Self {
        Self {
            configured_fraction: 0.0,
            headroom_fraction: 0.1,
            speculative_fraction: 0.0,
            idle_per_shape: BTreeMap::new(),
            configured_per_shape: BTreeMap::new(),
        }
    }
}

/// Pace of the first fill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fill {
    /// Most Pods per cluster that may be declared but not bound. Without pacing, the controllers starve the schedulers
    /// (measured: 30 instead of 120 Pods/s over five clusters).
    pub window_pods: u32,
    /// Most replicas declared at once for one object; the rest follows by scaling it up.
    pub step_replicas: u32,
}

impl Default for Fill {
    fn default() -> Self {
        Self { window_pods: 400, step_replicas: 100 }
    }
}

/// A square wave on the replicas of one archetype: its target plus, then minus `replicas`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DemandWave {
    /// Archetype whose workload objects are scaled.
    pub archetype: String,
    /// Amplitude in replicas per cluster.
    pub replicas: u32,
    /// Length of one high phase and one low phase together.
    pub period: Span,
    /// Whether cluster k of n starts k/n of a period later.
    #[serde(default)]
    pub staggered: bool,
}

/// Lengths of the phases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Phases {
    /// Longest time until every Pod of the fill is bound.
    pub ramp_budget: Span,
    /// Longest time until reclaims, shortfalls and pending Pods have settled after the fill.
    pub settle: Span,
    /// Length of the measured part.
    pub soak: Span,
    /// Longest time until machines and Pods stop changing after the soak; absent: `settle` plus 3 min, because surplus
    /// machines leave only a few per cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Span>,
}

/// Time that the ceiling after the soak adds to `settle`.
const QUIESCE_EXTRA: Duration = Duration::from_secs(180);

impl Phases {
    /// Returns the longest time until machines and Pods stop changing after the soak.
    pub fn quiesce_ceiling(&self) -> Duration {
        self.quiesce.map_or(self.settle.0 + QUIESCE_EXTRA, |span| span.0)
    }
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            ramp_budget: Span::seconds(600),
            settle: Span::seconds(60),
            soak: Span::seconds(180),
            quiesce: None,
        }
    }
}
