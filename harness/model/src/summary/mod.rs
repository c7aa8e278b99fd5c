//! The summary of a run: what `summary.json` holds. Its JSON schema is checked in.
//!
//! Units are part of the names. A value that was not measured is absent, with a note; it is never 0.

pub mod file;
pub mod machine;
pub mod markdown;
pub mod schema;
pub mod screen;
pub mod speed;
pub mod stats;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Phase;
pub use crate::summary::speed::{HostSpeed, IndexSpread};

/// Version of the summary's shape; increased by every change that breaks a reader.
pub const SCHEMA_VERSION: u32 = 2;

/// Exit code of a command that succeeded but left objects of a run in an existing cluster.
pub const LEFT_BEHIND: u8 = 5;

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Version of this shape.
    pub schema_version: u32,
    /// Identifier of the run.
    pub run_id: String,
    /// Name of the profile.
    pub profile: String,
    /// Seed of everything random.
    pub seed: u64,
    /// When the run began, RFC 3339.
    pub started: String,
    /// The verdict. Validity takes precedence over gates.
    pub verdict: Verdict,
    /// The reason for the verdict, in one sentence.
    pub reason: String,
    /// Each rule of validity.
    pub validity: Vec<Finding>,
    /// Each gate.
    pub gates: Vec<Gate>,
    /// All metrics, gated or not, by name.
    pub metrics: BTreeMap<String, Metric>,
    /// Length of each phase, seconds.
    pub phases_s: BTreeMap<Phase, f64>,
    /// Final state of the Pods, by cluster.
    pub pods: BTreeMap<String, PodAccount>,
    /// Latency of each stage of the chain, for Pods created in each phase.
    pub stages: BTreeMap<Phase, BTreeMap<String, Latency>>,
    /// Machines and Pods on them at the end, by cluster and archetype.
    pub packing: Vec<Packing>,
    /// Share of all Nodes' allocatable that Pods take at the end, by resource, 0..=1.
    pub utilisation: BTreeMap<String, f64>,
    /// CPU use by component.
    pub cpu: CpuAccount,
    /// Speed of the host; absent if it was not measured, in which case figures are not normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_speed: Option<HostSpeed>,
    /// What held the run back without using CPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<HeldBack>,
    /// Metric families that a program should expose but never did. Metrics read from them are not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_shown: Vec<String>,
    /// Largest resident memory of all processes together, and by component, MiB.
    pub memory_mib: MemoryAccount,
    /// Pods that were unbound for longer than a minute.
    pub stuck_pods: Vec<StuckPod>,
    /// sha256 of the plan.
    pub plan_digest: String,
    /// sha256 over what is exact: plan, replicas, machines per Need, verdicts.
    pub outcome_digest: String,
    /// The host, as recorded.
    pub host: serde_json::Value,
    /// The tools, as recorded.
    pub tools: serde_json::Value,
}

impl Summary {
    /// Returns the name of the autoscaler under test; `None` if it was the reference.
    pub fn autoscaler(&self) -> Option<&str> {
        autoscaler(&self.host)
    }

    /// Returns the version of the host speed index; `None` if the host's speed was not measured.
    pub fn index_version(&self) -> Option<u32> {
        self.host_speed.as_ref().map(|speed| speed.index_version)
    }

    /// Returns a metric at reference speed, if it depends on the host and the host was measured with that version of
    /// the index.
    pub fn normalised(&self, metric: &str, index_version: u32) -> Option<f64> {
        let speed = self.host_speed.as_ref().filter(|speed| speed.index_version == index_version)?;
        speed.normalised.get(metric).copied()
    }
}

/// Returns the name of the autoscaler in the facts recorded about a run; `None` if it was the reference.
pub fn autoscaler(host: &serde_json::Value) -> Option<&str> {
    host.get("autoscaler").and_then(serde_json::Value::as_str)
}

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Valid, and every gate passed.
    Pass,
    /// Valid, and a gate failed.
    Fail,
    /// The measurement cannot be trusted.
    Invalid,
    /// Stopped by Ctrl-C; what was measured so far is kept.
    Interrupted,
}

impl Verdict {
    /// Returns the project's exit code for it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Invalid => 4,
            Self::Interrupted => 130,
        }
    }

    /// Whether it judges the system under test. An invalid or interrupted run says nothing about it.
    pub fn is_judgement(self) -> bool {
        matches!(self, Self::Pass | Self::Fail)
    }

    /// Returns the name as shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
            Self::Interrupted => "INTERRUPTED",
        }
    }
}

/// Something that held a run back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldBack {
    /// Phase that was held back.
    pub phase: Phase,
    /// Component that held it back.
    pub component: String,
    /// Its cluster, if it was a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Evidence for it.
    pub why: String,
}

impl HeldBack {
    /// Returns the line as shown to people.
    pub fn line(&self) -> String {
        let whose = self.cluster.as_ref().map_or_else(String::new, |cluster| format!(" of {cluster}"));
        format!("{}{whose} in the {}: {}", self.component, self.phase.name(), self.why)
    }
}

/// One rule of validity and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule.
    pub rule: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// A measured figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// The value; absent if it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Unit.
    pub unit: String,
    /// Whether the histogram ended below the value: it is larger than `value`, by an unknown amount.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub saturated: bool,
    /// Why it was not measured, or how many samples it rests on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Metric {
    /// Returns the value, unless it is absent or only known to be larger.
    pub fn exact(&self) -> Option<f64> {
        self.value.filter(|value| !self.saturated && value.is_finite())
    }
}

/// One gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// The metric that is gated.
    pub metric: String,
    /// Its value, if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Unit.
    pub unit: String,
    /// The objective, which does not depend on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Bound>,
    /// The calibrated range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Bound>,
    /// The result.
    pub outcome: Outcome,
    /// Why it does not apply.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Limits of a value; both ends are included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bound {
    /// Smallest good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Bound {
    /// Creates an upper bound.
    pub fn max(max: f64) -> Self {
        Self { min: None, max: Some(max) }
    }

    /// Creates a lower bound.
    pub fn min(min: f64) -> Self {
        Self { min: Some(min), max: None }
    }

    /// Whether the bound has no limit at all.
    pub fn is_empty(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }

    /// Whether the value lies inside. NaN never does.
    pub fn holds(&self, value: f64) -> bool {
        !value.is_nan() && self.min.is_none_or(|min| min <= value) && self.max.is_none_or(|max| value <= max)
    }
}

/// Result of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Measured and inside.
    Pass,
    /// Outside.
    Fail,
    /// Not measured: fails.
    Unmeasured,
    /// The value lies beyond the histogram: fails.
    Saturated,
    /// Neither an objective nor a range: fails.
    Unbounded,
    /// Does not apply to this kind of run (see the note): neither passes nor fails.
    NotApplicable,
}

/// Pods of one cluster: created = bound + pending + deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodAccount {
    /// Uids ever seen.
    pub created: u64,
    /// Live and bound at the end.
    pub bound: u64,
    /// Live and unbound at the end.
    pub pending: u64,
    /// Being deleted, gone, or finished.
    pub deleted: u64,
}

/// A distribution of latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Latency {
    /// Number of samples.
    pub count: u64,
    pub ms_p50: f64,
    pub ms_p90: f64,
    pub ms_p99: f64,
    pub ms_max: f64,
}

/// Machines of one Need at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Packing {
    /// Cluster.
    pub cluster: String,
    /// Archetype.
    pub archetype: String,
    /// Live Nodes.
    pub nodes: u64,
    /// Most machines that were asked for at one moment, including those on their way.
    pub nodes_asked_max: u64,
    /// Machines that the plan predicts when quiet, with each Need rounded up on its own. The fewest, if `planned_most`
    /// is present.
    pub planned: u64,
    /// Most machines that the plan predicts, if the profile says that its counts are not exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_most: Option<u64>,
    /// Fewest machines that can hold the declared Pods.
    pub lower_bound: u64,
    /// Pods that one machine holds.
    pub density: u64,
    /// Number of Nodes by the number of Pods on them.
    pub pods_per_node: BTreeMap<u64, u64>,
    /// Share of the Nodes' allocatable that Pods take, by resource, 0..=1.
    pub utilisation: BTreeMap<String, f64>,
    /// Largest share of one Node's allocatable that Pods took at any moment, by resource; above 1 means that
    /// a Node was overcommitted.
    pub node_utilisation_max: BTreeMap<String, f64>,
}

impl Packing {
    /// Returns by how many machines the Need is below or above the plan.
    pub fn off_plan(&self) -> u64 {
        let most = self.planned_most.unwrap_or(self.planned);
        self.planned.saturating_sub(self.nodes) + self.nodes.saturating_sub(most)
    }

    /// Returns the planned machines as people read them.
    pub fn planned_text(&self) -> String {
        let most = self.planned_most.filter(|most| *most != self.planned);
        most.map_or_else(|| self.planned.to_string(), |most| format!("{}–{most}", self.planned))
    }
}

/// CPU use from the start of the fill to the end of the soak.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuAccount {
    /// CPU seconds of all processes of the run.
    pub total_s: f64,
    /// Share of it by component, 0..=1.
    pub share: BTreeMap<String, f64>,
    /// Busiest component by phase.
    pub bottleneck: BTreeMap<Phase, String>,
    /// Share of the harness's and the fleet's processes together, 0..=1.
    pub harness_and_fleet_share: f64,
    /// CPU of the fill by component, milliseconds per Pod that was bound; absent in older summaries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fill_ms_per_pod: BTreeMap<String, f64>,
}

/// Memory of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryAccount {
    /// Largest sum over all processes at one moment.
    pub peak: u64,
    /// Largest sum by component.
    pub by_component: BTreeMap<String, u64>,
}

/// A Pod that waited for longer than a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StuckPod {
    /// Cluster.
    pub cluster: String,
    /// Pod.
    pub pod: String,
    /// Seconds it was unbound.
    pub unbound_s: u64,
    /// Whether it was bound in the end.
    pub bound: bool,
    /// The scheduler's last message.
    pub reason: String,
}
