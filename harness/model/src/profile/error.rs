//! What can be wrong with a profile or a catalog.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, named by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, as in `--set`: `shard.cycleInterval`.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl Problem {
    /// Creates a problem with a key.
    pub fn new(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.key, self.message)
        }
    }
}

/// Why a profile cannot be used. All of these are usage errors.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No such file.
    #[error("no {what} `{name}`; {hint}")]
    NotFound {
        /// Profile or catalog.
        what: &'static str,
        /// As given.
        name: String,
        /// The nearest known name, or all known names.
        hint: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{path} is not valid YAML: {message}")]
    Yaml {
        /// Which file.
        path: PathBuf,
        /// The parser's message, with line and column.
        message: String,
    },
    /// An override is not of the form `key=value`, or leads nowhere.
    #[error("--set {given}: {message}")]
    Override {
        /// As given.
        given: String,
        /// What is wrong.
        message: String,
    },
    /// Values that make no sense.
    #[error("{path}: {}", list(problems))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many.iter().map(|p| format!("\n  {p}")).collect();
            format!("{} problems{}", many.len(), lines.concat())
        }
    }
}
