//! Creates control planes: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok, as child processes
//! on loopback (`local`), in kind clusters (`kind`), or in existing clusters (`existing`; only kwok is ours there). No
//! other part of the project knows how.
//!
//! Start order: etcd on a copy of the pre-seeded data (`local::seed`), the apiserver, then the others at once;
//! ready means verified by use (`verify`).

pub mod certs;
pub mod existing;
pub mod http;
pub mod kind;
pub mod local;
pub mod spec;

mod access;
mod choice;
mod flags;
mod kwok;
mod manifests;
mod proof;
mod steps;
mod verify;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use choice::Choice;

use existing::{Existing, HoldStatus};
use harness_model::components;
use harness_model::provider::ProviderName;
use harness_model::record::event::LeftBehind;
pub use harness_processes::Error;
use harness_processes::{Key, ProcessInfo, Table, Verb};
use kind::Kind;
use local::Local;
use spec::{Lease, LeaseSpec};

/// Records who lists and watches Pods, and for how long: a client that relists again and again costs more than any
/// other.
const AUDIT_POLICY: &str = include_str!("../../../fixtures/controlplane/audit-policy.yaml");

fn io<'a>(verb: &'a str, path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    move |error| Error::Environment(format!("{verb} {}: {error}", path.display()))
}

/// The paths that a provider uses.
#[derive(Clone, Debug)]
pub struct Places {
    /// Directory of the control-plane programs that the provider starts.
    pub tools: PathBuf,
    /// The repository's `fixtures`.
    pub fixtures: PathBuf,
    /// Scratch directory of the run.
    pub scratch: PathBuf,
    /// Directory of the pre-seeded etcd data, shared by all runs.
    pub seeds: PathBuf,
}

/// Creates control planes in one of several ways, with the same result.
pub enum Provider {
    /// Child processes of the supervisor.
    Local(Arc<Local>),
    /// kind clusters.
    Kind(Kind),
    /// Existing clusters.
    Existing(Existing),
}

impl Provider {
    /// Creates the chosen provider, which starts processes through `table`.
    ///
    /// # Errors
    /// When a program that it starts is missing.
    pub fn new(places: Places, table: Table, choice: Choice) -> Result<Self, Error> {
        refuse_if_lacking(&places.tools, choice.programs())?;
        let local = Arc::new(Local::new(places, table));
        Ok(match choice {
            Choice::Local => Self::Local(local),
            Choice::Kind(settings) => Self::Kind(Kind::new(settings, local)),
            Choice::Existing(settings) => Self::Existing(Existing::new(settings, local)),
        })
    }

    /// Returns the name that `--provider` takes.
    pub fn name(&self) -> ProviderName {
        match self {
            Self::Local(_) => ProviderName::Local,
            Self::Kind(_) => ProviderName::Kind,
            Self::Existing(_) => ProviderName::Existing,
        }
    }

    /// Starts the control planes of a lease in parallel, with logs under `logs/<cluster>/`. After a failure, what was
    /// started keeps running: the caller releases the lease.
    ///
    /// # Errors
    /// When the spec is wrong, or a control plane did not become ready; the message has the failing
    /// component's last log lines.
    pub async fn start(&self, id: &str, spec: &LeaseSpec, logs: &Path) -> Result<Lease, Error> {
        match self {
            Self::Local(local) => local.start(id, spec, logs).await,
            Self::Kind(kind) => kind.start(id, spec, logs).await,
            Self::Existing(existing) => existing.start(id, spec, logs).await,
        }
    }

    /// Releases everything that is not a child process, for one lease or for all. Returns what remains in existing
    /// clusters.
    pub async fn release(&self, lease: Option<&str>) -> Vec<LeftBehind> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Kind(kind) => {
                kind.release(lease).await;
                Vec::new()
            }
            Self::Existing(existing) => existing.release(lease).await,
        }
    }

    /// Returns the state of the records in existing clusters.
    pub fn holds(&self) -> Vec<HoldStatus> {
        match self {
            Self::Local(_) | Self::Kind(_) => Vec::new(),
            Self::Existing(existing) => existing.holds(),
        }
    }

    /// Returns the components that are not child processes.
    pub fn processes(&self) -> Vec<ProcessInfo> {
        match self {
            Self::Local(_) | Self::Existing(_) => Vec::new(),
            Self::Kind(kind) => kind.processes(),
        }
    }

    /// Acts on a component. Returns `None` if it is a child process, which the caller has to act on.
    ///
    /// # Errors
    /// When it is in the wrong state, does not do as requested, or is not ours.
    pub async fn act(&self, key: &Key, verb: Verb) -> Result<Option<ProcessInfo>, Error> {
        match self {
            Self::Kind(kind) if kind.knows(key) => kind.act(key, verb).await.map(Some),
            Self::Kind(_) | Self::Local(_) => Ok(None),
            Self::Existing(existing) => existing.refuse_others(key).map(|()| None),
        }
    }

    /// Copies the logs of all components to the paths given in `ProcessInfo`.
    pub async fn fetch_logs(&self) {
        if let Self::Kind(kind) = self {
            kind.fetch_logs(None).await;
        }
    }

    /// Waits until a restarted child process is healthy again; does not wait if the process is not a component.
    ///
    /// # Errors
    /// When it does not become healthy in time.
    pub async fn healthy_again(&self, key: &Key) -> Result<(), Error> {
        match self {
            Self::Local(local) => local.healthy_again(key).await,
            Self::Kind(_) | Self::Existing(_) => Ok(()),
        }
    }

    /// Returns how much memory of this machine the control planes of a lease may use, in MiB.
    pub fn memory_mib(&self, spec: &LeaseSpec) -> u64 {
        match self {
            Self::Local(_) | Self::Kind(_) => {
                spec.clusters.iter().map(|c| flags::memory_mib(&c.control_plane)).sum()
            }
            Self::Existing(_) => spec.clusters.len() as u64 * existing::KWOK_MIB,
        }
    }
}

fn refuse_if_lacking(tools: &Path, programs: &[&str]) -> Result<(), Error> {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| !tools.join(name).is_file()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (dir, missing) = (tools.display(), missing.join(", "));
    Err(Error::Environment(format!("{dir} lacks {missing}; `cargo xtask tools` gets what is missing")))
}

fn check(spec: &LeaseSpec) -> Result<(), Error> {
    if spec.clusters.is_empty() {
        return Err(Error::Usage("a lease needs at least one cluster".to_owned()));
    }
    let mut names = BTreeSet::new();
    for cluster in &spec.clusters {
        let name = &cluster.name;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if name.is_empty() || name.len() > 40 || !plain {
            return Err(Error::Usage(format!("cluster name {name:?}: use 1 to 40 letters, digits and '-'")));
        }
        if !names.insert(name) {
            return Err(Error::Usage(format!("two clusters are named {name}")));
        }
        let known = components::ALL;
        if let Some(unknown) = cluster.extra_flags.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(Error::Usage(format!("extraFlags for {unknown}: known are {}", known.join(", "))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_needs_the_programs_that_it_starts_and_no_others() {
        let kind = kind::Settings {
            kind: PathBuf::new(),
            node_image: String::new(),
            etcd_tag: String::new(),
            kwok_image: String::new(),
        };
        let existing = existing::Settings { kubeconfigs: Vec::new(), cleanup_patience_s: None };
        for choice in [Choice::Local, Choice::Kind(kind), Choice::Existing(existing)] {
            let dir = tempfile::tempdir().unwrap();
            for program in choice.programs() {
                let told = refuse_if_lacking(dir.path(), choice.programs()).unwrap_err().to_string();
                assert!(told.contains(program), "{told}");
                std::fs::write(dir.path().join(program), "").unwrap();
            }
            refuse_if_lacking(dir.path(), choice.programs()).unwrap();
        }
        assert_eq!(Choice::Local.programs().len(), components::ALL.len());
        assert!(components::ALL.iter().all(|name| Choice::Local.programs().contains(name)));
    }

    #[test]
    fn wrong_specs_are_refused() {
        assert!(check(&LeaseSpec::of(3)).is_ok());
        assert!(check(&LeaseSpec::of(0)).is_err());
        let mut twice = LeaseSpec::of(2);
        twice.clusters[1].name = "kwok-cluster-0".to_owned();
        assert!(check(&twice).unwrap_err().to_string().contains("two clusters"));
        twice.clusters[1].name = "../x".to_owned();
        assert!(check(&twice).unwrap_err().to_string().contains("letters"));
    }
}
