//! The processes of a run: started, watched, signalled, distinguished from others with the same ids, never lost.
//!
//! The lowest layer of the control planes: both the crate that starts etcd or kwok (`harness-planes`) and the one that
//! owns the run (`harness-supervisor`) build on it.

pub mod birth;

mod error;
mod in_engine;
mod info;
mod table;

pub use error::{Error, ErrorKind};
pub use in_engine::IN_ENGINE;
pub use info::{ProcessInfo, ProcessState, Verb};
pub use table::{CLIENT_NICE, Key, PATH, ProcessSpec, Settings, Table, tail};
