//! The tasks, one file each.

pub mod bench;
pub mod ci;
pub mod dockerd;
pub mod doctor;
pub mod e2e;
pub mod forward;
pub mod mutants;
pub mod node_image;
pub mod open;
pub mod provider;
pub mod suite_env;
pub mod tools;
