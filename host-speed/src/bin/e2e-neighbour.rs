//! `e2e-neighbour`: something else that is busy on the host, for the experiment of `docs/host-speed.md`.
//!
//! Runs for as long as it is told and ends with whoever started it. Not part of any run.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};

const USAGE: &str =
    "usage: e2e-neighbour memory|compute THREADS SECONDS (at most 64 threads and 3600 seconds)";
/// What each thread of `memory` streams through, far more than caches hold.
const STREAMED_MIB: usize = 128;

#[derive(Clone, Copy)]
enum Mode {
    /// Copies memory from one end to the other and back.
    Memory,
    /// Computes in registers.
    Compute,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((mode, threads, length)) = parsed(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("e2e-neighbour: cannot ask to end with its parent: {error}");
        return ExitCode::from(3);
    }
    let end = Instant::now() + length;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(move || match mode {
                Mode::Memory => stream(end),
                Mode::Compute => compute(end),
            });
        }
    });
    ExitCode::SUCCESS
}

fn parsed(args: &[String]) -> Option<(Mode, u32, Duration)> {
    let [mode, threads, seconds] = args else { return None };
    let mode = match mode.as_str() {
        "memory" => Mode::Memory,
        "compute" => Mode::Compute,
        _ => return None,
    };
    let threads = threads.parse().ok().filter(|n| (1..=64).contains(n))?;
    let seconds = seconds.parse().ok().filter(|s| (1..=3600).contains(s))?;
    Some((mode, threads, Duration::from_secs(seconds)))
}

fn stream(end: Instant) {
    let half = STREAMED_MIB * (1 << 20) / 8 / 2;
    let mut words: Vec<u64> = (0..2 * half as u64).collect();
    while Instant::now() < end {
        let (from, to) = words.split_at_mut(half);
        to.copy_from_slice(from);
        from.copy_from_slice(black_box(to));
    }
}

fn compute(end: Instant) {
    let mut state = [1_u64, 2, 3, 4];
    while Instant::now() < end {
        for _ in 0..1_000_000 {
            for word in &mut state {
                *word = word.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) ^ 0x9e37_79b9;
            }
        }
        black_box(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_bounded() {
        let is_taken = |line: &str| {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            parsed(&args).is_some()
        };
        assert!(is_taken("memory 2 900") && is_taken("compute 1 60"));
        for line in ["memory 2", "disk 1 60", "memory 0 60", "compute 65 60", "compute 1 3601", "compute 1 0"]
        {
            assert!(!is_taken(line), "{line}");
        }
    }
}
