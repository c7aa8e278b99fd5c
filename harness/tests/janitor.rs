//! How the janitor handles a container engine that is away when its run ends. The engine is a script here: stopping a
//! real one would stop the containers of others.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, thread};

use harness_processes::IN_ENGINE;

/// Longer than a janitor takes if its engine answers.
const CEILING: Duration = Duration::from_secs(20);
/// Holds one container until asked to remove it; fails while there is a file `away` next to it.
const ENGINE: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/calls"
[ -e "$here/away" ] && exit 1
case $1 in
    ps) [ -e "$here/removed" ] || echo 0123456789ab ;;
    rm) touch "$here/removed" ;;
esac
"#;

struct Run {
    scratch: PathBuf,
    engine: tempfile::TempDir,
    supervisor: Child,
    janitor: Child,
}

impl Run {
    fn begin(may_hold_something: bool) -> Run {
        let scratch = tempfile::Builder::new().prefix("e2e-janitor-").tempdir().unwrap().keep();
        let engine = tempfile::tempdir().unwrap();
        let program = engine.path().join("docker");
        fs::write(&program, ENGINE).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(engine.path().join("away"), "").unwrap();
        if may_hold_something {
            fs::write(scratch.join(IN_ENGINE), "").unwrap();
        }
        let supervisor = Command::new("sleep").arg("60").spawn().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-janitor"));
        command.arg(supervisor.id().to_string()).arg(&scratch).env("E2E_PROVIDER", "kind");
        let path = format!("{}:{}", engine.path().display(), std::env::var("PATH").unwrap());
        let janitor = command.env("PATH", path).spawn().unwrap();
        Run { scratch, engine, supervisor, janitor }
    }

    fn kill_supervisor(&mut self) {
        self.supervisor.kill().unwrap();
        self.supervisor.wait().unwrap();
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.engine.path().join("calls")).unwrap_or_default()
    }

    /// Waits until the condition holds.
    fn until(&mut self, holds: impl Fn(&mut Run) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < CEILING, "the janitor is at a loss; it called: {}", self.calls());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_janitor(&mut self) {
        self.until(|run| run.janitor.try_wait().unwrap().is_some());
        assert!(!self.scratch.exists(), "{} is left", self.scratch.display());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = (self.supervisor.kill(), self.supervisor.wait());
        let _ = (self.janitor.kill(), self.janitor.wait());
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn waits_for_an_engine_that_is_away_and_then_removes_what_is_left() {
    let mut run = Run::begin(true);
    run.kill_supervisor();
    run.until(|run| run.calls().lines().count() >= 3);
    assert!(run.janitor.try_wait().unwrap().is_none() && run.scratch.exists(), "it gave up");
    fs::remove_file(run.engine.path().join("away")).unwrap();
    run.wait_for_janitor();
    let calls = run.calls();
    assert!(calls.contains("rm --force --volumes 0123456789ab"), "{calls}");
    let network = format!("network rm {}", name(&run.scratch));
    assert_eq!(calls.lines().last(), Some(network.as_str()));
}

#[test]
fn asks_no_engine_that_was_not_used() {
    let mut run = Run::begin(false);
    run.kill_supervisor();
    run.wait_for_janitor();
    assert_eq!(run.calls(), "");
}
