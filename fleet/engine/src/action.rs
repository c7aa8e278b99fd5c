//! What the engine decides to do, and what it found.

use crate::machine::{Assignment, MachineId};
use crate::need::{NeedKey, Requirement};
use crate::resources::Resources;

/// Kinds of action, named as upstream's metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Idle to a cluster.
    Bootstrap,
    /// Speculative to a cluster: create, then bootstrap.
    Provision,
    /// Configured back to Idle, because nobody needs it.
    Reclaim,
    /// Configured back to Idle, because somebody needs it more.
    Preempt,
    /// Idle back to the provider.
    Delete,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Bootstrap, Self::Provision, Self::Reclaim, Self::Preempt, Self::Delete];

    /// Metric label and audit value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "Bootstrap",
            Self::Provision => "Provision",
            Self::Reclaim => "Reclaim",
            Self::Preempt => "Preempt",
            Self::Delete => "Delete",
        }
    }
}

/// One decision about one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// What to do.
    pub kind: Kind,
    /// With which machine.
    pub machine: MachineId,
    /// The cluster that gains or loses it; empty for Delete.
    pub cluster: String,
    /// What the machine is taken for: Bootstrap and Provision only.
    pub assignment: Option<Assignment>,
    /// The Need's requirements, for the bootstrap blob.
    pub requirements: Vec<Requirement>,
    /// Why, e.g. `phase3.excess`.
    pub reason: &'static str,
    /// Time for the drain, in seconds: Reclaim and Preempt only.
    pub grace_s: u32,
    /// Priority of the Need that a Preempt serves, else 0.
    pub preemptor_priority: i32,
}

/// Why a Need stays short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnmetReason {
    /// Machines that would do serve others of at least the same priority.
    PriorityStarved,
    /// No machine that would do exists.
    NoMatchingSupply,
    /// Machines exist, but not where `Same` or the spread wants them.
    TopologyUnsatisfiable,
    /// Everything that may be preempted is being preempted.
    PreemptionExhausted,
}

impl UnmetReason {
    /// Upstream's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::PriorityStarved => "PRIORITY_STARVED",
            Self::NoMatchingSupply => "NO_MATCHING_SUPPLY",
            Self::TopologyUnsatisfiable => "TOPOLOGY_UNSATISFIABLE",
            Self::PreemptionExhausted => "PREEMPTION_EXHAUSTED",
        }
    }
}

/// How one Need stands after a step.
#[derive(Clone, Debug)]
pub struct NeedReport {
    /// Which Need; for folded gangs the plain Need they became.
    pub key: NeedKey,
    /// Priority.
    pub priority: i32,
    /// Interruption penalty bucket.
    pub interruption_bucket: i32,
    /// What it asks for.
    pub aggregate: Resources,
    /// What is uncovered even with the machines acquired in this step.
    pub residual: Resources,
    /// Machines claimed for it, acquired ones included.
    pub machines: Vec<MachineId>,
    /// Set when the residual is not zero.
    pub unmet: Option<UnmetReason>,
    /// Whether acquisition rests (a gang without hope).
    pub parked: bool,
    /// For how many steps in a row it has been short, this one included.
    pub unmet_cycles: u64,
}

/// Result of one step.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// What to do, after the rails, in the order to do it.
    pub actions: Vec<Action>,
    /// Every Need, in the order served.
    pub needs: Vec<NeedReport>,
    /// Reclaims that the cap held back.
    pub reclaims_capped: usize,
}

impl Decisions {
    /// Needs that stay short.
    pub fn shortfalls(&self) -> impl Iterator<Item = &NeedReport> {
        self.needs.iter().filter(|n| n.unmet.is_some())
    }
}
