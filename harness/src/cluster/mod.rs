//! How a control plane is made: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok as
//! child processes on loopback. Nothing else in the project knows.
//!
//! Start order: etcd on a copy of the pre-seeded data (`seed`), the apiserver, then the others at once;
//! ready means verified by use (`verify`).

pub mod certs;
pub mod commands;
pub mod http;
pub mod ports;
pub mod scheduler;
pub mod spec;

mod kwok;
mod plane;
mod seed;
mod verify;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;

pub use crate::supervisor::Error;
use crate::supervisor::process::{Key, Table};
use commands::{APISERVER, ETCD, KCM, KWOK, SCHEDULER};
use spec::{ClusterSpec, Lease, LeaseSpec};

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Internal(format!("making a certificate: {error}"))
    }
}

fn io<'a>(verb: &'a str, path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    move |error| Error::Environment(format!("{verb} {}: {error}", path.display()))
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Directory of the six binaries.
    pub tools: PathBuf,
    /// The repository's `fixtures`.
    pub fixtures: PathBuf,
    /// Scratch directory of the run.
    pub scratch: PathBuf,
    /// Directory of the pre-seeded etcd data, shared by all runs.
    pub seeds: PathBuf,
}

/// The local provider: control planes as child processes.
pub struct Provider {
    places: Places,
    table: Table,
    ports: ports::Ports,
}

impl Provider {
    /// A provider that starts processes through `table`.
    ///
    /// # Errors
    /// When a binary is missing.
    pub fn new(places: Places, table: Table) -> Result<Self, Error> {
        let missing: Vec<&str> = [ETCD, APISERVER, KCM, SCHEDULER, KWOK]
            .into_iter()
            .filter(|name| !places.tools.join(name).is_file())
            .collect();
        if !missing.is_empty() {
            return Err(Error::Environment(format!(
                "{} lacks {}; run `cargo xtask doctor`, which gets them",
                places.tools.display(),
                missing.join(", ")
            )));
        }
        Ok(Self { places, table, ports: ports::Ports::default() })
    }

    /// Starts the control planes of a lease in parallel, logs under `logs/<cluster>/`. On failure what was
    /// started keeps running: the caller releases the lease.
    ///
    /// # Errors
    /// When the spec is wrong, or a control plane did not become ready; the message has the failing
    /// component's last log lines.
    pub async fn start(self: &Arc<Self>, id: &str, spec: &LeaseSpec, logs: &Path) -> Result<Lease, Error> {
        check(spec)?;
        for cluster in &spec.clusters {
            self.scheduler_configuration(cluster)?;
        }
        // A task of its own: it goes on when the caller loses interest, and the next lease finds it done.
        let seeding = tokio::spawn({
            let provider = self.clone();
            async move { provider.ensure_seed().await }
        });
        let seed = seeding.await.map_err(|e| Error::Internal(format!("building the seed: {e}")))??;
        let starts = spec
            .clusters
            .iter()
            .map(|cluster| self.start_plane(id, cluster, &seed, logs.join(&cluster.name)));
        let clusters = join_all(starts).await.into_iter().collect::<Result<Vec<_>, Error>>()?;
        Ok(Lease { id: id.to_owned(), clusters })
    }

    fn scheduler_configuration(&self, cluster: &ClusterSpec) -> Result<serde_json::Value, Error> {
        let overlay = &cluster.scheduler_config_overlay;
        scheduler::effective(&cluster.scheduler_config, overlay, &self.places.fixtures)
    }

    /// Adds a component's last log lines to an error that lacks them.
    fn with_tail<T>(&self, key: &Key, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| match error {
            Error::Environment(message) if !message.contains("last lines of") => {
                Error::Environment(format!("{key}: {message}; {}", self.table.tail(key)))
            }
            other => other,
        })
    }
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
        let known = [ETCD, APISERVER, KCM, SCHEDULER, KWOK];
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
