//! UpcomingNode: a machine on its way to being a Node of this cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ObjectReference, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Node that will appear. Named `un-<machine id>`; cluster-scoped.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bigfleet.lucy.sh",
    version = "v1alpha1",
    kind = "UpcomingNode",
    plural = "upcomingnodes",
    shortname = "upn",
    category = "fleet",
    status = "UpcomingNodeStatus",
    selectable = ".status.phase",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct UpcomingNodeSpec {
    /// Labels the Node will carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The machine's allocatable (the whole machine, not one Pod).
    pub resources: BTreeMap<String, Quantity>,
    /// Taints the Node will carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

/// Where the machine is in its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpcomingNodeStatus {
    /// Life phase, mapped from the machine's state by the operator.
    pub phase: UpcomingNodePhase,
    /// The Node, once the operator knows its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ref: Option<ObjectReference>,
    /// The provider's host reference.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// First time the operator wrote status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_start_time: Option<Time>,
    /// Why the machine failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Phases of an UpcomingNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UpcomingNodePhase {
    /// Speculative or being created.
    Provisioning,
    /// Exists at the provider.
    Launched,
    /// Being configured for this cluster.
    Registered,
    /// Configured: a Node may exist.
    Ready,
    /// Its Pods are being evicted.
    Draining,
    /// Empty; the object is about to be deleted.
    Drained,
    /// Gave up; `lastError` says why.
    Failed,
}
