//! Judging and showing: verdicts, reports, comparisons, calibration.
//!
//! Reads run directories and summaries, and nothing else: no cluster, no running program.

pub mod calibrate;
pub mod compare;
pub mod judge;
pub mod report;
pub mod results;
pub mod speed;
