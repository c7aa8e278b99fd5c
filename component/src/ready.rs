//! The ready file: how a program tells its starter that it is up, and where it listens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Content of a ready file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The program's process id.
    pub pid: u32,
    /// What it listens on, by purpose (`metrics`, `grpc`).
    pub addresses: BTreeMap<String, SocketAddr>,
}

/// Writes the ready file, if one is asked for, by rename: a reader never sees half of it.
///
/// # Errors
/// When the file cannot be written.
pub fn announce(path: Option<&Path>, addresses: &[(&str, SocketAddr)]) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let ready = Ready {
        pid: std::process::id(),
        addresses: addresses.iter().map(|(name, addr)| ((*name).to_owned(), *addr)).collect(),
    };
    let half = path.with_extension("tmp");
    std::fs::write(&half, serde_json::to_vec(&ready)?)
        .with_context(|| format!("writing {}", half.display()))?;
    std::fs::rename(&half, path).with_context(|| format!("writing {}", path.display()))
}
