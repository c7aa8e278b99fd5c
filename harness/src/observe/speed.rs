//! Slices of the host speed work, on a separate thread.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host_speed::{INDEX_VERSION, Work};
use tokio::sync::oneshot;

use crate::observe::Clock;
use harness_model::record::SpeedSlice;

/// Units of work before a run starts: a third of a second on the reference machine.
const QUIET_UNITS: usize = 60;
/// Shortest time between two slices.
const SLICE_EVERY: Duration = Duration::from_secs(1);
/// Largest share of one core that slices may use.
const SHARE_MAX: f64 = 0.005;

/// Measures the host's speed from its start until it is dropped.
pub struct Meter {
    slices: Arc<Mutex<Vec<SpeedSlice>>>,
    quiet: Mutex<Option<oneshot::Receiver<Result<(), String>>>>,
    /// Dropped with the meter, which stops the thread.
    _running: Sender<()>,
}

impl Meter {
    /// Starts the thread: first enough units to determine the speed of a quiet host, then a slice from time to time.
    pub fn start(clock: Clock) -> Self {
        let slices = Arc::new(Mutex::new(Vec::new()));
        let (told, quiet) = oneshot::channel();
        let (running, stopped) = channel();
        let taken = slices.clone();
        let thread = std::thread::Builder::new().name("host-speed".into());
        let started = thread.spawn(move || measure(clock, &taken, told, &stopped));
        if let Err(error) = started {
            // The other end of `told` was dropped with the closure: `quiet` reports it.
            tracing::error!(%error, "no thread for the host's speed");
        }
        Self { slices, quiet: Mutex::new(Some(quiet)), _running: running }
    }

    /// Waits until the quiet host has been measured.
    ///
    /// # Errors
    /// Why the host's speed cannot be measured here.
    pub async fn quiet(&self) -> Result<(), String> {
        let Some(quiet) = self.quiet.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        quiet.await.unwrap_or_else(|_| Err("its thread ended".to_owned()))
    }

    /// Returns the slices since the last call.
    pub fn taken(&self) -> Vec<SpeedSlice> {
        std::mem::take(&mut self.slices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn measure(
    clock: Clock,
    taken: &Mutex<Vec<SpeedSlice>>,
    told: oneshot::Sender<Result<(), String>>,
    stopped: &Receiver<()>,
) {
    let quiet = Work::warmed_up().and_then(|mut work| {
        for _ in 0..QUIET_UNITS {
            slice(clock, &mut work, taken, true)?;
        }
        Ok(work)
    });
    let mut work = match quiet {
        Ok(work) => work,
        Err(error) => return drop(told.send(Err(error.to_string()))),
    };
    let _ = told.send(Ok(()));
    let mut pause = SLICE_EVERY;
    // Nothing is ever sent: the channel is a pause that the end of the run cuts short.
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        match slice(clock, &mut work, taken, false) {
            Ok(cpu) => pause = pause_after(cpu),
            Err(error) => return tracing::error!(%error, "the host's speed is no longer measured"),
        }
    }
}

fn slice(
    clock: Clock,
    work: &mut Work,
    taken: &Mutex<Vec<SpeedSlice>>,
    before_start: bool,
) -> std::io::Result<Duration> {
    let at_us = clock.now_us();
    let (parts, _) = work.unit()?;
    let slice = SpeedSlice { at_us, index_version: INDEX_VERSION, before_start, parts };
    taken.lock().unwrap_or_else(PoisonError::into_inner).push(slice);
    Ok(Duration::from_micros(parts.total_us()))
}

/// Returns the pause after a slice that took this much CPU time: the slower the host, the rarer the slices.
fn pause_after(cpu: Duration) -> Duration {
    SLICE_EVERY.max(cpu.div_f64(SHARE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_take_half_a_percent_of_one_core_at_the_most() {
        for cpu_us in [100, 4_000, 5_000, 20_000, 1_000_000] {
            let cpu = Duration::from_micros(cpu_us);
            let share = cpu.as_secs_f64() / (cpu + pause_after(cpu)).as_secs_f64();
            assert!(share <= SHARE_MAX && SHARE_MAX <= 0.005, "{share} with slices of {cpu_us} us");
        }
        assert_eq!(
            pause_after(Duration::from_millis(1)),
            Duration::from_secs(1),
            "no oftener than each second"
        );
    }

    #[tokio::test]
    async fn a_quiet_host_is_measured_at_once() {
        let meter = Meter::start(Clock::start());
        meter.quiet().await.unwrap();
        let taken = meter.taken();
        assert!(taken.len() >= 60 && taken.iter().all(|slice| slice.before_start), "{}", taken.len());
        assert!(taken.iter().all(|slice| slice.index_version == INDEX_VERSION && slice.parts.total_us() > 0));
        assert!(meter.taken().is_empty(), "each slice is told once");
    }
}
