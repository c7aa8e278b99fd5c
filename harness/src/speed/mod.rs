//! How fast the host was during a run, and what its figures are at reference speed (`docs/host-speed.md`).
//!
//! [`Meter`] does slices of the work of the crate `host-speed` while a run goes on; [`account`] makes the index of them,
//! and [`normalise`] the figures. All but the meter is pure.

mod account;
mod meter;
mod normalise;
#[cfg(test)]
mod tests;

pub use self::account::{CHANGE_MAX, account, told};
pub use self::meter::Meter;
pub use self::normalise::{NORMALISED, at_this_speed, normalise, note_gates};
