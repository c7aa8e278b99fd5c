//! The local provider: no container engine, no root rights, offline.

pub mod commands;
pub mod ports;

pub(super) mod seed;

mod plane;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;

use super::spec::{Lease, LeaseSpec};
use super::{Error, Places, check};
use harness_processes::{Key, Table};

/// The local provider: control planes as child processes.
pub struct Local {
    pub(super) places: Places,
    pub(super) table: Table,
    ports: ports::Ports,
}

impl Local {
    /// Creates a provider that starts processes through `table`.
    pub fn new(places: Places, table: Table) -> Self {
        Self { places, table, ports: ports::Ports::default() }
    }

    /// Same as [`super::Provider::start`].
    ///
    /// # Errors
    /// Same as there.
    pub async fn start(self: &Arc<Self>, id: &str, spec: &LeaseSpec, logs: &Path) -> Result<Lease, Error> {
        check(spec)?;
        for cluster in &spec.clusters {
            cluster.effective_scheduler_config(&self.places.fixtures)?;
        }
        let seed = self.seed().await?;
        let starts = spec
            .clusters
            .iter()
            .map(|cluster| self.start_plane(id, cluster, &seed, logs.join(&cluster.name)));
        let clusters = join_all(starts).await.into_iter().collect::<Result<Vec<_>, Error>>()?;
        Ok(Lease { id: id.to_owned(), clusters })
    }

    /// Returns the pre-seeded etcd data. It is built in a separate task, which continues if the caller gives up, so
    /// that the next lease finds it done.
    pub(super) async fn seed(self: &Arc<Self>) -> Result<PathBuf, Error> {
        let local = self.clone();
        let seeding = tokio::spawn(async move { local.ensure_seed().await });
        seeding.await.map_err(|e| Error::Internal(format!("building the seed: {e}")))?
    }

    /// Adds a component's last log lines to an error that lacks them.
    fn with_tail<T>(&self, key: &Key, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| error.with_log(key, || self.table.tail(key)))
    }
}
