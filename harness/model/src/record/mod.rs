//! The run directory: everything that a run leaves behind, and everything that a judge reads.
//!
//! Times are microseconds since the start of the run on the scenario's monotonic clock (`*_us`), stamped when the
//! observation reached us. API timestamps have a resolution of one second and are never used for latencies.

pub mod dir;
pub mod event;
pub mod lines;
pub mod load_failure;
pub mod objects;
pub mod sample;
pub mod tally;

pub use crate::record::dir::RunDir;
pub use crate::record::event::{Event, Phase, Stamped, Written};
pub use crate::record::lines::{Error, LineWriter, count_lines, read_lines, read_lines_gz, write_lines_gz};
pub use crate::record::load_failure::LoadFailure;
pub use crate::record::objects::{NodeRecord, PodRecord};
pub use crate::record::sample::{HostSample, ProcessSample, Sample, Scrape, SpeedSlice};
pub use crate::record::tally::{Tallied, Tally};
