//! Whatever ends a run, `kill -9` included: five seconds later nothing of it is left.
//!
//! What is left is found from outside (process environments, listening sockets, scratch paths), never
//! from the supervisor's own book.

#[path = "../src/cargo_env.rs"]
mod cargo_env;
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cargo_env::is_set_by_cargo;
use rustix::process::{Pid, Signal, kill_process};

/// Promise of the design: nothing is left this long after the death.
const GRACE: Duration = Duration::from_secs(5);
/// Ceiling for a run to get as far as starting its load; only a bug can reach it.
const START_CEILING: Duration = Duration::from_secs(300);

#[test]
fn killing_xtask_leaves_nothing() {
    Started::e2e().kill_and_expect_nothing(|run| run.child.id());
}

#[test]
fn killing_the_supervisor_leaves_nothing() {
    Started::e2e().kill_and_expect_nothing(|run| run.process_named("e2e-supervisor"));
}

#[test]
fn killing_the_scenario_leaves_nothing() {
    Started::e2e().kill_and_expect_nothing(|run| run.process_named("e2e-scenario"));
}

#[test]
fn interrupting_xtask_leaves_nothing_but_the_results() {
    let mut run = Started::e2e();
    let pid = Pid::from_raw(run.child.id() as i32).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = run.child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "an interrupted run has its own exit code");
    run.expect_nothing();
    let kept =
        fs::read_dir(run.runs.path()).unwrap().flatten().any(|run| run.path().join("events.jsonl").is_file());
    assert!(kept, "the results so far must be kept");
}

#[test]
fn killing_nextest_leaves_nothing() {
    Started::nextest().kill_and_expect_nothing(|run| run.child.id());
}

#[test]
fn killing_a_suite_leaves_nothing() {
    Started::nextest().kill_and_expect_nothing(|run| run.process_named("scheduler_limits-"));
}

/// What can be seen of runs from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Traces {
    /// `pid comm` of processes with `E2E_RUN_ID` in their environment.
    processes: BTreeSet<String>,
    /// Local addresses of listening TCP sockets, as the kernel prints them.
    listeners: BTreeSet<String>,
    /// Scratch directories.
    scratch: BTreeSet<PathBuf>,
}

impl Traces {
    fn now() -> Self {
        Self { processes: common::processes(), listeners: listeners(), scratch: scratch() }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            processes: &self.processes - &before.processes,
            listeners: &self.listeners - &before.listeners,
            scratch: &self.scratch - &before.scratch,
        }
    }
}

/// A run in full swing, and what there was before it.
struct Started {
    child: Child,
    before: Traces,
    runs: tempfile::TempDir,
}

impl Started {
    fn e2e() -> Self {
        let runs = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["e2e", "smoke", "--soak", "300s", "--run-dir-root"]).arg(runs.path());
        Self::start(command, runs, "load-driver")
    }

    fn nextest() -> Self {
        let runs = tempfile::tempdir().unwrap();
        let nextest = std::env::var_os("E2E_NEXTEST").map_or_else(|| "cargo-nextest".into(), PathBuf::from);
        let mut command = Command::new(nextest);
        // The whole workspace, as the test that is running: other choices of packages would be built anew.
        command.args(["nextest", "run", "--workspace"]);
        // One that holds control planes for half a minute.
        command
            .args(["--filterset", "test(=default_qps::binds_50_pods_per_second_and_the_limiter_is_named)"]);
        // What the outer nextest set is about another run.
        let is_foreign = |name: &str| name.starts_with("NEXTEST") || is_set_by_cargo(name);
        for (name, _) in std::env::vars().filter(|(name, _)| is_foreign(name)) {
            command.env_remove(name);
        }
        Self::start(command, runs, "kube-scheduler")
    }

    /// Starts the command in a process group of its own and waits for a process of that name in its run.
    fn start(mut command: Command, runs: tempfile::TempDir, last_process: &str) -> Self {
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
        let mut run = Self { child, before, runs };
        let start = Instant::now();
        while !run.traces().processes.iter().any(|process| process.contains(last_process)) {
            let ended = run.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < START_CEILING,
                "no {last_process} after {:?} (exit: {ended:?}); output:\n{}",
                start.elapsed(),
                run.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        run
    }

    fn traces(&self) -> Traces {
        Traces::now().since(&self.before)
    }

    fn output(&self) -> String {
        fs::read_to_string(self.runs.path().join("output.log")).unwrap_or_default()
    }

    fn process_named(&self, name: &str) -> u32 {
        let processes = self.traces().processes;
        let process = processes.iter().find(|process| process.contains(name));
        let process = process.unwrap_or_else(|| panic!("no {name} among {processes:#?}"));
        process.split(' ').next().unwrap().parse().unwrap()
    }

    fn kill_and_expect_nothing(mut self, victim: impl Fn(&Self) -> u32) {
        let pid = victim(&self);
        // The test must be able to fail: there is something to leave behind.
        let seen = self.traces();
        assert!(
            seen.processes.len() >= 5 && !seen.listeners.is_empty() && !seen.scratch.is_empty(),
            "{seen:#?}"
        );
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        self.expect_nothing();
        let _ = self.child.wait();
    }

    fn expect_nothing(&mut self) {
        let start = Instant::now();
        loop {
            // A direct child that has ended stays a zombie until it is waited for.
            let _ = self.child.try_wait();
            let left = self.traces();
            if left == Traces::default() {
                return;
            }
            assert!(
                start.elapsed() < GRACE,
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
