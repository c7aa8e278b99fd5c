//! What is known of a run at one moment: drawn by the dashboard and streamed by `--json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::view::left::Range;
use harness_model::record::Phase;

/// A run at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Id of the run.
    pub run_id: String,
    /// Seconds since its start.
    pub elapsed_s: f64,
    /// Time left, without the last seconds of collecting and releasing; null if unknown.
    pub left: Option<Range>,
    /// Whether it was interrupted and is winding down.
    pub interrupted: bool,
    /// The current phase.
    pub phase: Phase,
    /// Seconds since the phase began.
    pub phase_s: f64,
    /// Time left in the phase; null if unknown.
    pub phase_left: Option<Range>,
    /// All phases, in order.
    pub phases: Vec<PhaseView>,
    /// A note about the current phase; may be empty.
    pub note: String,
    /// The clusters, in the plan's order.
    pub clusters: Vec<ClusterView>,
    /// Current rates.
    pub rates: Rates,
    /// The criteria of the verdict that are known so far.
    pub so_far: Vec<Check>,
    /// Use of the machine; null before the first two samples.
    pub load: Option<Load>,
}

/// A phase of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseView {
    /// The phase.
    pub phase: Phase,
    /// Whether it is over.
    pub state: PhaseState,
    /// Seconds that it took, once it is over.
    pub took_s: Option<f64>,
    /// How long the profile allows it to take; null for phases without a limit.
    pub planned: Option<Range>,
}

/// The state of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseState {
    /// It is over.
    Done,
    /// It is in progress.
    Present,
    /// It has not begun yet.
    Ahead,
    /// The run ends without it.
    Skipped,
}

/// One cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Pods that should run, without the demand wave.
    pub target: u64,
    /// Replicas that load-driver has declared, as of its last scrape; null if none are declared.
    pub declared: Option<u64>,
    /// Pods ever created.
    pub created: u64,
    /// Live Pods.
    pub live: u64,
    /// Live Pods with a Node.
    pub bound: u64,
    /// Live Pods that run.
    pub running: u64,
    /// Pods bound per second, over the last ten seconds.
    pub binds_per_s: Option<f64>,
}

/// Current rates; null if unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Pods bound per second, in all clusters, over the last ten seconds.
    pub binds_per_s: Option<f64>,
    /// How often Pods were marked unschedulable, per Pod bound, since the start.
    pub marks_per_pod: Option<f64>,
    /// Failed attempts per Pod bound, by kube-scheduler's own count, as of the last boundary of a phase.
    pub failed_attempts_per_pod: Option<f64>,
    /// Actions on machines that the shard carried out per second, over the last fifteen seconds.
    pub actions_per_s: Option<f64>,
    /// Machines.
    pub machines: Option<Machines>,
}

/// Machines of all clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machines {
    /// Those that serve.
    pub serving: u64,
    /// Those on their way in or out.
    pub moving: u64,
    /// Those that the plan expects when quiet.
    pub planned: u64,
}

/// A criterion of the verdict, as it stands. The judge measures it more closely, and checks more criteria.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The gate or the validity rule.
    pub name: String,
    /// Its value so far.
    pub value: f64,
    /// The unit of the value.
    pub unit: String,
    /// What it must not exceed; null if it is not judged in the current phase.
    pub limit: Option<f64>,
    /// Whether it is within that limit.
    pub ok: bool,
}

impl Check {
    /// Checks a value against its limit.
    pub fn new(name: &str, value: f64, unit: &str, limit: Option<f64>) -> Self {
        let ok = limit.is_none_or(|limit| value <= limit);
        Self { name: name.to_owned(), value, unit: unit.to_owned(), limit, ok }
    }
}

/// Use of the machine over the last fifteen seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// The components that used the most CPU; the first is the bottleneck, if there is one.
    pub busiest: Vec<Busy>,
    /// Share of the host's CPU that was in use, 0..=1.
    pub host_busy: f64,
    /// Resident memory of all processes of the run.
    pub memory_mib: u64,
    /// Memory of the host that is still available.
    pub available_mib: u64,
}

/// A component and its use of CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Busy {
    /// Its name.
    pub component: String,
    /// Share of the CPU time that the run's processes used, 0..=1.
    pub share: f64,
}
