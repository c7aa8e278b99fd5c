//! Records of each Pod and each Node: the lines of `pods.jsonl.gz` and `nodes.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One Pod (one uid). Times are the first receipt of each fact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodRecord {
    /// Cluster.
    pub cluster: String,
    /// The ledger's key.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Archetype, from its label.
    pub archetype: String,
    /// Workload object, from its label.
    pub workload: String,
    /// Whether it was seen in the first list instead of in an event, so that its creation was missed.
    pub preexisting: bool,
    /// When its first event was received.
    pub created_us: u64,
    /// How far our watch lagged behind `metadata.creationTimestamp` (resolution 1 s), in milliseconds.
    pub watch_lag_ms: i64,
    /// When the scheduler first reported Unschedulable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked_us: Option<u64>,
    /// Number of events that reported Unschedulable with a new message.
    #[serde(skip_serializing_if = "is_zero")]
    pub marks: u32,
    /// The scheduler's last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its CapacityRequest appeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_us: Option<u64>,
    /// When its CapacityRequest was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acked_us: Option<u64>,
    /// When its CapacityRequest was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_gone_us: Option<u64>,
    /// When it was bound to a Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_us: Option<u64>,
    /// The Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it was Running and Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_us: Option<u64>,
    /// When it was Succeeded or Failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_us: Option<u64>,
    /// When its `deletionTimestamp` was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleting_us: Option<u64>,
    /// When the object was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_us: Option<u64>,
    /// resourceVersion of its end, which gives the order in which objects ended, whichever watch reported them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_version: Option<u64>,
}

impl PodRecord {
    /// Returns the microseconds from its creation to its binding; if it was never bound, to its end or to the end of
    /// the run.
    pub fn unbound_us(&self, run_end_us: u64) -> u64 {
        let until = self.bound_us.or(self.deleting_us).or(self.gone_us).unwrap_or(run_end_us);
        until.saturating_sub(self.created_us)
    }

    /// Whether it is live: not being deleted, not gone and not finished (ADR-0038).
    pub fn is_live(&self) -> bool {
        self.deleting_us.is_none() && self.gone_us.is_none() && self.finished_us.is_none()
    }
}

/// One Node together with the UpcomingNode that announced it. A machine that comes back is a new record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRecord {
    /// Cluster.
    pub cluster: String,
    /// Node name (= machine id).
    pub name: String,
    /// Archetype label, if the Node or UpcomingNode carries it.
    pub archetype: String,
    /// Instance type label.
    pub instance_type: String,
    /// Zone label.
    pub zone: String,
    /// Allocatable that the Node came with, Quantity by resource name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: BTreeMap<String, String>,
    /// When the UpcomingNode appeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upcoming_us: Option<u64>,
    /// When the UpcomingNode became Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upcoming_ready_us: Option<u64>,
    /// When the UpcomingNode began to drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining_us: Option<u64>,
    /// When the UpcomingNode failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_us: Option<u64>,
    /// The UpcomingNode's last error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the UpcomingNode was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upcoming_gone_us: Option<u64>,
    /// When the Node appeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_us: Option<u64>,
    /// When the Node became Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_us: Option<u64>,
    /// When the Node was cordoned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordoned_us: Option<u64>,
    /// How often the Node left Ready.
    #[serde(skip_serializing_if = "is_zero")]
    pub unready: u32,
    /// When the Node was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_us: Option<u64>,
    /// resourceVersion of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_version: Option<u64>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
