//! What is counted in each cycle.

use fleet_engine::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counters of one cycle. Actions are those decided; the rest is as it stands at the cycle's end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Counters {
    /// From 1.
    pub cycle: u32,
    pub bootstraps: u32,
    pub provisions: u32,
    pub reclaims: u32,
    pub preempts: u32,
    pub deletes: u32,
    /// Machines in state Configured.
    pub configured: u32,
    /// Pods on a machine.
    pub bound: u64,
    /// Pods that wait for one.
    pub pending: u64,
    /// `bound + pending`.
    pub live: u64,
    /// Pods that the roll-ups of this cycle asked for.
    pub requested: u64,
    /// Pods that lost their machine.
    pub evicted: u64,
    /// Pods that were not replaced.
    pub lost: u64,
    /// Needs left short.
    pub shortfalls: u32,
    /// Reclaims whose machine would do for a Need of its own cluster that is short; 0 when all is well.
    pub reclaims_of_needed: u32,
    /// Reclaims that the cap held back.
    pub reclaims_capped: u32,
    /// Roll-ups that the guard held back.
    pub rollups_held: u32,
    /// Operations that the provider failed.
    pub failures: u32,
    /// Machines that the provider lost so far.
    pub removed: u32,
    /// Pods still on machines that the shard holds free already.
    pub stray_pods: u64,
    /// Actions that the machine's state does not allow.
    pub illegal_actions: u32,
    /// Machines by state, in the order of `State::ALL`.
    pub states: [u32; State::ALL.len()],
}

/// A state's place in what is counted by state.
pub(crate) fn state_idx(state: State) -> usize {
    State::ALL.iter().position(|&s| s == state).expect("ALL must list every state")
}

impl Counters {
    /// All actions.
    pub fn churn(&self) -> u32 {
        self.bootstraps + self.provisions + self.reclaims + self.preempts + self.deletes
    }

    /// One metric's value.
    pub fn get(&self, metric: Metric) -> f64 {
        let of_state = |state: State| f64::from(self.states[state_idx(state)]);
        match metric {
            Metric::Churn => f64::from(self.churn()),
            Metric::Bootstraps => f64::from(self.bootstraps),
            Metric::Provisions => f64::from(self.provisions),
            Metric::Reclaims => f64::from(self.reclaims),
            Metric::Preempts => f64::from(self.preempts),
            Metric::Deletes => f64::from(self.deletes),
            Metric::Configured => f64::from(self.configured),
            Metric::Idle => of_state(State::Idle),
            Metric::Failed => of_state(State::Failed),
            Metric::Bound => self.bound as f64,
            Metric::Pending => self.pending as f64,
            Metric::Live => self.live as f64,
            Metric::BoundRatio => {
                if self.live == 0 {
                    1.0
                } else {
                    self.bound as f64 / self.live as f64
                }
            }
            Metric::Requested => self.requested as f64,
            Metric::Evicted => self.evicted as f64,
            Metric::Lost => self.lost as f64,
            Metric::Shortfalls => f64::from(self.shortfalls),
            Metric::ReclaimsOfNeeded => f64::from(self.reclaims_of_needed),
            Metric::ReclaimsCapped => f64::from(self.reclaims_capped),
            Metric::RollupsHeld => f64::from(self.rollups_held),
            Metric::Failures => f64::from(self.failures),
            Metric::Removed => f64::from(self.removed),
            Metric::StrayPods => self.stray_pods as f64,
            Metric::IllegalActions => f64::from(self.illegal_actions),
        }
    }
}

/// What an expectation can be about. `churn` is the sum of all actions, `boundRatio` is `bound / live`; the others
/// are the counters of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum Metric {
    Churn,
    Bootstraps,
    Provisions,
    Reclaims,
    Preempts,
    Deletes,
    Configured,
    Idle,
    Failed,
    Bound,
    Pending,
    Live,
    BoundRatio,
    Requested,
    Evicted,
    Lost,
    Shortfalls,
    ReclaimsOfNeeded,
    ReclaimsCapped,
    RollupsHeld,
    Failures,
    Removed,
    StrayPods,
    IllegalActions,
}
