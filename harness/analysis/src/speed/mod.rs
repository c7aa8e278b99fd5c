//! How fast the host was during a run, and what its figures are at reference speed (`docs/host-speed.md`).
//!
//! A run does slices of the work of the crate `host-speed` all the time; [`account`] computes the index from them, and
//! [`normalise`] the figures.

mod account;
mod normalise;
#[cfg(test)]
mod tests;

pub use self::account::{CHANGE_MAX, account, told};
pub use self::normalise::{NORMALISED, at_this_speed, normalise, note_gates};
