//! Starts and stops `e2e-supervisor serve`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{exit, tasks::provider::Environment};

/// Time for a start. It takes milliseconds, but a busy machine needs longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to stop every process of a run.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a stop that also has to clean up an existing cluster.
const STOP_TIMEOUT_SHARED: Duration = Duration::from_secs(600);
/// The variable with the cache directory, which `tools::Options` reads.
const CACHE_VARIABLE: &str = "E2E_CACHE_DIR";
/// The variable with the log level, which `component::log` reads.
pub const LOG_VARIABLE: &str = "E2E_LOG";
/// Number of log lines that are shown when it fails.
const LOG_LINES: usize = 15;

/// What a supervisor is started with.
pub struct Spec<'a> {
    /// The run id, which is in the environment of every process of the run.
    pub run_id: &'a str,
    /// The directory of `supervisor.json` and `logs/`.
    pub run_dir: &'a Path,
    /// The directory of the workspace's programs.
    pub bin_dir: &'a Path,
    /// The directory of the control-plane programs.
    pub tools_dir: &'a Path,
    /// When the supervisor stops.
    pub owner: Owner,
    /// How it creates control planes.
    pub provider: &'a Environment,
    /// The log level of the run's programs, if one was requested.
    pub log: Option<&'a str>,
}

/// When a supervisor stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// When this process ends; it is then killed.
    Us,
    /// When another process ends, which it watches.
    Other(u32),
    /// On request only.
    Nobody,
}

/// A running supervisor.
pub struct Supervisor {
    child: Child,
    stop_timeout: Duration,
    cleanup: Cleanup,
    /// The socket of its control protocol.
    pub socket: PathBuf,
}

#[derive(Deserialize)]
struct Announcement {
    pid: u32,
    socket: PathBuf,
}

/// Starts a supervisor and waits until it listens. Must be called from the main thread, because the supervisor dies
/// with the thread that forks it.
///
/// `started` is called with its process id as soon as there is one.
pub fn start(spec: &Spec, started: impl FnOnce(u32)) -> anyhow::Result<Supervisor> {
    let log = spec.run_dir.join("logs/supervisor.log");
    let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let us = std::process::id();
    let program = spec.bin_dir.join("e2e-supervisor");
    let mut command = match spec.owner {
        Owner::Us => shim(spec.bin_dir, us, &program),
        Owner::Other(_) | Owner::Nobody => Command::new(&program),
    };
    command.args(["serve", "--run-id", spec.run_id]);
    // The supervisor works in the run directory, where a relative path would mean a different place.
    let tools_dir = std::path::absolute(spec.tools_dir)?;
    command.arg("--run-dir").arg(spec.run_dir).arg("--tools-dir").arg(tools_dir);
    if let Some(cache) = std::env::var_os(CACHE_VARIABLE).filter(|dir| !dir.is_empty()) {
        command.env(CACHE_VARIABLE, std::path::absolute(cache)?);
    }
    match spec.owner {
        Owner::Us => command.args(["--owner-pid", &us.to_string()]),
        Owner::Other(pid) => command.args(["--owner-pid", &pid.to_string()]),
        Owner::Nobody => command.arg("--keep"),
    };
    spec.provider.give(&mut command);
    command.envs(spec.log.map(|level| (LOG_VARIABLE, level)));
    command.env("E2E_RUN_ID", spec.run_id).env_remove("KUBECONFIG").current_dir(spec.run_dir);
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    started(child.id());
    let mut supervisor = wait_until_it_listens(child, &spec.run_dir.join("supervisor.json"), &log)?;
    if spec.provider.is_shared() {
        supervisor.stop_timeout = STOP_TIMEOUT_SHARED;
    }
    Ok(supervisor)
}

/// Returns a command that dies with process `parent`, by means of `e2e-shim`.
pub fn shim(bin_dir: &Path, parent: u32, program: &Path) -> Command {
    let mut command = Command::new(bin_dir.join("e2e-shim"));
    command.arg(parent.to_string()).arg(program);
    command
}

fn wait_until_it_listens(mut child: Child, file: &Path, log: &Path) -> anyhow::Result<Supervisor> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        // The file appears by a rename and is therefore complete. That of an earlier supervisor has a different process
        // id.
        let announced =
            fs::read(file).ok().and_then(|text| serde_json::from_slice::<Announcement>(&text).ok());
        if let Some(Announcement { socket, .. }) = announced.filter(|a| a.pid == child.id()) {
            let cleanup = Cleanup { log: log.with_file_name("cleanup.log"), shown: 0 };
            return Ok(Supervisor { child, stop_timeout: STOP_TIMEOUT, cleanup, socket });
        }
        if let Some(status) = child.try_wait().context("cannot wait for the supervisor")? {
            bail!(
                "the supervisor ended before it was ready ({status}); its last words:\n{}",
                last_lines(log)
            );
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!(
                "the supervisor did not write {} within {} s; its last words:\n{}",
                file.display(),
                START_TIMEOUT.as_secs(),
                last_lines(log)
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
}

impl Supervisor {
    /// Returns the supervisor's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop everything, and waits until it has done so.
    pub fn stop(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return self.ended(status);
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("the supervisor has no process id")?;
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + self.stop_timeout;
        self.cleanup.skip();
        loop {
            let ended_as = self.child.try_wait()?;
            self.cleanup.show();
            if let Some(status) = ended_as {
                return self.ended(status);
            }
            if deadline < Instant::now() {
                self.child.kill()?;
                self.child.wait()?;
                bail!("the supervisor did not stop within {} s and was killed", self.stop_timeout.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Supervisor {
    fn ended(&self, status: ExitStatus) -> anyhow::Result<()> {
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(i32::from(exit::LEFT_BEHIND)) {
            bail!("objects of the run stay in an existing cluster; see above, and logs/cleanup.log");
        }
        let janitor = if self.stop_timeout == STOP_TIMEOUT_SHARED {
            "; the janitor cleans the existing clusters now, and logs/cleanup.log says what it waits for or leaves"
        } else {
            ""
        };
        bail!("the supervisor ended with {status}; see logs/supervisor.log{janitor}")
    }
}

/// The lines that the supervisor writes while it cleans up existing clusters.
struct Cleanup {
    log: PathBuf,
    /// Number of bytes shown so far.
    shown: usize,
}

impl Cleanup {
    /// The scenario has shown everything that is there already.
    fn skip(&mut self) {
        self.shown = fs::read(&self.log).map_or(0, |text| text.len());
    }

    fn show(&mut self) {
        let text = fs::read(&self.log).unwrap_or_default();
        let new = text.get(self.shown..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.shown += whole;
        eprint!("{}", String::from_utf8_lossy(&new[..whole]));
    }
}

/// Returns the end of a log file.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES)..];
    if shown.is_empty() {
        format!("  ({} is empty)", log.display())
    } else {
        format!("  {}", shown.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(script: &str, dir: &Path) -> anyhow::Result<Supervisor> {
        let log = dir.join("log");
        let file = File::create(&log).unwrap();
        let child = Command::new("sh").args(["-c", script]).current_dir(dir).stderr(file).spawn().unwrap();
        wait_until_it_listens(child, &dir.join("supervisor.json"), &log)
    }

    #[test]
    fn one_that_dies_at_the_start_is_reported_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let error = supervisor("echo no such flag >&2; exit 2", dir.path()).err().unwrap().to_string();
        assert!(error.contains("exit status: 2") && error.ends_with("  no such flag"), "{error}");
    }

    #[test]
    fn an_announcement_of_an_earlier_one_is_not_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("supervisor.json"), r#"{"pid":1,"socket":"/old"}"#).unwrap();
        let script = r#"echo "{\"pid\":$$,\"socket\":\"/new\"}" >new; mv new supervisor.json; exec sleep 60"#;
        let supervisor = supervisor(script, dir.path()).unwrap();
        assert_eq!(supervisor.socket, Path::new("/new"));
        let error = supervisor.stop().unwrap_err().to_string();
        assert!(error.contains("signal: 15"), "{error}");
    }
}
