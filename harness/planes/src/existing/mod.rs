//! The existing provider: clusters that are not ours, given by kubeconfig, that carry our label ([`ADOPTED`]).
//!
//! Everything that a run needs is installed there and marked, kwok runs with the other programs of the run, and
//! everything is removed at the end (`sweep`). etcd, kube-apiserver, kube-controller-manager and kube-scheduler are not
//! ours: they are read, as far as possible (`servers`), and never acted on.

mod adopt;
mod cleanup;
#[cfg(test)]
mod fake;
mod foreign;
mod given;
mod guard;
mod hold;
mod left;
mod loan;
mod owner;
mod policy;
mod proxy;
mod record;
mod servers;
mod settings;
mod shape;
mod sweep;
mod tidy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::future::{join_all, try_join, try_join_all};
use kube::Client;
use kube::api::ListParams;

use super::access::{Servers, describe};
use super::local::Local;
use super::proof::{Clients, Fate, Proof, Whose, component_kubeconfig, connect};
use super::spec::{Cluster, ClusterSpec, Lease, LeaseSpec};
use super::steps::{Steps, brief};
use super::{Error, check, flags, io, kwok, manifests};
pub use adopt::{Adopt, adopt};
use given::Given;
use harness_model::components::{KCM, KWOK};
use harness_processes::{ErrorKind, Key, ProcessSpec};
use hold::Hold;
pub use loan::HoldStatus;
pub use settings::Settings;
pub use tidy::{CLEANUP_LOG, left_in, sweep_scratch};

/// Label of the Namespace kube-system: the owner consents to runs.
pub const ADOPTED: &str = "e2e.bigfleet.lucy.sh/adopted";
/// Label of what a run installs, and key of its taint on real Nodes; the value names the run.
pub const RUN: &str = "e2e.bigfleet.lucy.sh/run";

/// Memory that kwok may use under load, in MiB.
pub(super) const KWOK_MIB: u64 = 256;
/// The node-lifecycle-controller, which local control planes lack, gives up a Node after 50 s; kwok renews after a
/// quarter of this.
const NODE_LEASE_SECONDS: u32 = 40;

/// A cluster on loan (`loan`).
struct Taken {
    lease: String,
    cluster: String,
    dir: PathBuf,
    /// Whether our record, and more, may have been written to it.
    touched: bool,
    /// Our record in it, once it is written.
    hold: Option<Hold>,
}

/// The provider.
pub struct Existing {
    settings: Settings,
    /// Paths and the process table.
    local: Arc<Local>,
    /// The mark of everything that belongs to this run.
    mark: String,
    /// Clusters in use, by index of the given kubeconfig.
    taken: Mutex<BTreeMap<usize, Taken>>,
    /// Held while clusters are given back: the end of a run waits for a release that is under way.
    releasing: tokio::sync::Mutex<()>,
}

/// A cluster that was inspected.
struct Found {
    index: usize,
    given: Given,
    client: Client,
    uid: String,
    state: record::State,
}

impl Existing {
    /// Creates a provider; nothing is touched yet.
    pub fn new(settings: Settings, local: Arc<Local>) -> Self {
        let mark = mark(&local.places.scratch);
        Self { settings, local, mark, taken: Mutex::default(), releasing: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Taken>> {
        self.taken.lock().expect("the list of clusters must not be poisoned")
    }

    /// Takes clusters for a lease. All of them are inspected before any is written to.
    ///
    /// # Errors
    /// When there are too few clusters, or one may not be used or does not become ready.
    pub(super) async fn start(&self, id: &str, spec: &LeaseSpec, logs: &Path) -> Result<Lease, Error> {
        check(spec)?;
        for cluster in &spec.clusters {
            guard::refuse_what_is_not_ours_to_set(cluster)?;
            cluster.effective_scheduler_config(&self.local.places.fixtures)?;
        }
        let chosen = self.take(id, spec)?;
        let found = try_join_all(chosen.iter().map(|(index, dir)| self.look(*index, dir, logs))).await?;
        refuse_twins(&found)?;
        let starts = found.iter().zip(&spec.clusters).map(|(found, cluster)| {
            let dir = self.local.places.scratch.join(id).join(&cluster.name);
            self.start_cluster(id, cluster, found, dir, logs.join(&cluster.name))
        });
        let clusters = join_all(starts).await.into_iter().collect::<Result<Vec<_>, Error>>()?;
        Ok(Lease { id: id.to_owned(), clusters })
    }

    /// Chooses the first free clusters. Returns their indices and directories.
    fn take(&self, id: &str, spec: &LeaseSpec) -> Result<Vec<(usize, PathBuf)>, Error> {
        let mut taken = self.lock();
        let given = self.settings.kubeconfigs.len();
        let free: Vec<usize> = (0..given).filter(|index| !taken.contains_key(index)).collect();
        let wanted = spec.clusters.len();
        if free.len() < wanted {
            return Err(Error::Usage(format!(
                "{wanted} clusters are asked for, but of the {given} given with --kubeconfig, only {} are free",
                free.len()
            )));
        }
        let mut chosen = Vec::new();
        for (index, cluster) in free.into_iter().zip(&spec.clusters) {
            let dir = self.local.places.scratch.join(id).join(&cluster.name);
            chosen.push((index, dir.clone()));
            let (lease, cluster) = (id.to_owned(), cluster.name.clone());
            taken.insert(index, Taken { lease, cluster, dir, touched: false, hold: None });
        }
        Ok(chosen)
    }

    /// Inspects a cluster without writing to it.
    async fn look(&self, index: usize, dir: &Path, logs: &Path) -> Result<Found, Error> {
        let given = Given::read(&self.settings.kubeconfigs[index], None)?;
        let client = given.connect(dir).await?;
        let told = |error: Error| at(&given, &error);
        let (uid, adopted) = guard::identity(&client).await.map_err(told)?;
        if !adopted {
            let advice = format!("cargo xtask adopt --kubeconfig {}", given.path.display());
            let refused = Error::Usage(format!(
                "it does not carry our label; `{advice}` shows what a run does to it, and sets the label"
            ));
            return Err(at(&given, &refused));
        }
        if let Some(who) = given.acts_for() {
            let acts = guard::may_act_for_ours(&given.connect_as_identity(dir).await?, who).await;
            acts.map_err(told)?;
        }
        let marker = self.marker(&given, dir, logs);
        let state = record::look(&client, &|text| marker.say(text)).await.map_err(told)?;
        match &state {
            record::State::InUse(by) => {
                return Err(at(&given, &Error::Environment(format!("it is in use by {by}"))));
            }
            // The objects that this run left carry our marks, and are removed first.
            record::State::Over(_) | record::State::Unclear(_) => {}
            record::State::Free => self.refuse_obstacles(&given, &client).await?,
        }
        Ok(Found { index, given, client, uid, state })
    }

    async fn refuse_obstacles(&self, given: &Given, client: &Client) -> Result<(), Error> {
        let obstacles = guard::obstacles(client, &self.local.places.fixtures).await;
        let obstacles = obstacles.map_err(|error| at(given, &error))?;
        if obstacles.is_empty() {
            return Ok(());
        }
        Err(at(given, &Error::Usage(format!("it cannot be used: {}", obstacles.join("; ")))))
    }

    async fn start_cluster(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        found: &Found,
        dir: PathBuf,
        logs: PathBuf,
    ) -> Result<Cluster, Error> {
        let made = self.make(lease, spec, found, &dir, &logs).await;
        made.map_err(|error| at(&found.given, &error))
    }

    async fn make(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        found: &Found,
        dir: &Path,
        logs: &Path,
    ) -> Result<Cluster, Error> {
        let (client, steps) = (&found.client, Steps::new());
        std::fs::create_dir_all(logs).map_err(io("creating", logs))?;
        steps.time("claim", self.claim(lease, spec, found, dir, logs)).await?;
        let selected = ListParams::default().labels(RUN);
        let install = async {
            sweep::taint(client, &self.mark).await?;
            let labels = BTreeMap::from([(RUN.to_owned(), self.mark.clone())]);
            for manifest in manifests::files(&self.local.places.fixtures)? {
                manifests::apply(client, &manifest, &labels).await?;
            }
            manifests::established(client, &selected).await
        };
        steps.time("install", try_join(install, foreign::refuse_kwok(client))).await?;
        found.given.write_identities(dir)?;
        let (servers, clients, mut notes) = steps.time("servers", self.reach(found, dir)).await?;
        self.launch_kwok(lease, spec, dir, logs)?;
        let asked = spec.effective_scheduler_config(&self.local.places.fixtures)?;
        let proof = Proof {
            spec,
            clients: &clients,
            dir,
            fixtures: &self.local.places.fixtures,
            scheduler: Some(&asked),
            whose: Whose::Theirs,
            fate: &OnlyKwok { existing: self, lease, cluster: &spec.name },
        };
        let proven = proof.all(&steps).await?;
        notes.extend(proven.notes);
        notes.extend(found.given.expires.map(|end| {
            format!("the token of its kubeconfig expires at {end}; a run that lasts longer is invalid, and cannot clean up")
        }));
        notes.iter().for_each(|note| tracing::warn!(cluster = spec.name, note));
        let steps = steps.finish();
        tracing::info!(cluster = spec.name, steps = ?brief(&steps), "existing cluster verified ready");
        Ok(Cluster { notes, ..describe(spec, dir, logs, &servers, proven.read_back, steps) })
    }

    /// Finds KCM and scheduler, and notes what cannot be read.
    async fn reach(&self, found: &Found, dir: &Path) -> Result<(Servers, Clients, Vec<String>), Error> {
        let mut servers = Servers { apiserver: found.given.server().to_owned(), kcm: None, scheduler: None };
        let mut clients = Clients { apiserver: found.client.clone(), kcm: None, scheduler: None };
        let mut notes = Vec::new();
        for (component, path) in servers::find(&found.client).await {
            let path = match path {
                Ok(path) => path,
                Err(why) => {
                    notes.push(servers::consequence(component, &why));
                    continue;
                }
            };
            let file = component_kubeconfig(dir, component);
            let server = Some(found.given.write_below(&path, &file)?);
            let client = Some(connect(&file).await?);
            match component {
                KCM => (servers.kcm, clients.kcm) = (server, client),
                _ => (servers.scheduler, clients.scheduler) = (server, client),
            }
        }
        Ok((servers, clients, notes))
    }

    fn launch_kwok(&self, lease: &str, spec: &ClusterSpec, dir: &Path, logs: &Path) -> Result<(), Error> {
        let places = &self.local.places;
        let config = kwok::configuration(spec, &places.fixtures, dir, Some(NODE_LEASE_SECONDS))?;
        let mut argv = vec![places.tools.join(KWOK).display().to_string()];
        argv.extend(kwok::flags(&config, &dir.join(format!("{KWOK}.kubeconfig"))));
        let process = ProcessSpec {
            argv,
            env: flags::environment(KWOK, spec).into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            nice: 0,
            log_file: logs.join(format!("{KWOK}.log")),
            may_finish: false,
            ready_file: None,
        };
        self.local.table.start(&Key::of_cluster(lease, &spec.name, KWOK), process).map(drop)
    }

    /// Refuses components that are not ours.
    ///
    /// # Errors
    /// When `key` names one of them.
    pub(super) fn refuse_others(&self, key: &Key) -> Result<(), Error> {
        let of_lease =
            |taken: &Taken| taken.lease == key.lease && Some(&taken.cluster) == key.cluster.as_ref();
        let theirs = harness_model::components::ALL.contains(&key.name.as_str()) && key.name != KWOK;
        if theirs && self.lock().values().any(of_lease) {
            return Err(Error::Usage(format!(
                "{key} belongs to an existing cluster: it is read but never acted on; only kwok is ours there"
            )));
        }
        Ok(())
    }
}

/// Returns the mark of everything in a run: the name of its scratch directory (`e2e-<8 hex digits>`).
fn mark(scratch: &Path) -> String {
    scratch.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Adds to the error the kubeconfig of the cluster that it is about.
fn at(given: &Given, error: &Error) -> Error {
    let text = format!("the cluster of {} ({}): {error}", given.path.display(), given.server());
    match error.kind() {
        ErrorKind::Usage => Error::Usage(text),
        ErrorKind::Environment => Error::Environment(text),
        ErrorKind::LeftBehind => Error::LeftBehind(text),
        ErrorKind::Internal => Error::Internal(text),
    }
}

fn refuse_twins(found: &[Found]) -> Result<(), Error> {
    for (n, one) in found.iter().enumerate() {
        if let Some(twin) = found[..n].iter().find(|other| other.uid == one.uid) {
            let (one, twin) = (one.given.path.display(), twin.given.path.display());
            return Err(Error::Usage(format!("{twin} and {one} are of the same cluster")));
        }
    }
    Ok(())
}

/// Reports the state of the only component that is ours.
struct OnlyKwok<'a> {
    existing: &'a Existing,
    lease: &'a str,
    cluster: &'a str,
}

impl Fate for OnlyKwok<'_> {
    fn ended(&self, component: &str) -> Option<String> {
        self.existing.local.table.ended(&Key::of_cluster(self.lease, self.cluster, component))
    }

    fn explain(&self, component: &str, error: Error) -> Error {
        let key = Key::of_cluster(self.lease, self.cluster, component);
        match error {
            error if component == KWOK => error.with_log(&component, || self.existing.local.table.tail(&key)),
            Error::Environment(message) => Error::Environment(format!(
                "{component}: {message}; docs/existing.md has a configuration that fits"
            )),
            other => other,
        }
    }
}
