//! The smallest autoscaler that keeps the contract of `docs/bring-your-own.md`: three programs, one module each.
//!
//! Pods become CapacityRequests ([`pods`]), requests become the demand of a cluster ([`operator`]), demand takes
//! and gives back machines ([`shard`]), and machines become UpcomingNodes ([`operator`] again). Read in that order.

mod cache;
mod decide;
mod demand;
mod machines;
pub mod operator;
pub mod pods;
mod request;
mod sessions;
pub mod shard;

use std::time::{Duration, SystemTime};

/// Largest frame of the session: a roll-up of many requests outgrows gRPC's own 4 MiB.
const MAX_FRAME_BYTES: usize = 256 << 20;

/// Reads a duration as the harness passes it: whole milliseconds with their unit.
fn millis(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ms").and_then(|number| number.parse().ok());
    number.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is not a duration; write e.g. 1000ms"))
}

/// Now, in unix nanoseconds, as the roll-up log, the audit log and the session have it.
fn unix_nanos() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
