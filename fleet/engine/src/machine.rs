//! Machines: states, legal changes of state, and the record the engine decides on.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::inventory::CapacityType;

use crate::looks::Look;
use crate::resources::Resources;

/// A machine's id, stable for life; also its Node's name.
pub type MachineId = Arc<str>;

/// Life states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A quota slot: no host yet.
    Speculative,
    /// Being created at the provider.
    Creating,
    /// Exists and is free.
    Idle,
    /// Being configured for a cluster.
    Configuring,
    /// Serves a cluster.
    Configured,
    /// Its workloads are leaving.
    Draining,
    /// Being handed back to the provider.
    Deleting,
    /// Dead end.
    Failed,
}

impl State {
    /// All states, in life order.
    pub const ALL: [Self; 8] = [
        Self::Speculative,
        Self::Creating,
        Self::Idle,
        Self::Configuring,
        Self::Configured,
        Self::Draining,
        Self::Deleting,
        Self::Failed,
    ];

    /// Whether a machine may change from `self` to `next`.
    pub fn may_become(self, next: Self) -> bool {
        use State::{Configured, Configuring, Creating, Deleting, Draining, Failed, Idle, Speculative};
        matches!(
            (self, next),
            (Speculative, Creating)
                | (Creating, Idle | Failed)
                | (Idle, Configuring | Deleting)
                // Idle: rolled back when nothing had reached the provider.
                | (Configuring, Configured | Failed | Idle)
                | (Configured, Draining)
                | (Draining, Idle | Failed)
                | (Deleting, Speculative | Failed)
        )
    }

    /// Upstream's name, as in metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Speculative => "Speculative",
            Self::Creating => "Creating",
            Self::Idle => "Idle",
            Self::Configuring => "Configuring",
            Self::Configured => "Configured",
            Self::Draining => "Draining",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
        }
    }
}

/// What a machine was taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The cluster it is for.
    pub cluster: String,
    /// Fingerprint of the Need.
    pub fingerprint: String,
    /// Group of the Need; empty for plain ones.
    pub group: String,
    /// Priority of the Need.
    pub priority: i32,
    /// Penalty bucket for interrupting it.
    pub interruption_bucket: i32,
    /// Penalty bucket for taking this machine away.
    pub reclamation_bucket: i32,
}

/// One machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Stable id.
    pub id: MachineId,
    /// Life state.
    pub state: State,
    /// Cluster it is bound to: from Configuring until Idle again. Kept on Failed, to tell whom it failed.
    pub cluster: Option<String>,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Allocatable.
    pub allocatable: Resources,
    /// How it is paid for.
    pub capacity_type: CapacityType,
    /// Dollars per hour; finite and not negative.
    pub price_per_hour: f64,
    /// 0..=1.
    pub interruption_probability: f64,
    /// What it was taken for: from Creating on.
    pub assigned: Option<Assignment>,
    /// When it became Idle, in seconds on the caller's clock.
    pub idle_since_s: u64,
    /// Why it failed.
    pub last_error: String,
    /// What it has in common with others.
    pub(crate) look: Look,
}

impl Machine {
    /// The value of a Node label, including the two that the shard adds.
    pub fn label(&self, key: &str) -> Option<&str> {
        match key {
            api::names::INSTANCE_TYPE => Some(&self.instance_type),
            api::names::ZONE => Some(&self.zone),
            _ => self.labels.get(key).map(String::as_str),
        }
    }

    /// Penalty bucket for taking it away, 0 when it serves nobody.
    pub fn reclamation_bucket(&self) -> i32 {
        self.assigned.as_ref().map_or(0, |a| a.reclamation_bucket)
    }

    /// Penalty bucket for interrupting what it serves, 0 when it serves nobody.
    pub fn interruption_bucket(&self) -> i32 {
        self.assigned.as_ref().map_or(0, |a| a.interruption_bucket)
    }
}
