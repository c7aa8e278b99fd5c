//! The processes of a run: started through `e2e-shim`, watched, signalled through pidfds, never lost.
//!
//! All of it happens on one thread that lives as long as the supervisor (see `e2e-shim`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::error::Error;
use crate::info::{ProcessInfo, ProcessState};

/// Lines of a log that go into an error message.
const TAIL_LINES: usize = 12;
/// Bytes from the end of a log that are searched for them.
const TAIL_BYTES: u64 = 16 * 1024;

/// Names a process of the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The lease it belongs to.
    pub lease: String,
    /// The cluster it belongs to; `None` if it serves all clusters of the lease.
    pub cluster: Option<String>,
    /// Component name.
    pub name: String,
}

impl Key {
    /// Names a process of one cluster.
    pub fn of_cluster(lease: &str, cluster: &str, name: &str) -> Self {
        Self { lease: lease.to_owned(), cluster: Some(cluster.to_owned()), name: name.to_owned() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cluster {
            Some(cluster) => write!(f, "{} of {cluster}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// Niceness of the apiserver's clients. A starved apiserver disconnects its watchers, which then list all Pods again:
/// seen 193 times in one fill of 10,000 Pods.
pub const CLIENT_NICE: u8 = 5;

/// How to start a process, and start it again.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment in addition to the few variables that every process gets.
    pub env: BTreeMap<String, String>,
    /// Niceness relative to the supervisor (0..=19).
    pub nice: u8,
    /// Where stdout and stderr go (appended).
    pub log_file: PathBuf,
    /// Whether it is expected to end with code 0 (a program that finishes) or not (a server).
    pub may_finish: bool,
    /// The file the program writes once it is ready.
    pub ready_file: Option<PathBuf>,
}

struct Entry {
    spec: ProcessSpec,
    pid: u32,
    pidfd: Arc<OwnedFd>,
    started: String,
    starts: u32,
    paused: bool,
    asked: bool,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// All processes of the run.
#[derive(Clone)]
pub struct Table {
    entries: Arc<Mutex<BTreeMap<Key, Entry>>>,
    settings: Arc<Settings>,
}

/// What all processes have in common.
#[derive(Debug)]
pub struct Settings {
    /// Value of `E2E_RUN_ID`.
    pub run_id: String,
    /// Path of `e2e-shim`.
    pub shim: PathBuf,
    /// Working directory and `HOME`: nothing of the user's configuration is read.
    pub home: PathBuf,
    /// Whether they run in the scheduling class SCHED_BATCH.
    pub batch: bool,
    /// Level that they log at, if one was requested.
    pub log: Option<String>,
}

/// Where programs of a run search for other programs.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Settings {
    /// Returns what every program gets in addition to the environment in its spec.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("PATH", PATH.into()),
            ("HOME", self.home.clone().into()),
            ("E2E_RUN_ID", self.run_id.clone().into()),
            ("NO_PROXY", "*".into()),
        ];
        variables.extend(self.log.as_ref().map(|level| ("RUST_LOG", level.into())));
        if let Some(value) = std::env::var_os("RUST_BACKTRACE") {
            variables.push(("RUST_BACKTRACE", value));
            // Only for panics: a backtrace for each handled error would cost a busy program dearly.
            variables.push(("RUST_LIB_BACKTRACE", "0".into()));
        }
        variables
    }
}

impl Table {
    /// Creates an empty table.
    pub fn new(settings: Settings) -> Self {
        Self { entries: Arc::default(), settings: Arc::new(settings) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.entries.lock().expect("the process table must not be poisoned")
    }

    /// Starts a process and returns its pid. A key whose process has ended may be used again.
    ///
    /// # Errors
    /// When a process of that key is running, its log cannot be opened, or the shim cannot be started.
    pub fn start(&self, key: &Key, spec: ProcessSpec) -> Result<u32, Error> {
        let starts = match self.lock().get(key) {
            Some(entry) if entry.exit.borrow().is_none() => {
                return Err(Error::Usage(format!("{key} is running already (pid {})", entry.pid)));
            }
            Some(entry) => entry.starts + 1,
            None => 1,
        };
        if let Some(file) = &spec.ready_file {
            // A file left over from an earlier start would describe a dead process.
            let _ = std::fs::remove_file(file);
        }
        let mut child = self.command(&spec)?.spawn().map_err(|e| {
            Error::Environment(format!("starting {key} through {}: {e}", self.settings.shim.display()))
        })?;
        let pid =
            child.id().ok_or_else(|| Error::internal(format!("{key} has no pid right after its start")))?;
        let pidfd = Arc::new(open_pidfd(pid)?);
        let (exited, exit) = watch::channel(None);
        let entry = Entry {
            spec,
            pid,
            pidfd,
            started: jiff::Timestamp::now().to_string(),
            starts,
            paused: false,
            asked: false,
            exit,
        };
        self.lock().insert(key.clone(), entry);
        let (table, key) = (self.clone(), key.clone());
        tokio::spawn(async move {
            // An error means that the child was reaped elsewhere: it has ended, with an unknown status.
            let status = child.wait().await.unwrap_or_else(|_| ExitStatus::from_raw(0xff00));
            exited.send_replace(Some(status));
            table.note_exit(&key, pid);
        });
        Ok(pid)
    }

    fn note_exit(&self, key: &Key, pid: u32) {
        let Some(info) = self.info(key).filter(|info| info.pid == pid) else { return };
        if info.unasked {
            tracing::error!(%key, pid, code = ?info.exit_code, signal = ?info.signal, "ended unasked");
        } else {
            tracing::info!(%key, pid, code = ?info.exit_code, signal = ?info.signal, "ended");
        }
    }

    fn command(&self, spec: &ProcessSpec) -> Result<tokio::process::Command, Error> {
        let log = open_log(&spec.log_file)?;
        let err = log.try_clone().map_err(|e| Error::internal(format!("cloning a log file handle: {e}")))?;
        let mut command = tokio::process::Command::new(&self.settings.shim);
        command
            .args(["--nice", &spec.nice.to_string()])
            .args(self.settings.batch.then_some("--batch"))
            .arg(std::process::id().to_string())
            .args(&spec.argv)
            // Nothing from the user's shell may burden or change what is measured.
            .env_clear()
            .envs(self.settings.environment())
            .envs(&spec.env)
            .current_dir(&self.settings.home)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(err)
            // Outside the supervisor's group: what a terminal sends there is for the supervisor to handle.
            .process_group(0);
        Ok(command)
    }

    /// Starts a process again as it was started before.
    ///
    /// # Errors
    /// Same as [`Table::start`], or when there never was such a process.
    pub fn start_again(&self, key: &Key) -> Result<u32, Error> {
        let spec = self.spec(key)?;
        self.start(key, spec)
    }

    /// Returns the spec that a process was started with.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn spec(&self, key: &Key) -> Result<ProcessSpec, Error> {
        self.with(key, |entry| entry.spec.clone())
    }

    fn with<T>(&self, key: &Key, f: impl FnOnce(&mut Entry) -> T) -> Result<T, Error> {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(key) {
            return Ok(f(entry));
        }
        let known: Vec<String> =
            entries.keys().filter(|k| k.lease == key.lease).map(ToString::to_string).collect();
        Err(Error::Usage(format!("no process {key}; known: {}", known.join(", "))))
    }

    /// Sends a signal, and records that it was requested.
    ///
    /// # Errors
    /// When there is no such process, it has ended, or the signal is not delivered.
    pub fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        self.with(key, |entry| {
            if let Some(status) = *entry.exit.borrow() {
                return Err(Error::Usage(format!("{key} is not running ({status})")));
            }
            match signal {
                Signal::STOP => entry.paused = true,
                Signal::CONT => entry.paused = false,
                _ => entry.asked = true,
            }
            match pidfd_send_signal(&*entry.pidfd, signal) {
                // It ended between the check and the signal.
                Err(rustix::io::Errno::SRCH) => Ok(()),
                other => other.map_err(|e| Error::internal(format!("sending {signal:?} to {key}: {e}"))),
            }
        })?
    }

    /// Waits until a process has ended, for at most `ceiling`. Returns false if it is still there.
    pub async fn wait(&self, key: &Key, ceiling: Duration) -> bool {
        let Ok(mut exit) = self.with(key, |entry| entry.exit.clone()) else { return true };
        tokio::time::timeout(ceiling, exit.wait_for(Option::is_some)).await.is_ok()
    }

    /// Stops a process: SIGTERM (waking it if paused), and SIGKILL if it is still there after `grace`.
    ///
    /// # Errors
    /// Same as [`Table::signal`].
    pub async fn end(&self, key: &Key, grace: Duration) -> Result<(), Error> {
        self.signal(key, Signal::TERM)?;
        // A paused process does not see SIGTERM; the error of an ended one does not matter.
        let _ = self.signal(key, Signal::CONT);
        if !self.wait(key, grace).await {
            return self.kill(key).await;
        }
        Ok(())
    }

    /// Sends SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// Same as [`Table::signal`].
    pub async fn kill(&self, key: &Key) -> Result<(), Error> {
        self.signal(key, Signal::KILL)?;
        if self.wait(key, Duration::from_secs(10)).await {
            Ok(())
        } else {
            Err(Error::Environment(format!(
                "{key} did not end within 10 s of SIGKILL (uninterruptible sleep?)"
            )))
        }
    }

    /// Whether the process runs.
    pub fn is_running(&self, key: &Key) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.exit.borrow().is_none())
    }

    /// Returns the keys of the running processes of a lease, or of all leases.
    pub fn running(&self, lease: Option<&str>) -> Vec<Key> {
        let entries = self.lock();
        let running = entries.iter().filter(|(_, entry)| entry.exit.borrow().is_none());
        running.map(|(key, _)| key.clone()).filter(|key| lease.is_none_or(|l| key.lease == l)).collect()
    }

    /// Returns what is known about one process.
    pub fn info(&self, key: &Key) -> Option<ProcessInfo> {
        self.lock().get(key).map(|entry| describe(key, entry))
    }

    /// Returns what is known about all processes of the run, including ended ones.
    pub fn all(&self) -> Vec<ProcessInfo> {
        self.lock().iter().map(|(key, entry)| describe(key, entry)).collect()
    }

    /// Returns the last lines of a process's log, for an error message.
    pub fn tail(&self, key: &Key) -> String {
        let Ok(spec) = self.spec(key) else { return String::new() };
        format!("last lines of {}:\n{}", spec.log_file.display(), tail(&spec.log_file, TAIL_LINES).join("\n"))
    }

    /// Describes how the process ended; `None` while it runs or when it is unknown.
    pub fn ended(&self, key: &Key) -> Option<String> {
        let status = self.with(key, |entry| *entry.exit.borrow()).ok()??;
        Some(format!("{key} ended ({status})"))
    }
}

fn describe(key: &Key, entry: &Entry) -> ProcessInfo {
    let status = *entry.exit.borrow();
    let finished = entry.spec.may_finish && status.is_some_and(|s| s.success());
    let unasked = status.is_some() && !entry.asked && !finished;
    ProcessInfo {
        lease: key.lease.clone(),
        cluster: key.cluster.clone(),
        name: key.name.clone(),
        pid: entry.pid,
        state: match (status, entry.paused) {
            (Some(_), _) => ProcessState::Exited,
            (None, true) => ProcessState::Paused,
            (None, false) => ProcessState::Running,
        },
        exit_code: status.and_then(|s| s.code()),
        signal: status.and_then(|s| s.signal()),
        unasked,
        started: entry.started.clone(),
        starts: entry.starts,
        log_file: entry.spec.log_file.clone(),
        last_log_lines: if unasked { tail(&entry.spec.log_file, TAIL_LINES) } else { Vec::new() },
    }
}

fn open_pidfd(pid: u32) -> Result<OwnedFd, Error> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or_else(|| Error::internal(format!("{pid} is not a process id")))?;
    pidfd_open(raw, PidfdFlags::empty())
        .map_err(|e| Error::internal(format!("opening a pidfd of {pid}: {e}")))
}

fn open_log(path: &Path) -> Result<File, Error> {
    let open = || {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    };
    open().map_err(|e| Error::Environment(format!("opening the log file {}: {e}", path.display())))
}

/// Returns the last `count` lines of a file, or one line with the reason if it cannot be read.
pub fn tail(path: &Path, count: usize) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES.max(200 * count as u64))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
        }
        Err(error) => vec![format!("(cannot read {}: {error})", path.display())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_shell_s_environment_reaches_a_program() {
        let dir = tempfile::tempdir().unwrap();
        let settings = |log: Option<&str>| Settings {
            run_id: "r".to_owned(),
            shim: "/shim".into(),
            home: "/h".into(),
            batch: false,
            log: log.map(str::to_owned),
        };
        let spec = ProcessSpec {
            argv: vec!["/bin/true".to_owned()],
            env: [("GOGC".to_owned(), "400".to_owned())].into(),
            nice: 5,
            log_file: dir.path().join("log"),
            may_finish: true,
            ready_file: None,
        };
        let names = |log| {
            let command = Table::new(settings(log)).command(&spec).unwrap();
            let command = command.as_std();
            let program: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
            assert!(program.starts_with(&["--nice".to_owned(), "5".to_owned()]), "{program:?}");
            assert!(!program.contains(&"--batch".to_owned()), "{program:?}");
            // Variables of the shell would be listed only if they were set again; they were cleared.
            assert!(format!("{command:?}").contains("env -i "), "{command:?}");
            let mut names: Vec<_> = command
                .get_envs()
                .map(|(name, _)| name.to_string_lossy().into_owned())
                .filter(|name| !name.ends_with("BACKTRACE"))
                .collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(None), "E2E_RUN_ID GOGC HOME NO_PROXY PATH");
        assert_eq!(names(Some("debug")), "E2E_RUN_ID GOGC HOME NO_PROXY PATH RUST_LOG");
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), (0..5_000).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        assert_eq!(tail(file.path(), 2), ["line 4998", "line 4999"]);
        assert_eq!(tail(file.path(), 5_000).len(), 5_000);
    }
}
