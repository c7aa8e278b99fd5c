//! CapacityRequests with metadata and phase only, because tens of thousands of them are watched.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

/// A CapacityRequest, reduced to what is needed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    /// Object metadata.
    pub metadata: ObjectMeta,
    /// Its phase.
    #[serde(default)]
    pub status: Option<RequestStatus>,
}

/// The phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RequestStatus {
    /// `Pending` or `Acknowledged`.
    #[serde(default)]
    pub phase: Option<String>,
}

impl Request {
    /// Returns the uid of the Pod that it belongs to: from its label, otherwise from its owner.
    pub fn pod_uid(&self) -> Option<&str> {
        let label = self.metadata.labels.as_ref().and_then(|labels| labels.get(api::names::OWNED_BY_POD));
        let owner =
            || self.metadata.owner_references.as_ref()?.iter().find(|o| o.kind == "Pod").map(|o| &o.uid);
        label.or_else(owner).map(String::as_str)
    }

    /// Whether a roll-up has included it.
    pub fn is_acknowledged(&self) -> bool {
        self.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Acknowledged")
    }
}

impl Resource for Request {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "CapacityRequest".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        api::names::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "capacityrequests".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
