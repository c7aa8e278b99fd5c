//! What is known of a run at one moment: what the dashboard draws and `--json` streams.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::view::left::Range;
use harness_model::record::Phase;

/// A run at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// The run.
    pub run_id: String,
    /// Seconds since its start.
    pub elapsed_s: f64,
    /// What is left of it, the last seconds of collecting and releasing aside; null where that cannot be told.
    pub left: Option<Range>,
    /// Whether it was interrupted and winds down.
    pub interrupted: bool,
    /// The present phase.
    pub phase: Phase,
    /// Seconds since it began.
    pub phase_s: f64,
    /// What is left of it; null where that cannot be told.
    pub phase_left: Option<Range>,
    /// All phases, in order.
    pub phases: Vec<PhaseView>,
    /// What is to be said about the present phase, if anything.
    pub note: String,
    /// The clusters, in the plan's order.
    pub clusters: Vec<ClusterView>,
    /// How fast things go.
    pub rates: Rates,
    /// What can be told by now of what the run will be judged by.
    pub so_far: Vec<Check>,
    /// Who uses the machine; null before the first two samples.
    pub load: Option<Load>,
}

/// A phase of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseView {
    /// Which.
    pub phase: Phase,
    /// Whether it is over.
    pub state: PhaseState,
    /// Seconds that it took, once it is over.
    pub took_s: Option<f64>,
    /// How long the profile lets it take; null for those that take as long as they take.
    pub planned: Option<Range>,
}

/// Whether a phase is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseState {
    /// It is over.
    Done,
    /// It is under way.
    Present,
    /// It is to come.
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
    /// Replicas that load-driver has declared, as of its last scrape; null where nobody declares any.
    pub declared: Option<u64>,
    /// Pods ever created.
    pub created: u64,
    /// Live Pods.
    pub live: u64,
    /// Live Pods with a Node.
    pub bound: u64,
    /// Live Pods that run.
    pub running: u64,
    /// Pods bound per second, over the last ten.
    pub binds_per_s: Option<f64>,
}

/// How fast things go. What is not known is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Pods bound per second, in all clusters, over the last ten seconds.
    pub binds_per_s: Option<f64>,
    /// Times that a Pod was marked unschedulable per Pod bound, since the start.
    pub marks_per_pod: Option<f64>,
    /// Failed attempts per Pod bound by kube-scheduler's own count, as of the last boundary of a phase.
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
    /// Those that the plan foresees when quiet.
    pub planned: u64,
}

/// Something that the run will be judged by, as it stands. The judge measures it more closely, and more than this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The gate or the validity rule.
    pub name: String,
    /// Its value by now.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// What it must not exceed; null where it is not judged in the present phase.
    pub limit: Option<f64>,
    /// Whether it keeps that limit.
    pub ok: bool,
}

impl Check {
    /// A value with its limit.
    pub fn new(name: &str, value: f64, unit: &str, limit: Option<f64>) -> Self {
        let ok = limit.is_none_or(|limit| value <= limit);
        Self { name: name.to_owned(), value, unit: unit.to_owned(), limit, ok }
    }
}

/// Who used the machine over the last fifteen seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// The components that used most, the first of them being the bottleneck if anybody is.
    pub busiest: Vec<Busy>,
    /// Share of the host's CPU that was used by anybody, 0..=1.
    pub host_busy: f64,
    /// Resident memory of all processes of the run.
    pub memory_mib: u64,
    /// Memory of the host that can still be had.
    pub available_mib: u64,
}

/// A component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Busy {
    /// Its name.
    pub component: String,
    /// Share of the CPU time that the run's processes used, 0..=1.
    pub share: f64,
}
