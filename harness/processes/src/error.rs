//! Why a request to a run's processes or control planes failed.

use std::fmt::Display;

use harness_model::summary::LEFT_BEHIND;
use serde::{Deserialize, Serialize};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong.
    #[error("{0}")]
    Usage(String),
    /// The machine lacks something, or a component failed.
    #[error("{0}")]
    Environment(String),
    /// Objects of a run remain in an existing cluster; the message lists them, with the next command.
    #[error("{0}")]
    LeftBehind(String),
    /// A component failed; its log has more details.
    #[error("{message}; {log}")]
    Component {
        /// Which component, and what was observed.
        message: String,
        /// The end of its log.
        log: String,
    },
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

/// Which side is at fault for a failure; decides the exit code of programs that end because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The request is wrong.
    Usage,
    /// The machine lacks something, or a component failed.
    Environment,
    /// Objects of a run remain in an existing cluster.
    #[serde(rename = "left-behind")]
    LeftBehind,
    /// A bug.
    Internal,
}

impl Error {
    /// Returns which side is at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) => ErrorKind::Usage,
            Self::Environment(_) | Self::Component { .. } => ErrorKind::Environment,
            Self::LeftBehind(_) => ErrorKind::LeftBehind,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Returns the project's exit code for a program that ends because of this error: 2 usage, 3 environment, 5 objects
    /// of a run remain in an existing cluster, 1 a bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Environment(_) | Self::Component { .. } => 3,
            Self::LeftBehind(_) => LEFT_BEHIND,
            Self::Internal(_) => 1,
        }
    }

    /// Creates the error for a bug.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }

    /// Adds the end of a component's log, if the error is about the environment and has no log yet.
    pub fn with_log(self, component: &impl Display, log: impl FnOnce() -> String) -> Self {
        match self {
            Self::Environment(message) => {
                Self::Component { message: format!("{component}: {message}"), log: log() }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_added_once_whatever_the_words_are() {
        let log = || "last lines of kwok.log:\nboom".to_owned();
        let quoting = Error::Environment("the config has a comment on the last lines of it".to_owned());
        let told = quoting.with_log(&"kwok", log);
        let words = "kwok: the config has a comment on the last lines of it; last lines of kwok.log:\nboom";
        assert_eq!((told.to_string().as_str(), told.kind()), (words, ErrorKind::Environment));
        let again = told.with_log(&"kwok", || unreachable!("it has one"));
        assert_eq!(again.to_string(), words);
        let usage = Error::Usage("no such cluster".to_owned()).with_log(&"kwok", || unreachable!());
        assert_eq!(usage.to_string(), "no such cluster");
    }
}
