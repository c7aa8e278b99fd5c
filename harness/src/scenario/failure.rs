//! Why a run ended early.

use harness_model::record::event::End;
use harness_supervisor::protocol::ErrorKind;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The machine or a component failed before anything was measured.
    #[error("{0}")]
    Environment(String),
    /// What another run has left in an existing cluster does not go away.
    #[error("{0}")]
    LeftBehind(String),
    /// The measurement broke off.
    #[error("{0}")]
    Broken(String),
    /// A phase missed its goal: the run failed.
    #[error("{0}")]
    GoalMissed(String),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Returns the end that is written to the events.
    pub fn end(&self) -> End {
        match self {
            Self::Interrupted => End::Interrupted,
            Self::GoalMissed(_) => End::GoalMissed,
            Self::Usage(_) | Self::Environment(_) | Self::LeftBehind(_) | Self::Broken(_) => End::Aborted,
        }
    }

    /// Wraps a failure of the measurement, with its whole chain of causes.
    pub fn broken(error: anyhow::Error) -> Self {
        Self::Broken(format!("{error:#}"))
    }
}

impl From<harness_supervisor::Error> for Failure {
    fn from(error: harness_supervisor::Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            ErrorKind::Usage => Self::Usage(message),
            ErrorKind::Environment => Self::Environment(message),
            ErrorKind::LeftBehind => Self::LeftBehind(message),
            ErrorKind::Internal => Self::Broken(message),
        }
    }
}

impl From<harness_model::record::Error> for Failure {
    fn from(error: harness_model::record::Error) -> Self {
        Self::Environment(error.to_string())
    }
}
