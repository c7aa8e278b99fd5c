//! What a run consists of and what it leaves behind: the profile and its plan, the run directory, the metrics that are
//! read, the summary.
//!
//! The lowest layer of the harness. It starts no programs and contacts no clusters.

pub mod components;
pub mod families;
pub mod plan;
pub mod profile;
pub mod prometheus;
pub mod provider;
pub mod record;
pub mod scheduler_config;
pub mod summary;
