//! What every small program of the harness and of the reference fleet needs: flags, a client with a
//! measured rate limit, metrics on loopback, a ready file, orderly shutdown, polling and watching.

pub mod apiserver;
pub mod args;
pub mod client;
pub mod log;
pub mod metrics;
pub mod poll;
pub mod program;
pub mod queue;
pub mod ready;
pub mod shutdown;
pub mod slim;
pub mod watch;

pub use crate::args::ComponentArgs;
pub use crate::program::Program;
