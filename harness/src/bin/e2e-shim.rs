//! `e2e-shim [--batch NICE | --term] PARENT-PID CMD [ARG]...`: runs CMD so that it dies with the process PARENT-PID.
//!
//! The parent-death signal is set by the child on itself, because setting it between fork and exec would
//! need `unsafe`; it survives exec. The check of the parent closes the race with a parent that died before
//! the signal was set. The signal fires when the *thread* that forked ends: start this only from a thread
//! that lives as long as its process.
//!
//! `--batch` puts CMD into the scheduling class SCHED_BATCH (sched(7)), NICE steps behind this process: it does
//! not interrupt others when it wakes up. Thirty programs on two cores otherwise spend a quarter of their time on
//! being switched and on cold caches (docs/performance.md). Done by util-linux' `chrt`, where there is one,
//! because the call needs `unsafe`.
//!
//! `--term` asks CMD to end instead of killing it, for a CMD that has to tidy up what it started (dockerd).

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{
    Signal, getppid, getpriority_process, set_parent_process_death_signal, setpriority_process,
};

/// Exit code when the parent was gone already or the signal could not be set (`EX_SOFTWARE`).
const NO_PARENT: u8 = 70;
/// Exit code when the command could not be started (the shells' "not found").
const NOT_STARTED: u8 = 127;
/// Exit code for a wrong command line, as in the whole project.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    let batch = args.next_if(|arg| arg == "--batch").and_then(|_| args.next()?.to_str()?.parse::<i32>().ok());
    let signal = args.next_if(|arg| arg == "--term").map_or(Signal::KILL, |_| Signal::TERM);
    let parent = args.next().and_then(|text| text.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        eprintln!("Error: usage: e2e-shim [--batch NICE | --term] PARENT-PID CMD [ARG]...");
        return ExitCode::from(USAGE);
    };
    if let Err(error) = set_parent_process_death_signal(Some(signal)) {
        eprintln!("Error: e2e-shim cannot set the parent-death signal: {error}");
        return ExitCode::from(NO_PARENT);
    }
    if getppid().map(rustix::process::Pid::as_raw_pid) != Some(parent) {
        eprintln!("Error: e2e-shim: the parent {parent} is gone; not starting {}", program.display());
        return ExitCode::from(NO_PARENT);
    }
    let args: Vec<_> = args.collect();
    if let Some(nice) = batch.filter(|_| Path::new(&program).exists()) {
        let now = getpriority_process(None).unwrap_or_default();
        let _ = setpriority_process(None, now + nice);
        // Comes back only where there is no chrt; then the program runs as everything else does.
        let _ = Command::new("chrt").args(["--batch", "0"]).arg(&program).args(&args).exec();
    }
    let error = Command::new(&program).args(args).exec();
    eprintln!("Error: e2e-shim cannot start {}: {error}", program.display());
    ExitCode::from(NOT_STARTED)
}
