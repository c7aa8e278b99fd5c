//! What load-driver did and when, as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Appends events to a file; without a file, to the log only.
#[derive(Default)]
pub struct Events {
    file: Option<Mutex<File>>,
    lost: CancellationToken,
}

impl Events {
    /// Opens the file for appending.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening the events file {}", path.display()))?;
        Ok(Self { file: Some(Mutex::new(file)), lost: CancellationToken::new() })
    }

    /// Cancelled once an event could not be written: load-driver then ends, for a run is judged by them.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Records one event: `at_unix_ns`, `kind`, and the keys of `facts`.
    pub fn record(&self, kind: &str, facts: Value) {
        tracing::info!(kind, %facts, "event");
        let Some(file) = &self.file else { return };
        let mut line = json!({"at_unix_ns": jiff::Timestamp::now().as_nanosecond() as i64, "kind": kind});
        if let (Some(line), Value::Object(facts)) = (line.as_object_mut(), facts) {
            line.extend(facts);
        }
        let mut file = file.lock().expect("the events mutex must not be poisoned");
        if let Err(error) = writeln!(file, "{line}") {
            tracing::error!(%error, "an event was not recorded");
            self.lost.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_does_not_fit_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (path, fits) in [(file.path(), true), (Path::new("/dev/full"), false)] {
            let events = Events::open(Some(path)).unwrap();
            events.record("fill_started", json!({"target": 7}));
            assert_eq!(events.lost().is_cancelled(), !fits, "{}", path.display());
        }
    }
}
