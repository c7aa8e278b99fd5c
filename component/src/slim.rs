//! Pods with only the fields that autoscaling looks at.
//!
//! A watch of tens of thousands of Pods is mostly parsing; what is not declared here is skipped by the
//! parser instead of being built and dropped.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

/// A core/v1 Pod, cut down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pod {
    /// Object metadata.
    pub metadata: ObjectMeta,
    /// The part of the spec that scheduling reads.
    #[serde(default)]
    pub spec: PodSpec,
    /// Phase and the PodScheduled and Ready conditions.
    #[serde(default)]
    pub status: PodStatus,
}

/// The part of a Pod's spec that scheduling reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Set once bound.
    pub node_name: Option<String>,
    /// Priority value, after admission.
    pub priority: Option<i32>,
    /// Name of the PriorityClass.
    pub priority_class_name: Option<String>,
    /// Plain label match.
    pub node_selector: BTreeMap<String, String>,
    /// Node and Pod affinity.
    pub affinity: Option<Affinity>,
    /// Tolerated taints.
    pub tolerations: Vec<Toleration>,
    /// Spread terms.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Main containers.
    pub containers: Vec<Container>,
    /// Init containers; those with `restartPolicy: Always` are sidecars.
    pub init_containers: Vec<Container>,
    /// Pod overhead.
    pub overhead: BTreeMap<String, Quantity>,
}

/// A container's resource requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<String>,
    /// Requests and limits.
    pub resources: Resources,
}

/// Requests only.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Resource name to amount.
    pub requests: BTreeMap<String, Quantity>,
}

/// Phase and conditions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed.
    pub phase: Option<String>,
    /// All conditions.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `PodScheduled`, `Ready`, ...
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// E.g. `Unschedulable`.
    pub reason: Option<String>,
    /// The scheduler's reason in words.
    pub message: Option<String>,
}

impl Pod {
    /// Whether the scheduler said that no Node fits.
    pub fn is_unschedulable(&self) -> bool {
        self.condition("PodScheduled")
            .is_some_and(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"))
    }

    /// Whether the Pod is Running and Ready.
    pub fn is_ready(&self) -> bool {
        self.status.phase.as_deref() == Some("Running")
            && self.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// Live (ADR-0038): not being deleted and not in a terminal phase.
    pub fn is_live(&self) -> bool {
        self.metadata.deletion_timestamp.is_none() && !self.is_terminal()
    }

    /// Whether the phase is Succeeded or Failed.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// The condition of that type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.type_ == type_)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
