//! What this machine has and lacks. These checks start no process and take milliseconds.

use std::{
    fs,
    net::TcpListener,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use anyhow::bail;
use rustix::process::{PidfdFlags, Resource};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Memory for the suites that `ci` runs one after the other. smoke needs a third of it; `plan` prints the figure of
/// each profile.
const MEMORY_LEAST: u64 = 4 * GIB;
/// Memory for dev-500 (README).
const MEMORY_ENOUGH: u64 = 17 * GIB;
/// Disk space for tools, build artefacts and one run of dev-50.
const DISK_LEAST: u64 = 10 * GIB;
/// Disk space for etcd's data of one run, in /tmp.
const SCRATCH_LEAST: u64 = 2 * GIB;
/// Open files: an apiserver holds hundreds of connections, the harness a few thousand.
const FILES_LEAST: u64 = 4096;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Fine.
    Good,
    /// Runs are possible, but slower, smaller or later.
    Poor,
    /// No run is possible.
    Lacking,
}

/// One check with its result.
#[derive(Debug)]
pub struct Finding {
    /// What was checked.
    pub name: &'static str,
    /// The result.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty if the result is good.
    pub advice: String,
}

impl Finding {
    /// Creates a finding for something that is as it should be.
    pub fn good(name: &'static str, detail: impl Into<String>) -> Finding {
        Finding { name, state: State::Good, detail: detail.into(), advice: String::new() }
    }

    /// Creates a finding for something that is not ideal.
    pub fn poor(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { name, state: State::Poor, detail: detail.into(), advice: advice.into() }
    }

    /// Creates a finding for something that is missing and without which no run is possible.
    pub fn lacking(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { name, state: State::Lacking, detail: detail.into(), advice: advice.into() }
    }
}

/// Fails with a list of everything that this machine lacks, and what to do about it.
pub fn refuse_if_lacking(runs_dir: &Path) -> anyhow::Result<()> {
    let lacking: Vec<_> = check(runs_dir)
        .into_iter()
        .filter(|finding| finding.state == State::Lacking)
        .map(|finding| format!("{}: {}; {}", finding.name, finding.detail, finding.advice))
        .collect();
    if !lacking.is_empty() {
        bail!("this machine cannot run it:\n  {}", lacking.join("\n  "));
    }
    Ok(())
}

/// Runs all checks of this file. `runs_dir` need not exist.
pub fn check(runs_dir: &Path) -> Vec<Finding> {
    vec![
        cores(),
        memory(),
        disk("disk for builds and runs", runs_dir, DISK_LEAST, "free some space, or set CARGO_TARGET_DIR"),
        disk("disk for scratch", Path::new("/tmp"), SCRATCH_LEAST, "free some space in /tmp"),
        files(),
        ports(),
        unix_sockets(),
        pidfd(),
    ]
}

fn cores() -> Finding {
    let n = std::thread::available_parallelism().map_or(1, usize::from);
    let detail = format!("{n}");
    if n >= 2 {
        return Finding::good("cores", detail);
    }
    Finding::poor(
        "cores",
        detail,
        "use a machine with 2 or more; a run on one takes twice as long and may be invalid",
    )
}

fn memory() -> Finding {
    // If the available memory is unknown, it counts as zero.
    let available = platform::memory::available().ok();
    let mib = available.map_or(0, |available| available.mib);
    let mut detail = format!("{:.1} GiB available", mib as f64 / 1024.0);
    if let Some(limit_mib) = available.and_then(|available| available.group_limit_mib) {
        detail += &format!(" within the {:.1} GiB of the control group", limit_mib as f64 / 1024.0);
    }
    if mib * MIB < MEMORY_LEAST {
        return Finding::lacking("memory", detail, "stop other programs: dev-50 takes 4 GiB");
    }
    if mib * MIB < MEMORY_ENOUGH {
        return Finding::poor("memory", detail, "enough for dev-50; dev-500 takes 16 GiB");
    }
    Finding::good("memory", detail)
}

/// Checks whether there is room for `least` bytes where `path` is or will be.
pub fn disk(name: &'static str, path: &Path, least: u64, advice: &str) -> Finding {
    // A directory that does not exist yet will be on the disk of the nearest existing directory above it.
    let existing = path.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let detail = format!("{} GiB free in {}", free / GIB, existing.display());
            if free >= least {
                Finding::good(name, detail)
            } else {
                Finding::lacking(name, detail, format!("{advice}: {} GiB are needed", least / GIB))
            }
        }
        Err(error) => Finding::lacking(name, format!("{}: {error}", existing.display()), advice),
    }
}

fn files() -> Finding {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let show = |n: Option<u64>| n.map_or("unlimited".to_owned(), |n| n.to_string());
    let detail = format!("{} (may be raised to {})", show(limit.current), show(limit.maximum));
    let short = |n: Option<u64>| n.is_some_and(|n| n < FILES_LEAST);
    if short(limit.maximum) {
        return Finding::lacking(
            "open files",
            detail,
            "raise the hard limit to 65536 (/etc/security/limits.conf)",
        );
    }
    if short(limit.current) {
        return Finding::poor(
            "open files",
            detail,
            "`ulimit -n 65536` in this shell; profiles beyond dev-50 need it",
        );
    }
    Finding::good("open files", detail)
}

fn ports() -> Finding {
    let sockets: Result<Vec<_>, _> = (0..32).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    match sockets {
        Ok(_) => Finding::good("loopback ports", "can be bound"),
        Err(error) => Finding::lacking(
            "loopback ports",
            format!("32 at a time cannot be bound on 127.0.0.1: {error}"),
            "check that the loopback device is up and net.ipv4.ip_local_port_range has room",
        ),
    }
}

fn unix_sockets() -> Finding {
    let path = PathBuf::from(format!("/tmp/e2e-doctor-{}.sock", std::process::id()));
    let bound = UnixListener::bind(&path);
    let _ = fs::remove_file(&path);
    match bound {
        Ok(_) => Finding::good("unix sockets", "can be bound in /tmp"),
        Err(error) => {
            let detail = format!("cannot be bound in /tmp: {error}");
            Finding::lacking("unix sockets", detail, "make /tmp writable and local; etcd listens there")
        }
    }
}

fn pidfd() -> Finding {
    match rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
        Ok(_) => Finding::good("pidfd", "supported"),
        Err(error) => {
            let detail = format!("not supported: {error}");
            Finding::lacking("pidfd", detail, "use Linux 5.3 or newer, and a sandbox that permits pidfd_open")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_small_a_disk_is_named_with_what_is_needed() {
        let finding = disk("disk", Path::new("/tmp/not/there"), u64::MAX, "free some space");
        assert_eq!(finding.state, State::Lacking);
        assert!(finding.detail.ends_with("free in /tmp"), "{}", finding.detail);
        assert!(finding.advice.starts_with("free some space: "), "{}", finding.advice);
    }

    #[test]
    fn every_finding_that_is_not_good_says_what_to_do() {
        for finding in check(Path::new("/tmp")) {
            assert_eq!(finding.state == State::Good, finding.advice.is_empty(), "{finding:?}");
        }
    }
}
