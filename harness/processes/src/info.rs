//! What is known about a process, and what can be done with it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is known about a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessInfo {
    /// The lease it belongs to.
    pub lease: String,
    /// Its cluster, if it has one.
    pub cluster: Option<String>,
    /// Component name.
    pub name: String,
    /// Process id of the last start.
    pub pid: u32,
    /// Whether it runs.
    pub state: ProcessState,
    /// Exit code, if it exited by itself.
    pub exit_code: Option<i32>,
    /// Signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether it ended although that was not requested, which voids a measurement.
    pub unasked: bool,
    /// When it was (last) started, RFC 3339.
    pub started: String,
    /// How often it was started.
    pub starts: u32,
    /// Its stdout and stderr.
    pub log_file: PathBuf,
    /// The end of its log, if it ended unasked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_log_lines: Vec<String>,
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// Stopped by SIGSTOP.
    Paused,
    /// Ended.
    Exited,
}

/// What can be done with a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Starts it again after it ended, and waits until it is ready.
    Start,
    /// SIGTERM; SIGKILL after 10 s.
    Stop,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Continue,
    /// Stop, then start.
    Restart,
}
