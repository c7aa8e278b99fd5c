//! `e2e-janitor SUPERVISOR-PID SCRATCH [ANNOUNCEMENT]`: once the supervisor is gone, however it ended, removes SCRATCH,
//! and the file ANNOUNCEMENT if it still points there. With `E2E_PROVIDER=kind` it also removes the containers and the
//! network that are named after SCRATCH, and with `E2E_PROVIDER=existing` what the run has created in clusters that are
//! not ours.
//!
//! Processes die with the supervisor by their parent-death signal; directories, containers and objects do not. The
//! janitor runs in its own session, so that nothing sent to the supervisor's group ends it as well.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, setsid};

#[path = "../../processes/src/in_engine.rs"]
mod in_engine;
use in_engine::IN_ENGINE;

/// How long to keep trying: processes that die at the same moment may still write to the directory.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long to look for containers once the engine answers.
const PATIENCE_WITH_CONTAINERS: Duration = Duration::from_secs(25);
/// How long to wait for an engine that does not answer: it may have been stopped for a restart, and what it held is
/// there again afterwards.
const PATIENCE_WITH_ENGINE: Duration = Duration::from_secs(600);
/// Time between two checks.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// How long to clean clusters that are not ours.
const PATIENCE_WITH_CLUSTERS: Duration = Duration::from_secs(660);
/// Consecutive checks that must find no container.
const LOOKS_IN_A_ROW: u32 = 6;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let pid = args.next().and_then(|text| text.to_str()?.parse::<i32>().ok()).and_then(Pid::from_raw);
    let (Some(pid), Some(scratch)) = (pid, args.next()) else {
        platform::tell!("Error: usage: e2e-janitor SUPERVISOR-PID SCRATCH [ANNOUNCEMENT]");
        return ExitCode::from(2);
    };
    let announcement = args.next();
    let scratch = Path::new(&scratch);
    if !is_ours(scratch) {
        platform::tell!(
            "Error: {} is not a scratch directory (expected /tmp/e2e-...); not touching it",
            scratch.display()
        );
        return ExitCode::from(2);
    }
    // Fails only for a group leader, which is separate enough.
    let _ = setsid();
    // ESRCH: the supervisor died before we looked, which is what we wait for.
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
    }
    if let Some(announcement) = announcement {
        withdraw(Path::new(&announcement), scratch);
    }
    match std::env::var("E2E_PROVIDER").as_deref() {
        // A supervisor that shut down properly has done this, and removed the directory last.
        Ok("kind") if scratch.join(IN_ENGINE).exists() => remove_containers(scratch),
        Ok("existing") if scratch.exists() => sweep_clusters(scratch),
        _ => {}
    }
    remove(scratch)
}

/// Removes the announcement, which a killed supervisor cannot do. Programs that only read it never remove it: a running
/// supervisor may be out of their sight.
fn withdraw(announcement: &Path, scratch: &Path) {
    let points_there = |text: String| text.contains(&scratch.display().to_string());
    if std::fs::read_to_string(announcement).is_ok_and(points_there) {
        let _ = std::fs::remove_file(announcement);
    }
}

/// Removes the containers and the network. A `docker run` in progress may still create a container a moment later, so
/// this ends only after several checks in a row have found none.
fn remove_containers(scratch: &Path) {
    let name = scratch.file_name().unwrap_or_default().to_string_lossy();
    let filter = format!("name=^/?{name}-");
    let (began, mut answers) = (Instant::now(), Instant::now());
    let mut empty = 0;
    while empty < LOOKS_IN_A_ROW && answers.elapsed() < PATIENCE_WITH_CONTAINERS {
        let found = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
        let ids: Option<Vec<&str>> = found.as_deref().map(|found| found.split_whitespace().collect());
        match ids.as_deref() {
            None if began.elapsed() > PATIENCE_WITH_ENGINE => return,
            None => (answers, empty) = (Instant::now(), 0),
            Some([]) => empty += 1,
            Some(ids) => {
                empty = 0;
                let _ = docker(&[&["rm", "--force", "--volumes"], ids].concat());
                continue;
            }
        }
        let _ = poll(&mut [], Some(&LOOK_EVERY));
    }
    let _ = docker(&["network", "rm", &name]);
}

/// Runs the program next to this one: this one is small, because it waits through the whole run.
fn sweep_clusters(scratch: &Path) {
    let Ok(exe) = std::env::current_exe() else { return };
    let mut command = Command::new(exe.with_file_name("e2e-supervisor"));
    command.arg("sweep").arg(scratch).stdin(Stdio::null()).stdout(Stdio::null());
    // Programs that watch the run by its environment must not wait for this one.
    let Ok(mut child) = command.env_remove("E2E_RUN_ID").spawn() else { return };
    let start = Instant::now();
    while let Ok(None) = child.try_wait() {
        if PATIENCE_WITH_CLUSTERS < start.elapsed() {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }));
    }
}

/// Returns the output of `docker ARGS`, if it succeeded.
fn docker(args: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a supervisor creates such a path; anything else is never removed.
fn is_ours(path: &Path) -> bool {
    path.is_absolute()
        && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("e2e-"))
}

fn remove(scratch: &Path) -> ExitCode {
    let start = Instant::now();
    loop {
        match std::fs::remove_dir_all(scratch) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return ExitCode::SUCCESS,
            Err(error) if start.elapsed() > PATIENCE => {
                platform::tell!("Error: cannot remove {}: {error}; remove it by hand", scratch.display());
                return ExitCode::from(3);
            }
            Err(_) => {
                // No event tells when the last dying writer is gone; poll with a ceiling.
                let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
            }
        }
    }
}
