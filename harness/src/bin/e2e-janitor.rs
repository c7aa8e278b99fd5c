//! `e2e-janitor SUPERVISOR-PID SCRATCH [ANNOUNCEMENT]`: removes SCRATCH, and the file ANNOUNCEMENT if it still points
//! there, once the supervisor is gone, however it went; with
//! `E2E_PROVIDER=kind` the containers and the network that are named after it, and with `E2E_PROVIDER=existing` what
//! the run has made in clusters that are not ours.
//!
//! Processes die with the supervisor by their parent-death signal; directories, containers and objects cannot. In a session of
//! its own, so that nothing sent to the supervisor's group ends it as well.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, setsid};

#[path = "../../processes/src/in_engine.rs"]
mod in_engine;
use in_engine::IN_ENGINE;

/// How long to keep trying: processes that die in the same moment may still write to the directory.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long to look for containers, from when the engine answers.
const PATIENCE_WITH_CONTAINERS: Duration = Duration::from_secs(25);
/// How long to wait for an engine that does not answer: it may have been stopped to be started again, and what it held
/// is there again then.
const PATIENCE_WITH_ENGINE: Duration = Duration::from_secs(600);
/// Time between two looks.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// How long to clean clusters that are not ours.
const PATIENCE_WITH_CLUSTERS: Duration = Duration::from_secs(660);
/// Looks that must find none.
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
            "Error: {} is no scratch directory (expected /tmp/e2e-...); not touching it",
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
        // A supervisor that ended in order did it, and removed the directory last.
        Ok("kind") if scratch.join(IN_ENGINE).exists() => remove_containers(scratch),
        Ok("existing") if scratch.exists() => sweep_clusters(scratch),
        _ => {}
    }
    remove(scratch)
}

/// A supervisor that was killed cannot do it. Who only looks never does: from where it looks, a supervisor that runs may
/// be out of sight.
fn withdraw(announcement: &Path, scratch: &Path) {
    let points_there = |text: String| text.contains(&scratch.display().to_string());
    if std::fs::read_to_string(announcement).is_ok_and(points_there) {
        let _ = std::fs::remove_file(announcement);
    }
}

/// A `docker run` that was under way may bring one more container a moment later: it is over when none was there for
/// some looks in a row.
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

/// By the program beside this one: this one is small, because it waits through the whole run.
fn sweep_clusters(scratch: &Path) {
    let Ok(exe) = std::env::current_exe() else { return };
    let mut command = Command::new(exe.with_file_name("e2e-supervisor"));
    command.arg("sweep").arg(scratch).stdin(Stdio::null()).stdout(Stdio::null());
    // What watches the run by its environment must not wait for this.
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

/// What `docker ARGS` printed, if it succeeded.
fn docker(args: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the path is one that a supervisor makes; anything else is never removed.
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
