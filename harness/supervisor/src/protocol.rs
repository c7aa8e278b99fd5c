//! The protocol of the supervisor's socket: one JSON request per line, one JSON response per line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use component::ready::Ready;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use harness_model::provider::ProviderName;
use harness_model::record::event::LeftBehind;
pub use harness_planes::existing::HoldStatus;
use harness_planes::spec::{Lease, LeaseSpec};
use harness_processes::birth::{Birth, Recorded};
pub use harness_processes::{Error, ErrorKind, ProcessInfo, ProcessState, Verb};

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Starts control planes; the response is a [`Lease`].
    Lease {
        /// What is requested.
        spec: LeaseSpec,
        /// Whether the lease outlives the connection that took it.
        #[serde(default)]
        detached: bool,
    },
    /// Releases everything in a lease; the response is [`Released`].
    Release {
        /// Its id.
        lease: String,
    },
    /// Starts a program under supervision; the response is a [`Spawned`].
    Spawn(SpawnRequest),
    /// Acts on one process; the response is its [`ProcessInfo`] afterwards.
    Component(ComponentRequest),
    /// Reads the state of the supervisor; the response is a [`Status`].
    Status,
    /// Lists the processes; the response is a list of [`ProcessInfo`].
    Processes,
    /// Reads the end of a process's log; the response is a [`LogTail`].
    Logs {
        /// Component name.
        name: String,
        /// Its cluster, when the name alone is ambiguous.
        #[serde(default)]
        cluster: Option<String>,
        /// Number of lines; 50 by default.
        #[serde(default)]
        lines: Option<usize>,
    },
    /// Shuts down the supervisor; the response `{}` comes first.
    Shutdown,
}

/// A program to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpawnRequest {
    /// The lease it belongs to, and with which it ends.
    pub lease: String,
    /// The cluster it belongs to, which decides where its log goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Component name, unique within cluster (or lease).
    pub name: String,
    /// Program (absolute path) and arguments.
    pub argv: Vec<String>,
    /// Environment in addition to `E2E_RUN_ID` and a minimal `PATH`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The path given to the program as `--ready-file`; the response waits for that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_file: Option<PathBuf>,
    /// How long to wait for it, in seconds; 60 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_timeout_seconds: Option<u64>,
}

/// A started program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spawned {
    /// Its process id.
    pub pid: u32,
    /// Its stdout and stderr.
    pub log_file: PathBuf,
    /// Content of the ready file, if one was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
}

/// An action on one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentRequest {
    /// The lease it belongs to.
    pub lease: String,
    /// Its cluster, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Component name.
    pub name: String,
    /// What to do.
    pub verb: Verb,
}

/// The result of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// What could not be removed from existing clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftBehind>,
}

/// State of the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Id of the run.
    pub run_id: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// The run directory.
    pub run_dir: PathBuf,
    /// Directory of sockets, data and keys; removed at the end.
    pub scratch: PathBuf,
    /// How control planes are created.
    pub provider: ProviderName,
    /// MiB that leases may use together.
    pub memory_budget_mib: u64,
    /// MiB that leases have taken.
    pub memory_leased_mib: u64,
    /// Leases that are ready.
    pub leases: Vec<Lease>,
    /// Number of running processes.
    pub processes_running: usize,
    /// Processes that ended although that was not requested.
    pub unasked_exits: Vec<ProcessInfo>,
    /// Why programs do not run in the scheduling class SCHED_BATCH, if they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_batch: Option<String>,
    /// Records in existing clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldStatus>,
}

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogTail {
    /// The file with the whole log.
    pub log_file: PathBuf,
    /// Its last lines.
    pub lines: Vec<String>,
}

/// A response: `{"ok": ...}` or `{"error": {"message": ..., "kind": ...}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// The result.
    Ok(Value),
    /// Why there is no result.
    Error(ErrorBody),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A message for people: what failed, where, and what to do.
    pub message: String,
    /// Which side is at fault.
    pub kind: ErrorKind,
}

impl From<&Error> for ErrorBody {
    fn from(error: &Error) -> Self {
        Self { message: error.to_string(), kind: error.kind() }
    }
}

impl From<ErrorBody> for Error {
    fn from(body: ErrorBody) -> Self {
        match body.kind {
            ErrorKind::Usage => Self::Usage(body.message),
            ErrorKind::Environment => Self::Environment(body.message),
            ErrorKind::LeftBehind => Self::LeftBehind(body.message),
            ErrorKind::Internal => Self::Internal(body.message),
        }
    }
}

/// Content of `<run-dir>/supervisor.json`, by which a supervisor is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// The supervisor's process id.
    pub pid: u32,
    /// Its control socket.
    pub socket: PathBuf,
    /// Directory of sockets, data and keys.
    pub scratch: PathBuf,
    /// Id of the run.
    pub run_id: String,
    /// Directory of the control-plane binaries (and kubectl).
    pub tools_dir: PathBuf,
    /// The run directory.
    #[serde(default)]
    pub run_dir: PathBuf,
    /// The fixtures of the checkout that it was started from.
    #[serde(default)]
    pub fixtures_dir: PathBuf,
    /// Distinguishes this process from others that have had or will have its id.
    #[serde(default)]
    pub birth: Birth,
    /// Its janitor, which ends last of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub janitor: Option<Recorded>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_is_as_documented() {
        let request: Request = serde_json::from_str(
            r#"{"request":"spawn","lease":"l1","name":"shard","argv":["/bin/true"],"readyFile":"/x"}"#,
        )
        .unwrap();
        let Request::Spawn(spawn) = request else { panic!("not a spawn: {request:?}") };
        assert_eq!(spawn.ready_file, Some(PathBuf::from("/x")));
        let verb = serde_json::from_str::<Request>(
            r#"{"request":"component","lease":"l1","cluster":"c","name":"etcd","verb":"pause"}"#,
        );
        assert!(matches!(verb, Ok(Request::Component(ComponentRequest { verb: Verb::Pause, .. }))));
        let error = Response::Error(ErrorBody { message: "m".into(), kind: ErrorKind::Environment });
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"error":{"message":"m","kind":"environment"}}"#
        );
        assert_eq!(serde_json::to_string(&Response::Ok(serde_json::json!({}))).unwrap(), r#"{"ok":{}}"#);
    }
}
