//! The programs that make the load and the Nodes of a run.

pub mod load_driver;
pub mod node_creator;
pub mod pod_shim;
