//! Finds, downloads or builds the pinned programs that the framework runs: the six of a control plane, cargo-nextest,
//! kind with the image of its nodes, and kwokctl.
//!
//! Pins live in `fixtures/controlplane/` and are compiled in, so that a binary and its pins cannot disagree.
//! Look-up order: an explicit directory, the cache, official release artefacts, then a build from source. An artefact
//! must have the digest that is pinned, else the one in the cache, else the one that its publisher serves over TLS,
//! which the cache then keeps; where CI is set only pinned ones count. Whatever ends up in the cache is recorded with its sha256 and checked again each time it is used.
//! This crate knows neither Kubernetes clients nor an async runtime, so that `xtask` stays quick to build.

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

/// How and where tools are looked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory that holds all six programs; nothing else is looked at (`--tools-dir`, `E2E_TOOLS_DIR`).
    pub tools_dir: Option<PathBuf>,
    /// Root of the cache; `None` means `~/.cache/fleet-e2e` (`E2E_CACHE_DIR`).
    pub cache_dir: Option<PathBuf>,
    /// Open no socket beyond loopback, neither here nor in the programs started from here.
    pub offline: bool,
    /// Accept release artefacts only by a digest that is pinned: neither by one in the cache nor by the publisher's
    /// word (`CI`, if it is neither empty nor `false`).
    pub pinned_only: bool,
    /// Serves the release artefacts in place of their own hosts, under `<mirror>/<host>/<path>` (`E2E_MIRROR`).
    pub mirror: Option<String>,
    /// Where progress is shown.
    pub progress: ProgressMode,
}

impl Options {
    /// Options from `E2E_TOOLS_DIR`, `E2E_CACHE_DIR`, `E2E_MIRROR` and `CI`; an empty value counts as unset.
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

    /// These options for another program: an explicit directory holds those of a control plane only.
    pub(crate) fn beside_the_set(&self) -> Options {
        Options { tools_dir: None, ..self.clone() }
    }
}
