//! Reads summaries that may be of another version, or not summaries at all.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::summary::{SCHEMA_VERSION, Summary};

/// Why a file is not accepted as a summary. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is not JSON.
    #[error("{} is not JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// It does not state its version.
    #[error("{} has no schema_version; is it the summary of a run?", .0.display())]
    NoVersion(PathBuf),
    /// Its version is not known to this program.
    #[error(
        "{} has schema version {found}, and only {SCHEMA_VERSION} is known here; \
         `cargo xtask judge RUN` writes the summary of a run directory again",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version, as written in the file.
        found: String,
    },
    /// It states a known version but does not match it.
    #[error("{} is not a summary of schema version {SCHEMA_VERSION}: {source}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
}

/// Reads a summary: a file, or the `summary.json` of a run directory.
///
/// # Errors
/// When it cannot be read, or is not a summary of the version known here.
pub fn read(file_or_run: &Path) -> Result<Summary, Error> {
    let path = if file_or_run.is_dir() { file_or_run.join("summary.json") } else { file_or_run.to_owned() };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(Error::Io { path, source }),
    };
    // The version is checked first: keys that another version names differently are not mistakes in the file.
    let document: Value = match serde_json::from_slice(&text) {
        Ok(document) => document,
        Err(source) => return Err(Error::Json { path, source }),
    };
    match document.get("schema_version") {
        None => return Err(Error::NoVersion(path)),
        Some(version) if version.as_u64() != Some(u64::from(SCHEMA_VERSION)) => {
            return Err(Error::Version { path, found: version.to_string() });
        }
        Some(_) => {}
    }
    serde_json::from_value(document).map_err(|source| Error::Shape { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_known_summary_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kept.json");
        assert!(read(&file).unwrap_err().to_string().contains("kept.json cannot be read: "));
        for (text, expected) in [
            ("{", "kept.json is not JSON: "),
            ("{}", "kept.json has no schema_version"),
            ("{\"schema_version\": 1}", "kept.json has schema version 1, and only 2 is known here"),
            ("{\"schema_version\": \"new\"}", "kept.json has schema version \"new\""),
            ("{\"schema_version\": 2}", "kept.json is not a summary of schema version 2: missing field"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
