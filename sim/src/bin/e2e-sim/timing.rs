//! What the wall clock says: measured around the model, never within it.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Wall-clock figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timing {
    pub engine_cycle_ms_first: f64,
    pub engine_cycle_ms_p50: f64,
    pub engine_cycle_ms_p99: f64,
    pub engine_cycle_ms_max: f64,
    /// Reading the scenario, or deriving the fleet from a profile's plan.
    pub load_seconds: f64,
    /// Everything, from the start of the program.
    pub total_seconds: f64,
    /// Of the whole process, deriving the fleet included.
    pub peak_memory_mib: f64,
}

/// Times engine cycles.
pub struct Stopwatch {
    started: Instant,
    load: Duration,
    cycles: Vec<Duration>,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { started: Instant::now(), load: Duration::ZERO, cycles: Vec::new() }
    }

    /// Notes that the fleet is at hand.
    pub fn loaded(&mut self) {
        self.load = self.started.elapsed();
    }

    pub fn time<T>(&mut self, cycle: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = cycle();
        self.cycles.push(started.elapsed());
        result
    }

    pub fn stop(mut self) -> Timing {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        let first = self.cycles.first().copied().map_or(0.0, ms);
        self.cycles.sort();
        // The smallest value that is at least as large as that share of all.
        let share = |percent: usize| {
            let rank = (self.cycles.len() * percent).div_ceil(100).max(1);
            self.cycles.get(rank - 1).copied().map_or(0.0, ms)
        };
        Timing {
            engine_cycle_ms_first: first,
            engine_cycle_ms_p50: share(50),
            engine_cycle_ms_p99: share(99),
            engine_cycle_ms_max: share(100),
            load_seconds: self.load.as_secs_f64(),
            total_seconds: self.started.elapsed().as_secs_f64(),
            peak_memory_mib: peak_memory_mib().unwrap_or(0.0),
        }
    }
}

/// The kernel's high-water mark of this process.
fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "engine cycle p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms (the first {:.2} ms); all {:.2} s, of \
             which {:.2} s to read the fleet; peak memory {:.0} MiB",
            self.engine_cycle_ms_p50,
            self.engine_cycle_ms_p99,
            self.engine_cycle_ms_max,
            self.engine_cycle_ms_first,
            self.total_seconds,
            self.load_seconds,
            self.peak_memory_mib
        )
    }
}
