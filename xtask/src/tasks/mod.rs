//! The tasks, one file each.

pub mod tools;
