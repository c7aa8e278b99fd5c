//! CapacityRequest: one Pod's wish for capacity (ADR-0039: one per live Pod).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one Pod needs of a machine.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bigfleet.lucy.sh",
    version = "v1alpha1",
    kind = "CapacityRequest",
    plural = "capacityrequests",
    shortname = "cr",
    shortname = "crs",
    category = "fleet",
    namespaced,
    status = "CapacityRequestStatus",
    selectable = ".status.phase",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CapacityRequestSpec {
    /// Node constraints. The operator takes In, NotIn, Exists and DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<NodeSelectorRequirement>,
    /// One Pod's request by resource name. The sum over requests is the demand, the maximum the
    /// indivisible unit.
    #[x_kube(validation = "self.size() > 0")]
    pub resources: BTreeMap<String, Quantity>,
    /// The Pod's priority value; higher is served first.
    pub priority: i32,
    /// DoNotSchedule spread terms, copied from the Pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread: Vec<TopologySpread>,
    /// Projection of the Pod's first required podAffinity term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub co_location: Option<CoLocation>,
    /// Dollars for interrupting the workload once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruption_penalty: Option<Quantity>,
    /// Dollars tied to this particular machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclamation_penalty: Option<Quantity>,
}

/// One spread term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpread {
    /// Largest difference in count between two domains.
    pub max_skew: i32,
    /// Node label whose values are the domains.
    pub topology_key: String,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    pub when_unsatisfiable: String,
}

/// Pods that must share one domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoLocation {
    /// Node label whose value the group shares.
    pub topology_key: String,
    /// The group's Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
}

/// How far a request has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityRequestStatus {
    /// One-way: Pending, then Acknowledged once a roll-up that carries the request was queued.
    pub phase: CapacityRequestPhase,
    /// When the phase became Acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Time>,
}

/// Phases of a CapacityRequest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CapacityRequestPhase {
    /// Written, not yet part of a roll-up.
    Pending,
    /// Part of a queued roll-up; says nothing about capacity.
    Acknowledged,
}
