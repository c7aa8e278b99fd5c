//! `e2e-shim [--nice N] [--batch] [--term] PARENT-PID CMD [ARG]...`: runs CMD so that it dies with the process
//! PARENT-PID.
//!
//! The parent-death signal is set by the child on itself, because setting it between fork and exec would
//! need `unsafe`; it survives exec. The check of the parent closes the race with a parent that died before
//! the signal was set. The signal fires when the *thread* that forked ends: start this only from a thread
//! that lives as long as its process.
//!
//! `--nice N` raises CMD's niceness by N steps over that of this process. `--batch` puts it into the scheduling class
//! SCHED_BATCH (sched(7)): it does not interrupt others when it wakes up. Thirty programs on two cores otherwise spend
//! a quarter of their time on context switches and cold caches (docs/performance.md). `chrt` does this, because the
//! call needs `unsafe`; callers that give the flag have checked that it works here.
//!
//! `--term` sends SIGTERM to CMD instead of killing it, for a CMD that has to clean up what it started (dockerd).

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{
    Signal, getppid, getpriority_process, set_parent_process_death_signal, setpriority_process,
};

/// Exit code when the parent was already gone or the signal could not be set (`EX_SOFTWARE`).
const NO_PARENT: u8 = 70;
/// Exit code when the command could not be started (the shells' "not found").
const NOT_STARTED: u8 = 127;
/// Exit code for a wrong command line, as in the whole project.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    let nice = args.next_if(|arg| arg == "--nice").and_then(|_| args.next()?.to_str()?.parse::<i32>().ok());
    let batch = args.next_if(|arg| arg == "--batch").is_some();
    let signal = args.next_if(|arg| arg == "--term").map_or(Signal::KILL, |_| Signal::TERM);
    let parent = args.next().and_then(|text| text.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        platform::tell!("Error: usage: e2e-shim [--nice N] [--batch] [--term] PARENT-PID CMD [ARG]...");
        return ExitCode::from(USAGE);
    };
    if let Err(error) = set_parent_process_death_signal(Some(signal)) {
        platform::tell!("Error: e2e-shim cannot set the parent-death signal: {error}");
        return ExitCode::from(NO_PARENT);
    }
    if getppid().map(rustix::process::Pid::as_raw_pid) != Some(parent) {
        platform::tell!("Error: e2e-shim: the parent {parent} is gone; not starting {}", program.display());
        return ExitCode::from(NO_PARENT);
    }
    let args: Vec<_> = args.collect();
    if let Some(nice) = nice {
        let now = getpriority_process(None).unwrap_or_default();
        let _ = setpriority_process(None, now + nice);
    }
    if batch && Path::new(&program).exists() {
        // `-b` and not `--batch`: BusyBox has no long flags. This returns only if there is no chrt.
        let _ = Command::new("chrt").args(["-b", "0"]).arg(&program).args(&args).exec();
    }
    let error = Command::new(&program).args(args).exec();
    platform::tell!("Error: e2e-shim cannot start {}: {error}", program.display());
    ExitCode::from(NOT_STARTED)
}
