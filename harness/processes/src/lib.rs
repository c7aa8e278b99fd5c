//! The processes of a run: started, watched, signalled, told from others with their ids, never lost.
//!
//! The bottom of the control planes: what starts etcd or kwok (`harness-planes`) and what owns the run
//! (`harness-supervisor`) both stand on this.

pub mod birth;

mod error;
mod in_engine;
mod info;
mod table;

pub use error::{Error, ErrorKind};
pub use in_engine::IN_ENGINE;
pub use info::{ProcessInfo, ProcessState, Verb};
pub use table::{CLIENT_NICE, Key, PATH, ProcessSpec, Settings, Table, tail};
