//! The supervisor: one process that owns every other process of a run, and leaves nothing behind.
//!
//! - Children carry a parent-death signal (`e2e-shim`), so they end with the supervisor, however it ends.
//! - The supervisor holds a pidfd on its owner and ends with it.
//! - The janitor (`e2e-janitor`) holds a pidfd on the supervisor and removes the scratch directory.

pub mod client;
pub mod found;
pub mod human;
pub mod protocol;
pub mod server;
pub mod starter;
pub mod tail;

mod batch;
mod budget;
mod leases;
mod scratch;

pub use client::Client;
pub use harness_processes::Error;
