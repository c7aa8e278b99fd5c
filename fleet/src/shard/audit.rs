//! The audit log: one JSON line per finished action.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use fleet_engine::Action;

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When the action ended, in unix nanoseconds.
    pub unix_nanos: u64,
    /// When its execution began, in unix nanoseconds.
    pub started_unix_nanos: u64,
    /// Cycle that decided it, from 1.
    pub cycle: u64,
    /// Bootstrap, Provision, Reclaim, Preempt or Delete.
    pub kind: String,
    /// Machine id.
    pub machine: String,
    /// Cluster that gained or lost it; empty for Delete.
    pub cluster: String,
    /// Fingerprint it was taken for; empty when it was given back.
    pub fingerprint: String,
    /// Why it was decided, e.g. `phase3.excess`.
    pub reason: String,
    /// Drain time in seconds; 0 when nothing is drained.
    pub grace_seconds: u32,
    /// How it ended: `success`, `no_session`, `blob_error`, `drain_failed`, ...
    pub outcome: String,
}

impl Record {
    /// The record of an action that ends now.
    pub fn new(action: &Action, cycle: u64, started_unix_nanos: u64, outcome: &str) -> Self {
        Self {
            unix_nanos: unix_nanos(),
            started_unix_nanos,
            cycle,
            kind: action.kind.name().to_owned(),
            machine: action.machine.to_string(),
            cluster: action.cluster.clone(),
            fingerprint: action.assignment.as_ref().map(|a| a.fingerprint.clone()).unwrap_or_default(),
            reason: action.reason.to_owned(),
            grace_seconds: action.grace_s,
            outcome: outcome.to_owned(),
        }
    }
}

/// An open audit log, or none.
#[derive(Debug, Default)]
pub struct Audit {
    file: Option<Mutex<File>>,
    lost: CancellationToken,
}

impl Audit {
    /// Opens the log for appending.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("opening the audit log {}", path.display()))?;
        Ok(Self { file: Some(Mutex::new(file)), lost: CancellationToken::new() })
    }

    /// Appends one line. A log that cannot be written ends the shard: one with a hole in it is worse than none.
    pub fn write(&self, record: &Record) {
        let Some(file) = &self.file else { return };
        let line = serde_json::to_string(record).expect("a record of texts and numbers must serialise");
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{line}") {
            tracing::error!(%error, "cannot write the audit log");
            self.lost.cancel();
        }
    }

    /// Waits until a line could not be written.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// Now, in unix nanoseconds.
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_line_that_does_not_fit_is_told() {
        let record = Record {
            unix_nanos: 2,
            started_unix_nanos: 1,
            cycle: 1,
            kind: "Bootstrap".into(),
            machine: "m".into(),
            cluster: "c".into(),
            fingerprint: String::new(),
            reason: "phase1".into(),
            grace_seconds: 0,
            outcome: "success".into(),
        };
        let soon = Duration::from_millis(10);
        let file = tempfile::NamedTempFile::new().unwrap();
        let audit = Audit::open(Some(file.path())).unwrap();
        audit.write(&record);
        assert!(tokio::time::timeout(soon, audit.lost()).await.is_err(), "it was written");
        let full = Audit::open(Some(Path::new("/dev/full"))).unwrap();
        full.write(&record);
        full.lost().await;
    }
}
