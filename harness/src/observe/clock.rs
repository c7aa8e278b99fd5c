//! The only clock of a run.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since the start of the run, and the wall clock at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall_start_us: u64,
}

impl Clock {
    /// Starts the clock now.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall_start_us: unix_us() }
    }

    /// Returns the microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.at_us(Instant::now())
    }

    /// Returns the microseconds from the start to `instant`; 0 if it was before.
    pub fn at_us(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// Returns the wall clock at the start, in microseconds since 1970.
    pub fn wall_start_us(&self) -> u64 {
        self.wall_start_us
    }

    /// Returns how far the wall clock ran ahead of the monotonic clock since the start, in milliseconds.
    pub fn wall_skew_ms(&self) -> i64 {
        let wall = i128::from(unix_us()) - i128::from(self.wall_start_us);
        i64::try_from((wall - i128::from(self.now_us())) / 1000).unwrap_or(i64::MAX)
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
