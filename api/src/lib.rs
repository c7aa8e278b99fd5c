//! The contract that the harness and the system under test share: custom resources, the operator-shard
//! session, label, annotation and metric names. Other implementations speak the same.
// One `printcolumn` or `shortname` per column or name is how kube's derive takes them.
#![allow(clippy::duplicated_attributes)]

pub mod capacity_request;
pub mod names;
pub mod upcoming_node;

pub mod available_capacity;
pub mod crds;
pub mod inventory;
pub mod penalty;
pub mod quantity;
/// The session's messages and service, generated from `proto/bigfleet.proto`.
#[allow(missing_docs, clippy::all)]
pub mod session {
    tonic::include_proto!("bigfleet.v1alpha1");
}

pub use crate::available_capacity::AvailableCapacity;
pub use crate::capacity_request::CapacityRequest;
pub use crate::upcoming_node::UpcomingNode;
