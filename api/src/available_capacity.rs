//! AvailableCapacity: a hint about what the fleet could still give. Nothing here depends on it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Capacity that could be had for one profile.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bigfleet.lucy.sh",
    version = "v1alpha1",
    kind = "AvailableCapacity",
    plural = "availablecapacities",
    shortname = "avc",
    category = "fleet",
    status = "AvailableCapacityStatus",
    printcolumn(name = "Availability", type_ = "string", json_path = ".spec.availability"),
    printcolumn(name = "Available", type_ = "integer", json_path = ".spec.availableCount"),
    printcolumn(name = "Cost", type_ = "string", json_path = ".spec.cost")
)]
#[serde(rename_all = "camelCase")]
pub struct AvailableCapacitySpec {
    /// The profile's node constraints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<NodeSelectorRequirement>,
    /// One machine's resources.
    pub resources: BTreeMap<String, Quantity>,
    /// How many machines.
    #[x_kube(validation = "self >= 0")]
    pub available_count: i32,
    /// How sure the shard is.
    pub availability: Availability,
    /// Dollars per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Quantity>,
}

/// Always empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AvailableCapacityStatus {}

/// How sure the shard is that capacity can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Availability {
    None,
    Low,
    Medium,
    High,
}
