//! Catalogs: the kinds of workload ("archetypes") that a profile draws from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span::Span;

/// A set of archetypes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Catalog {
    /// Same as the file name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Zones of the fleet.
    pub zones: Vec<String>,
    /// Racks in each zone, named `<zone>-rack-<n>`.
    pub racks_per_zone: u32,
    /// Smallest distance, in machines, between every Need and a whole number of machines. The engine has no hysteresis:
    /// a Need at the edge gains and loses a machine with every Pod. 0 turns the check off.
    #[serde(default)]
    pub ceiling_margin: f64,
    /// Archetypes by name.
    pub archetypes: BTreeMap<String, Archetype>,
}

/// One kind of workload, and the machines built for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archetype {
    /// Deployment or StatefulSet (ADR-0038's table).
    pub kind: Kind,
    /// Share of workload objects, used when the profile gives no Pods per archetype.
    #[serde(default)]
    pub weight: f64,
    /// Requests of one Pod. If there are several sizes, one is drawn by weight for each object.
    pub sizes: Vec<Size>,
    /// Values of `node.kubernetes.io/instance-type` that its Pods accept.
    pub instance_types: Vec<String>,
    /// Pods per machine, whatever the profile's density.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_per_node: Option<u32>,
    /// Value of the Pods' PriorityClass `e2e-<priority>`.
    pub priority: i32,
    /// `schedulerName` of its Pods; absent: Kubernetes' default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Penalty for interrupting a Pod, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruption_penalty: Option<String>,
    /// Penalty tied to the machine that a Pod is on, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclamation_penalty: Option<String>,
    /// Pods that must share a rack or a zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<Gang>,
    /// Zone spreading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Mean lifetime of a Pod, after which it is deleted and its controller replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span>,
}

impl Archetype {
    /// Returns how many Pods of this archetype one of its machines holds (upstream's PodsPerMachine).
    pub fn pods_per_machine(&self, density: u32) -> u32 {
        let extended = || self.sizes.iter().any(|s| s.requests.keys().any(|k| !is_core(k)));
        match self.pods_per_node {
            Some(n) => n,
            None if extended() => 1,
            None => density,
        }
    }
}

/// Whether density multiplies this resource.
pub fn is_core(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory" | "ephemeral-storage")
}

/// Which controller owns the Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Kind {
    Deployment,
    StatefulSet,
}

impl Kind {
    /// Returns the value of `kind:` in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// One size of Pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Size {
    /// Share of objects of this size.
    #[serde(default = "one")]
    pub weight: u32,
    /// Resource name to Quantity (whole numbers with an optional suffix).
    pub requests: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

/// Pods that must share a topology domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gang {
    /// What the Pods share.
    pub scope: GangScope,
    /// Smallest gang, in Pods.
    pub min: u32,
    /// Largest gang, in Pods.
    pub max: u32,
}

/// What a gang shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum GangScope {
    SameRack,
    SameZone,
}

impl GangScope {
    /// Returns the Node label whose value the gang shares.
    pub fn topology_key(self) -> &'static str {
        match self {
            Self::SameRack => api::names::RACK,
            Self::SameZone => api::names::ZONE,
        }
    }
}

/// Zone spreading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// Share of objects that carry the constraint, 0..=1.
    pub probability: f64,
    /// As in Pod topology spread constraints.
    pub max_skew: i32,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    pub when_unsatisfiable: WhenUnsatisfiable,
}

/// What happens when a spread constraint cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum WhenUnsatisfiable {
    DoNotSchedule,
    ScheduleAnyway,
}

impl WhenUnsatisfiable {
    /// Returns the value used in a Pod's spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DoNotSchedule => "DoNotSchedule",
            Self::ScheduleAnyway => "ScheduleAnyway",
        }
    }
}
