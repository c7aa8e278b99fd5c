//! Paths of the files of a run.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::lines::Error;

/// A run directory.
#[derive(Clone, Debug)]
pub struct RunDir {
    root: PathBuf,
}

#[allow(missing_docs)] // Each is the path of the file it is named after.
impl RunDir {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the run's id, which is the directory's name.
    pub fn run_id(&self) -> String {
        self.root.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
    }

    pub fn profile(&self) -> PathBuf {
        self.root.join("profile.yaml")
    }

    pub fn ranges(&self) -> PathBuf {
        self.root.join("ranges.yaml")
    }

    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    pub fn host(&self) -> PathBuf {
        self.root.join("host.json")
    }

    pub fn tools(&self) -> PathBuf {
        self.root.join("tools.json")
    }

    pub fn inventory(&self) -> PathBuf {
        self.root.join("inventory.json")
    }

    /// Space that is reserved for the last event, in case the disk is full by then.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve.tmp")
    }

    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    pub fn pods(&self) -> PathBuf {
        self.root.join("pods.jsonl.gz")
    }

    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes.jsonl")
    }

    pub fn processes(&self) -> PathBuf {
        self.root.join("processes.jsonl")
    }

    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    pub fn summary(&self) -> PathBuf {
        self.root.join("summary.json")
    }

    pub fn summary_md(&self) -> PathBuf {
        self.root.join("summary.md")
    }

    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Roll-ups that the operator of `cluster` queued.
    pub fn rollups(&self, cluster: &str) -> PathBuf {
        self.root.join(format!("rollups-{cluster}.jsonl"))
    }

    /// What the load-driver of `cluster` did.
    pub fn load_events(&self, cluster: &str) -> PathBuf {
        self.root.join(format!("load-{cluster}.jsonl"))
    }

    /// The shard's record of the outcome of each action.
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit.jsonl")
    }

    /// Reads a whole JSON file.
    ///
    /// # Errors
    /// When it is missing or cannot be parsed.
    pub fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Result<T, Error> {
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        serde_json::from_slice(&text).map_err(|source| Error::Parse {
            path: path.to_owned(),
            line: 0,
            source,
        })
    }

    /// Writes a whole JSON file under a temporary name and renames it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|source| Error::Parse {
            path: path.to_owned(),
            line: 0,
            source,
        })?;
        text.push(b'\n');
        self.write_text(path, &text)
    }

    /// Writes a whole file under a temporary name and renames it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_text(&self, path: &Path, text: &[u8]) -> Result<(), Error> {
        let half = path.with_extension("tmp");
        std::fs::write(&half, text)
            .and_then(|()| std::fs::rename(&half, path))
            .map_err(|e| Error::io(path, e))
    }
}
