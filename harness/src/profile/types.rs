//! What a profile says, section by section. Keys are camelCase in YAML; lengths of time carry units.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::slo::Slo;
use super::span::Span;

/// One run: how many clusters and Pods, under which load, judged by which SLOs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// The name by which commands know it.
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
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Pods per archetype in each cluster, adding up to `podsPerCluster`; empty: by the catalog's weights.
    #[serde(default)]
    pub pods_per_archetype: BTreeMap<String, u32>,
    /// How Pods come to Nodes.
    #[serde(default)]
    pub harness: Harness,
    /// Who owns the Pods (ADR-0038).
    #[serde(default)]
    pub workloads: Workloads,
    /// Whether load-driver binds the first fill itself (ADR-0035) instead of leaving it to the scheduler.
    #[serde(default)]
    pub pre_bind: bool,
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
    /// Knobs of node-creator, or of pod-shim where that stands in for it.
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

/// How Pods come to Nodes (ADR-0023).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Harness {
    /// Who binds Pods: `kube-scheduler`, or `pod-shim`, the legacy first-fit binder kept as the contrast. With
    /// pod-shim neither kube-scheduler nor node-creator runs, and `nodeCreator`'s knobs are pod-shim's.
    pub scheduler: Scheduler,
    /// A file of `fixtures/scheduler` by name, or a path (one with a `/`) as seen from the profile's file.
    pub scheduler_config: String,
    /// Laid over that file: sections key by key, lists of named things (profiles, plugin configurations) by
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

/// Who binds Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Scheduler {
    #[default]
    KubeScheduler,
    PodShim,
}

/// Who owns Pods.
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
    /// Idle machines beyond what is needed, as a share of it, per shape.
    pub headroom_fraction: f64,
    /// Speculative slots, as a share of what is needed, per shape.
    pub speculative_fraction: f64,
    /// Idle machines of a shape (= archetype), in place of the computed number.
    pub idle_per_shape: BTreeMap<String, u32>,
}

impl Default for InventorySpec {
    fn default() -> Self {
        Self {
            configured_fraction: 0.0,
            headroom_fraction: 0.1,
            speculative_fraction: 0.0,
            idle_per_shape: BTreeMap::new(),
        }
    }
}

/// Pace of the first fill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fill {
    /// Most Pods per cluster that are declared but not bound. Unpaced, the controllers starve the
    /// schedulers (measured: 30 instead of 120 Pods/s over five clusters).
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
    /// Whose workload objects are scaled.
    pub archetype: String,
    /// Amplitude in replicas per cluster.
    pub replicas: u32,
    /// Length of one up and one down.
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
    /// Longest time until machines and Pods stand still after the soak; absent: `settle` and 3 min, because
    /// surplus leaves a few machines per cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Span>,
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

/// Knobs of the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Operator {
    pub qps: u32,
    pub burst: u32,
    /// Workers that acknowledge requests.
    pub ack_concurrency: u32,
    /// Time between two roll-ups.
    pub rollup_interval: Span,
}

impl Default for Operator {
    fn default() -> Self {
        Self { qps: 200, burst: 400, ack_concurrency: 16, rollup_interval: Span::seconds(1) }
    }
}

/// Knobs of the shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Shard {
    /// Workers that carry out actions.
    pub execute_concurrency: u32,
    /// Time between two cycles.
    pub cycle_interval: Span,
    /// Fake provider: Speculative to Idle.
    pub create_latency: Span,
    /// Fake provider: Idle to Configured.
    pub configure_latency: Span,
    /// Fake provider: Draining to Idle.
    pub drain_latency: Span,
    /// Fake provider: share of creations that fail, 0..=1.
    pub create_failure_rate: f64,
    /// Fake provider: share of configurations that fail, 0..=1.
    pub configure_failure_rate: f64,
    /// Largest share of Configured machines that one cycle may reclaim, 0..=1; absent: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reclaim_cap_fraction: Option<f64>,
    /// Whether an empty roll-up of a cluster that had demand is held back once.
    pub empty_rollup_guard: bool,
    /// How long a drain may take.
    pub reclaim_grace: Span,
    /// Whether a machine is Idle only once the operator says that its Node is gone.
    pub wait_for_eviction: bool,
    /// Whether a gang that fits one machine counts as a plain Need (ADR-0041).
    pub gang_folding: bool,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            execute_concurrency: 64,
            cycle_interval: Span::seconds(1),
            create_latency: Span::default(),
            configure_latency: Span::default(),
            drain_latency: Span::default(),
            create_failure_rate: 0.0,
            configure_failure_rate: 0.0,
            reclaim_cap_fraction: None,
            empty_rollup_guard: true,
            reclaim_grace: Span::seconds(60),
            wait_for_eviction: true,
            gang_folding: true,
        }
    }
}

/// Knobs of the unschedulable-pod-controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct UnschedulablePodController {
    pub qps: u32,
    pub burst: u32,
    pub concurrency: u32,
    /// Which Pods have a CapacityRequest.
    pub cr_mode: CrMode,
    /// When a deleted Pod's request goes.
    pub cr_release: CrRelease,
}

impl Default for UnschedulablePodController {
    fn default() -> Self {
        Self {
            qps: 500,
            burst: 1000,
            concurrency: 16,
            cr_mode: CrMode::PerPod,
            cr_release: CrRelease::OnTerminating,
        }
    }
}

/// Which Pods have a CapacityRequest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CrMode {
    /// Every live Pod (ADR-0039).
    PerPod,
    /// Only Pods marked Unschedulable (upstream at the time of ADR-0023 and ADR-0038; oscillates).
    UnschedulableOnly,
}

/// When a deleted Pod's request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CrRelease {
    /// As soon as the Pod is Terminating.
    OnTerminating,
    /// When the Pod object is gone.
    OnGone,
}

/// Knobs of node-creator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct NodeCreator {
    pub qps: u32,
    pub burst: u32,
    pub concurrency: u32,
    /// Put before the machine id to make the Node's name; upstream's `fake-` makes evictions miss.
    pub node_name_prefix: String,
}

impl Default for NodeCreator {
    fn default() -> Self {
        Self { qps: 200, burst: 400, concurrency: 8, node_name_prefix: String::new() }
    }
}

/// Knobs of load-driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct LoadDriver {
    pub qps: u32,
    pub burst: u32,
    pub concurrency: u32,
    /// Whether churn is spaced by a seeded Poisson process instead of evenly.
    pub poisson_jitter: bool,
    /// `workloads: bare` only: whether load-driver makes up for lost Pods, as a controller would.
    pub bare_top_up: bool,
}

impl Default for LoadDriver {
    fn default() -> Self {
        Self { qps: 200, burst: 400, concurrency: 8, poisson_jitter: false, bare_top_up: true }
    }
}

/// Tuning of each control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlPlane {
    /// GOGC of the apiserver: 400 saves about 30 % of its CPU on custom resources.
    pub apiserver_gogc: u32,
    /// GOMEMLIMIT of the apiserver in MiB, which bounds what GOGC spends.
    pub apiserver_gomemlimit_mib: u32,
    /// QPS of kube-controller-manager (its default of 20 passes for controller speed).
    pub kcm_qps: u32,
    /// Burst of kube-controller-manager.
    pub kcm_burst: u32,
    /// `--concurrent-{deployment,replicaset,statefulset,gc}-syncs`.
    pub kcm_concurrent_syncs: u32,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            apiserver_gogc: 400,
            apiserver_gomemlimit_mib: 2048,
            kcm_qps: 500,
            kcm_burst: 1000,
            kcm_concurrent_syncs: 20,
        }
    }
}
