//! What a run is and what it leaves: the profile and its plan, the run directory, the metrics that are read, the summary.
//!
//! The bottom floor of the harness. No program is started here, and no cluster is asked.

pub mod components;
pub mod families;
pub mod plan;
pub mod profile;
pub mod prometheus;
pub mod provider;
pub mod record;
pub mod scheduler_config;
pub mod summary;
