//! The seed inventory of the fake provider: what a plan writes and a shard reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All machines a shard starts with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Inventory {
    /// Machines, in ID order of their seeding.
    pub machines: Vec<SeedMachine>,
}

/// One machine of the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedMachine {
    /// Stable for life; valid as a Node name (`idle-12`, `spec-3`, `conf-c1-i7`).
    pub id: String,
    /// Idle, Speculative or Configured.
    pub state: SeedState,
    /// Cluster a Configured machine serves; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Value of `node.kubernetes.io/instance-type`.
    pub instance_type: String,
    /// Value of `topology.kubernetes.io/zone`.
    pub zone: String,
    /// Further Node labels (rack, archetype).
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Allocatable, density already applied (ADR-0022): resource name to Quantity.
    pub allocatable: BTreeMap<String, String>,
    /// Who may take the machine away, and when it is released.
    pub capacity_type: CapacityType,
    /// Dollars per hour.
    #[serde(default)]
    pub price_per_hour: f64,
    /// 0..=1.
    #[serde(default)]
    pub interruption_probability: f64,
    /// Priority of the demand a Configured seed was assigned to.
    #[serde(default)]
    pub assigned_priority: i32,
}

/// States a machine can be seeded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeedState {
    /// Paid for, bound to no cluster.
    Idle,
    /// A quota slot.
    Speculative,
    /// Serving a cluster from the start.
    Configured,
}

/// How a machine is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum CapacityType {
    BareMetal,
    Reserved,
    OnDemand,
    Spot,
}
