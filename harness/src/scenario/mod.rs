//! One run of a profile: provision → start → fill → steady → settle → soak → quiesce → collect → release.
//!
//! The scenario measures and records; it judges nothing (see [`harness_analysis::judge`]).

pub mod account;
pub mod actuation;
pub mod autoscaler;
pub mod collect;
pub mod driver;
pub mod failure;
pub mod fleet;
pub mod gatekeepers;
pub mod held;
pub mod load;
pub mod phases;
pub mod prepare;
pub mod progress;
pub mod quiet;
pub mod recorder;
pub mod run;
pub mod sampling;

pub use crate::scenario::autoscaler::Autoscaler;
pub use crate::scenario::failure::Failure;
pub use crate::scenario::run::{Options, run};
