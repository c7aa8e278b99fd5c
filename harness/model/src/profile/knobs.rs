//! The part of a profile that configures individual programs: those of the autoscaler, the harness and the control
//! planes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span::Span;

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
    /// Whether a machine becomes Idle only once the operator reports that its Node is gone.
    pub wait_for_eviction: bool,
    /// Whether a gang that fits one machine counts as a plain Need (ADR-0041).
    pub gang_folding: bool,
    /// Whether the shard carries out no actions before the first fill is bound: machines that serve from the start
    /// would be surplus until then. Actions begin with the first roll-up after `steady`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused_until_filled: bool,
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
            paused_until_filled: false,
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
    /// When a deleted Pod's request is removed.
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

/// When a deleted Pod's request is removed.
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
    /// Prefix before the machine id in the Node's name; upstream's `fake-` makes evictions miss.
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
    /// `workloads: bare` only: whether load-driver replaces lost Pods, as a controller would.
    pub bare_top_up: bool,
    /// `bareTopUp` only: whether the object that gets the replacement for a lost Pod is drawn again, as upstream's
    /// load-driver did, instead of being the object that lost the Pod.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bare_fresh_draws: bool,
}

impl Default for LoadDriver {
    fn default() -> Self {
        Self {
            qps: 200,
            burst: 400,
            concurrency: 8,
            poisson_jitter: false,
            bare_top_up: true,
            bare_fresh_draws: false,
        }
    }
}

/// Memory limit of an apiserver if neither the profile nor its number of Pods sets one, MiB. Runs of up to 10,000 Pods
/// in a cluster reach full speed with it (docs/performance.md).
pub const APISERVER_GOMEMLIMIT_MIB: u32 = 2048;

/// Limits of each control plane. Every limit is explicit, because hidden defaults (kube-controller-manager: 20 requests
/// per second) can be mistaken for the speed of the system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlPlane {
    /// GOGC of the apiserver: 400 saves about 30 % of its CPU on custom resources.
    pub apiserver_gogc: u32,
    /// GOMEMLIMIT of the apiserver in MiB, which bounds the memory that GOGC may spend; absent: derived from the Pods
    /// of a cluster and the machine's memory, at least 2048.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apiserver_gomemlimit_mib: Option<u32>,
    /// QPS of kube-controller-manager.
    pub kcm_qps: u32,
    /// Burst of kube-controller-manager.
    pub kcm_burst: u32,
    /// `--concurrent-{deployment,replicaset,statefulset,gc,namespace}-syncs`.
    pub kcm_concurrent_syncs: u32,
    /// How long a deleted Pod stays Terminating.
    #[serde(skip_serializing_if = "is_instant")]
    pub pod_termination: Span,
}

fn is_instant(span: &Span) -> bool {
    span.0.is_zero()
}

impl ControlPlane {
    /// Returns the apiserver's memory limit, MiB.
    pub fn gomemlimit_mib(&self) -> u32 {
        self.apiserver_gomemlimit_mib.unwrap_or(APISERVER_GOMEMLIMIT_MIB)
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            apiserver_gogc: 400,
            apiserver_gomemlimit_mib: None,
            kcm_qps: 500,
            kcm_burst: 1000,
            kcm_concurrent_syncs: 20,
            pod_termination: Span::default(),
        }
    }
}
