//! The supervisor: one process that owns every other process of a run, and leaves nothing behind.
//!
//! - Children carry a parent-death signal (`e2e-shim`), so they end with the supervisor, however it ends.
//! - The supervisor holds a pidfd on its owner and ends with it.
//! - The janitor (`e2e-janitor`) holds a pidfd on the supervisor and removes the scratch directory.

pub mod birth;
pub mod client;
pub mod found;
pub mod human;
pub mod process;
pub mod protocol;
pub mod server;
pub mod starter;

mod batch;
mod budget;
mod in_engine;
mod leases;
mod scratch;

pub use client::Client;
pub use in_engine::IN_ENGINE;

use crate::summary::LEFT_BEHIND;
use protocol::ErrorKind;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong.
    #[error("{0}")]
    Usage(String),
    /// The machine lacks something, or a component failed.
    #[error("{0}")]
    Environment(String),
    /// Objects of a run stay in a cluster of somebody else's; the message lists them, with the next command.
    #[error("{0}")]
    LeftBehind(String),
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) => ErrorKind::Usage,
            Self::Environment(_) => ErrorKind::Environment,
            Self::LeftBehind(_) => ErrorKind::LeftBehind,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// The project's exit code for a program that ends because of this: 2 usage, 3 environment, 5 objects of a
    /// run stay in a cluster of somebody else's, 1 a bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Environment(_) => 3,
            Self::LeftBehind(_) => LEFT_BEHIND,
            Self::Internal(_) => 1,
        }
    }
}

pub(crate) fn internal(message: impl Into<String>) -> Error {
    Error::Internal(message.into())
}
