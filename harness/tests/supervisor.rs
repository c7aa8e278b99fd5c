//! How people find, inspect and stop a supervisor, without control planes.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness_processes::birth::Life;
use harness_supervisor::protocol::Announcement;
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes.
const CEILING: Duration = Duration::from_secs(20);
const PROGRAMS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"];

/// A supervisor without leases, started by a shell that ignores some signals, with several variables in its
/// environment.
struct Started {
    place: tempfile::TempDir,
    child: Child,
    announcement: Announcement,
}

impl Started {
    /// Starts one whose run id begins with `name`, because tests run at the same time.
    fn new(name: &str) -> Self {
        let run_id = format!("{name}-{}", std::process::id());
        let place = tempfile::tempdir().unwrap();
        let tools = place.path().join("tools");
        fs::create_dir(&tools).unwrap();
        PROGRAMS.iter().for_each(|name| fs::write(tools.join(name), "").unwrap());
        let run_dir = place.path().join("state").join(&run_id);
        fs::create_dir_all(&run_dir).unwrap();
        let log = fs::File::create(place.path().join("log")).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap "" INT HUP; exec "$@""#, "sh", env!("CARGO_BIN_EXE_e2e-supervisor")]);
        shell.args(["serve", "--keep", "--run-id", &run_id, "--run-dir"]).arg(&run_dir);
        shell.arg("--tools-dir").arg(&tools).env("E2E_CACHE_DIR", place.path().join("cache"));
        shell.env("E2E_PROVIDER", "local").env("RUST_LOG", "trace").env_remove("E2E_LOG");
        let child = shell.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut child = child.unwrap();
        let start = Instant::now();
        let announcement = loop {
            let text = fs::read(run_dir.join("supervisor.json")).unwrap_or_default();
            if let Ok(announcement) = serde_json::from_slice(&text) {
                break announcement;
            }
            let log = fs::read_to_string(place.path().join("log")).unwrap();
            assert!(child.try_wait().unwrap().is_none() && start.elapsed() < CEILING, "{log}");
            thread::sleep(Duration::from_millis(20));
        };
        Self { place, child, announcement }
    }

    fn state_dir(&self) -> PathBuf {
        self.place.path().join("state")
    }

    fn ask(&self, verb: &str, further: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-supervisor"));
        command.arg(verb).args(further).current_dir(self.place.path()).output().unwrap()
    }

    fn ask_there(&self, verb: &str) -> Output {
        self.ask(verb, &["--state-dir", self.state_dir().to_str().unwrap()])
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < CEILING, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn announced_in(dir: &Path) -> bool {
    dir.join("supervisor.json").exists()
}

#[test]
fn one_that_is_out_of_sight_is_told_of_and_found_again_and_ended() {
    let mut run = Started::new("hidden");
    let Announcement { scratch, run_dir, run_id, .. } = run.announcement.clone();
    let runs = format!("run {run_id}  supervisor ");
    assert!(told(&run.ask_there("status")).contains(&runs));

    // As if another /tmp were mounted over it.
    let hidden = scratch.with_extension("hidden");
    fs::rename(&scratch, &hidden).unwrap();
    let asked = ["status", "down", "logs"].map(|verb| match verb {
        "logs" => run.ask("logs", &["--state-dir", run.state_dir().to_str().unwrap(), "etcd"]),
        verb => run.ask_there(verb),
    });
    let kept = announced_in(&run_dir);
    fs::rename(&hidden, &scratch).unwrap();
    let codes = asked.each_ref().map(|output| output.status.code());
    assert_eq!(codes, [Some(0), Some(3), Some(3)], "{asked:?}");
    for output in &asked {
        assert!(told(output).contains("cannot be reached from here"), "{}", told(output));
    }
    assert!(kept, "looking changes nothing");

    // What the shell ignored stays ignored.
    let pid = Pid::from_raw(i32::try_from(run.announcement.pid).unwrap()).unwrap();
    for signal in [Signal::INT, Signal::HUP] {
        kill_process(pid, signal).unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    assert!(run.child.try_wait().unwrap().is_none(), "it heeded what it was to ignore");

    // From another state directory it is found by its checkout.
    let far = told(&run.ask("status", &[]));
    assert!(far.contains(&runs), "{far}");
    let ended = run.ask("down", &["--run", &run_id]);
    assert!(ended.status.success(), "{}", told(&ended));
    let janitor = run.announcement.janitor.clone().expect("a supervisor names its janitor");
    assert_ne!(janitor.life(), Life::Runs, "`down` waits for the last process of the run");
    run.wait();
    assert!(!announced_in(&run_dir) && !scratch.exists());

    let log = fs::read_to_string(run.place.path().join("log")).unwrap();
    assert!(log.contains("\"INFO\"") && !log.contains("\"DEBUG\"") && !log.contains("\"TRACE\""), "{log}");
}

#[test]
fn what_a_killed_one_left_is_withdrawn_by_its_janitor() {
    let mut run = Started::new("killed");
    assert!(announced_in(&run.announcement.run_dir));
    run.child.kill().unwrap();
    run.wait();
    let start = Instant::now();
    while announced_in(&run.announcement.run_dir) || run.announcement.scratch.exists() {
        assert!(start.elapsed() < CEILING, "it is left");
        thread::sleep(Duration::from_millis(20));
    }
}
