//! A run in progress, and what can be seen of it from outside (process environments, listening sockets, scratch paths,
//! the container engine), never from the supervisor's own records.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common;

/// The design promises that nothing is left this long after the death. Containers take longer to disappear than
/// processes.
fn grace() -> Duration {
    Duration::from_secs(if common::is_on_kind() { 30 } else { 5 })
}

/// Ceiling for a run to start its load; only a bug can reach it.
const START_CEILING: Duration = Duration::from_secs(300);

/// What can be seen of runs from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// `pid comm` of processes with `E2E_RUN_ID` in their environment.
    processes: BTreeSet<String>,
    /// Local addresses of listening TCP sockets, as the kernel prints them.
    listeners: BTreeSet<String>,
    /// Scratch directories.
    scratch: BTreeSet<PathBuf>,
    /// Containers, volumes and networks of the engine; empty if runs do not use it.
    engine: BTreeSet<String>,
}

impl Traces {
    fn now() -> Self {
        let engine = if common::is_on_kind() { engine() } else { BTreeSet::new() };
        Self { processes: common::processes(), listeners: listeners(), scratch: scratch(), engine }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            processes: &self.processes - &before.processes,
            listeners: &self.listeners - &before.listeners,
            scratch: &self.scratch - &before.scratch,
            engine: &self.engine - &before.engine,
        }
    }

    /// Whether a process of that name (or whose name begins with it) runs.
    fn has(&self, name: &str) -> bool {
        self.processes.iter().any(|process| process.contains(name))
    }

    /// Whether control planes, or the containers for them, run or are being created.
    fn has_control_planes(&self) -> bool {
        if common::is_on_kind() { !self.engine.is_empty() } else { self.has("kube-apiserver") }
    }
}

/// A run in progress, and what existed before it.
pub struct Started {
    pub child: Child,
    until: Until,
    before: Traces,
    pub runs: tempfile::TempDir,
}

/// How far a run may get.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// Control planes are being created.
    Create,
    /// There are control planes, and a process of that name.
    Process(&'static str),
    /// Its output says that it is in that phase.
    Phase(&'static str),
}

impl Started {
    /// Starts the command in its own process group and waits until the run has got that far.
    pub fn start(mut command: Command, runs: tempfile::TempDir, until: Until) -> Self {
        let before = Traces::now();
        let log = fs::File::create(runs.path().join("output.log")).unwrap();
        let child = command
            .current_dir(common::root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut run = Self { child, until, before, runs };
        let start = Instant::now();
        while !run.is_at(until) {
            let ended = run.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < START_CEILING,
                "not at {until:?} after {:?} (exit: {ended:?}); output:\n{}",
                start.elapsed(),
                run.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        run
    }

    fn is_at(&self, until: Until) -> bool {
        match until {
            Until::Create => self.traces().has_control_planes(),
            Until::Process(name) => {
                let traces = self.traces();
                traces.has(name) && traces.has_control_planes()
            }
            Until::Phase(name) => self.output().contains(&format!(" s] {name} ")),
        }
    }

    fn traces(&self) -> Traces {
        Traces::now().since(&self.before)
    }

    pub fn output(&self) -> String {
        fs::read_to_string(self.runs.path().join("output.log")).unwrap_or_default()
    }

    pub fn process_named(&self, name: &str) -> u32 {
        let processes = self.traces().processes;
        let process = processes.iter().find(|process| process.contains(name));
        let process = process.unwrap_or_else(|| panic!("no {name} among {processes:#?}"));
        process.split(' ').next().unwrap().parse().unwrap()
    }

    pub fn kill_and_expect_nothing(mut self, victim: impl Fn(&Self) -> u32) {
        let pid = victim(&self);
        // Proves that the test can fail: there is something to leave behind.
        let seen = self.traces();
        assert!(seen.processes.len() >= 2 && !seen.scratch.is_empty(), "{seen:#?}");
        // During the release, the control planes may disappear at any moment.
        assert!(matches!(self.until, Until::Phase(_)) || seen.has_control_planes(), "{seen:#?}");
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        self.expect_nothing();
        let _ = self.child.wait();
    }

    pub fn expect_nothing(&mut self) {
        let start = Instant::now();
        loop {
            // A direct child that has ended stays a zombie until it is waited for.
            let _ = self.child.try_wait();
            let left = self.traces();
            if left == Traces::default() {
                return;
            }
            assert!(
                start.elapsed() < grace(),
                "left after {:?}: {left:#?}\n{}",
                start.elapsed(),
                self.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listeners() -> BTreeSet<String> {
    const LISTEN: &str = "0A";
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let (Some(local), Some(_remote), Some(state)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if state == LISTEN {
                found.insert(local.to_owned());
            }
        }
    }
    found
}

fn scratch() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("e2e-")))
        .collect()
}

/// Returns everything in a container engine that has a name or id, with its kind.
fn engine() -> BTreeSet<String> {
    let lists = [
        ("container", ["ps", "--all", "--format", "{{.Names}}"].as_slice()),
        ("volume", &["volume", "ls", "--quiet"]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
    ];
    let mut found = BTreeSet::new();
    for (what, args) in lists {
        found.extend(common::docker(args).into_iter().map(|name| format!("{what} {name}")));
    }
    found
}
