//! Control planes: how they are made, and the supervisor that owns their processes.

pub mod cluster;
pub mod supervisor;
