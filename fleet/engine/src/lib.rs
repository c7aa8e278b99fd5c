//! The decision engine: demand and machines in, actions out.
//!
//! Pure: no clock (times are inputs), no I/O, no randomness, and no Pod nor any per-machine count of Pods
//! among its inputs (ADR-0038 rejects sparing machines for their Pods). The shard and the simulator run
//! the same code.

pub mod action;
mod free;
mod gang;
pub mod inventory;
mod looks;
pub mod machine;
pub mod matching;
pub mod need;
mod phase1;
mod phase2;
mod phase3;
mod pool;
pub mod rails;
pub mod resources;
mod spread;
mod step;
#[cfg(test)]
mod tests;

pub use crate::action::{Action, Decisions, Kind, NeedReport, UnmetReason};
pub use crate::inventory::{Change, Inventory};
pub use crate::machine::{Assignment, Machine, MachineId, State};
pub use crate::need::{Need, NeedKey, Profile, Requirement, Spread};
pub use crate::resources::Resources;
pub use crate::step::{Attribution, Inputs, Memory, Phase, Policy, step, step_observed};
