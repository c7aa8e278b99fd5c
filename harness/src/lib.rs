//! The harness: provisioning of real control planes, the harness's own components, scenarios, measuring,
//! judging.

pub mod calibrate;
pub mod cluster;
pub mod codegen;
pub mod compare;
pub mod judge;
pub mod load_driver;
pub mod node_creator;
pub mod observe;
pub mod plan;
pub mod pod_shim;
pub mod profile;
pub mod record;
pub mod report;
pub mod results;
pub mod scenario;
pub mod speed;
pub mod summary;
pub mod supervisor;
pub mod up;
pub mod view;
