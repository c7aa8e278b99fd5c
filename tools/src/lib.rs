//! Finds, downloads or builds the pinned programs that the framework runs: the six of a control plane, cargo-nextest,
//! kind with the image of its nodes, and kwokctl.
//!
//! Pins are in `fixtures/controlplane/` and are compiled in, so that a binary and its pins cannot disagree. Sources, in
//! order: an explicit directory, the cache, official release artefacts, then a build from source. An artefact must have
//! the digest that is pinned; otherwise the one in the cache; otherwise the one that its publisher serves over TLS,
//! which the cache then keeps. When CI is set, only pinned digests are accepted. Everything in the cache is recorded
//! with its sha256 and checked each time it is used. This crate uses neither Kubernetes clients nor an async runtime,
//! so that `xtask` builds quickly.

pub mod docker;
pub mod kwokctl;
pub mod nextest;
pub mod node_image;
pub mod pins;
pub mod runc;

mod cache;
mod download;
mod error;
mod gobuild;
mod pinning;
mod progress;
mod provision;
mod published;
mod quiet;
mod releases;
mod toolset;
mod trust;

pub use crate::{
    cache::{cache_root, is_executable},
    error::Error,
    pinning::{Pinned, pin},
    progress::ProgressMode,
    provision::{ensure_pins, ensure_programs, programs_dir, refused_downloads},
    quiet::run_quietly,
    releases::Artifact,
    toolset::{Source, Tool, Toolset},
};

use std::path::PathBuf;

/// How and where tools are searched for.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory that holds all six programs; no other place is searched (`--tools-dir`, `E2E_TOOLS_DIR`).
    pub tools_dir: Option<PathBuf>,
    /// Root of the cache; `None` means `~/.cache/fleet-e2e` (`E2E_CACHE_DIR`).
    pub cache_dir: Option<PathBuf>,
    /// Whether to open no socket beyond loopback, neither here nor in the programs started from here.
    pub offline: bool,
    /// Whether to accept release artefacts only by a pinned digest, and not by one that the cache keeps or the
    /// publisher serves (`CI`, if it is neither empty nor `false`).
    pub pinned_only: bool,
    /// A mirror that serves the release artefacts instead of their own hosts, under `<mirror>/<host>/<path>`
    /// (`E2E_MIRROR`).
    pub mirror: Option<String>,
    /// Where progress is shown.
    pub progress: ProgressMode,
}

impl Options {
    /// Returns the options from `E2E_TOOLS_DIR`, `E2E_CACHE_DIR`, `E2E_MIRROR` and `CI`; an empty value counts as
    /// unset.
    pub fn from_env() -> Options {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Options {
            tools_dir: var("E2E_TOOLS_DIR").map(PathBuf::from),
            cache_dir: var("E2E_CACHE_DIR").map(PathBuf::from),
            offline: false,
            pinned_only: var("CI").is_some_and(|value| value != "false"),
            mirror: var("E2E_MIRROR").and_then(|value| value.into_string().ok()),
            progress: ProgressMode::Auto,
        }
    }

    /// Returns these options for a program outside the set: an explicit directory holds only those of a control plane.
    pub(crate) fn beside_the_set(&self) -> Options {
        Options { tools_dir: None, ..self.clone() }
    }
}
