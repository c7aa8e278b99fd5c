//! The reference fleet: a small, compatible stand-in for the autoscaler under test, so that the whole chain
//! runs on a bare machine. It knows the contract (`api`) and the component runtime, never the harness. What it decides is
//! decided by the crate `fleet-engine`.

pub mod operator;
pub mod pod_requests;
pub mod shard;
