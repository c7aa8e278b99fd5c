//! What a program finds where it is started, and how it behaves there: the shell's pipes and ignored signals, the
//! memory and CPU that its control group leaves it.
//!
//! Depends on nothing, because everything here depends on it, `xtask` included.

pub mod cgroup;
pub mod memory;
pub mod output;
pub mod signals;
