//! The contract that the harness and the system under test share: custom resources, the operator-shard
//! session, label, annotation and metric names. Other implementations speak the same.
// One `printcolumn` or `shortname` per column or name is how kube's derive takes them.
#![allow(clippy::duplicated_attributes)]

pub mod capacity_request;
pub mod names;
pub mod upcoming_node;

pub mod actuation;
pub mod available_capacity;
pub mod crds;
pub mod inventory;
pub mod penalty;
pub mod quantity;
/// The session's messages and service, generated from `proto/bigfleet.proto`.
#[allow(missing_docs, clippy::all)]
pub mod session {
    tonic::include_proto!("bigfleet.v1alpha1");

    impl From<std::collections::BTreeMap<String, String>> for Resources {
        fn from(resources: std::collections::BTreeMap<String, String>) -> Self {
            Self { resources }
        }
    }

    impl NodeStateUpdate {
        /// Amounts by resource name; none when the frame does not say.
        pub fn amounts(&self) -> impl Iterator<Item = (&String, &String)> {
            self.resources.iter().flat_map(|r| &r.resources)
        }
    }
}

pub use crate::available_capacity::AvailableCapacity;
pub use crate::capacity_request::CapacityRequest;
pub use crate::upcoming_node::UpcomingNode;
