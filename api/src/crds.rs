//! The three CustomResourceDefinitions, generated from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// All CRDs in the order they are applied, named after their plural.
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("capacityrequests", crate::CapacityRequest::crd()),
        ("upcomingnodes", crate::UpcomingNode::crd()),
        ("availablecapacities", crate::AvailableCapacity::crd()),
    ]
}
