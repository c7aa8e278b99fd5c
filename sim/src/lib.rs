//! The closed loop in virtual time: the very engine that the shard runs (`fleet_engine`), and around it a simple
//! model of Pods, controllers, packing, eviction and a provider, which counts where it can.
//!
//! Pure: no clock, no I/O and no randomness but the scenario's seed, so two runs give identical bytes. What takes
//! minutes on control planes takes milliseconds here, at any size. A fleet is stated exactly in a scenario file
//! (`fixtures/sim/*.yaml`), or derived from a profile's plan.

pub mod beside;
pub mod counters;
pub mod expect;
pub mod from_plan;
pub mod model;
pub mod plot;
pub mod report;
pub mod scenario;
pub mod setup;

pub use crate::model::Simulation;
pub use crate::report::{Report, run};
pub use crate::setup::Setup;
