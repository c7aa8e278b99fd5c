//! Leases: which processes belong together, and end together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use component::poll::{self, Look};
use component::ready::Ready;
use futures::future::join_all;
use rustix::process::Signal;

use super::Error;
use super::protocol::{ComponentRequest, HoldStatus, ProcessInfo, SpawnRequest, Spawned, Verb};
use harness_model::components;
use harness_model::provider::ProviderName;
use harness_model::record::event::LeftBehind;
use harness_planes::Provider;
use harness_planes::spec::{Lease, LeaseSpec};
use harness_processes::{CLIENT_NICE, Key, ProcessSpec, Table};

/// How long a program may take to end on `stop` and `restart`.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long programs may take to end when their lease is released.
const RELEASE_GRACE: Duration = Duration::from_secs(3);
/// How long `spawn` waits for a ready file by default.
const READY_TIMEOUT_SECONDS: u64 = 60;

struct State {
    memory_mib: u64,
    logs: PathBuf,
    clusters: Vec<String>,
    ready: Option<Lease>,
}

/// The leases of a supervisor.
pub struct Leases {
    table: Table,
    provider: Arc<Provider>,
    logs: PathBuf,
    scratch: PathBuf,
    states: Mutex<BTreeMap<String, State>>,
    counter: Mutex<u32>,
}

impl Leases {
    /// Starts without leases; logs go below `logs`.
    pub fn new(table: Table, provider: Arc<Provider>, logs: PathBuf, scratch: PathBuf) -> Self {
        Self { table, provider, logs, scratch, states: Mutex::default(), counter: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().expect("the list of leases must not be poisoned")
    }

    /// Registers a lease and returns its id. The first lease of a run logs to `logs/<cluster>`, later ones to
    /// `logs/<id>/<cluster>`.
    pub fn open(&self, spec: &LeaseSpec) -> String {
        let mut counter = self.counter.lock().expect("the counter must not be poisoned");
        *counter += 1;
        let id = format!("lease-{counter}");
        let logs = if *counter == 1 { self.logs.clone() } else { self.logs.join(&id) };
        let state = State {
            memory_mib: self.need_mib(spec),
            logs,
            clusters: spec.clusters.iter().map(|c| c.name.clone()).collect(),
            ready: None,
        };
        self.lock().insert(id.clone(), state);
        id
    }

    /// Starts the control planes of an opened lease.
    ///
    /// # Errors
    /// Same as [`Provider::start`].
    pub async fn start(&self, id: &str, spec: &LeaseSpec) -> Result<Lease, Error> {
        let logs = self.known(id)?;
        let lease = self.provider.start(id, spec, &logs).await?;
        if let Some(state) = self.lock().get_mut(id) {
            state.ready = Some(lease.clone());
        }
        Ok(lease)
    }

    /// Returns the log directory of a lease.
    ///
    /// # Errors
    /// When there is no such lease.
    pub fn known(&self, id: &str) -> Result<PathBuf, Error> {
        let states = self.lock();
        let known: Vec<&str> = states.keys().map(String::as_str).collect();
        states
            .get(id)
            .map(|state| state.logs.clone())
            .ok_or_else(|| Error::Usage(format!("no lease {id}; there are: {}", known.join(", "))))
    }

    /// Returns the MiB that a lease may use.
    pub fn need_mib(&self, spec: &LeaseSpec) -> u64 {
        self.provider.memory_mib(spec)
    }

    /// Returns the MiB that all leases may use together.
    pub fn memory_mib(&self) -> u64 {
        self.lock().values().map(|state| state.memory_mib).sum()
    }

    /// Returns the leases whose control planes are ready.
    pub fn ready(&self) -> Vec<Lease> {
        self.lock().values().filter_map(|state| state.ready.clone()).collect()
    }

    /// Releases everything in a lease: programs are stopped by SIGTERM, control planes (throwaway) by SIGKILL. Returns
    /// what remains in existing clusters.
    pub async fn release(&self, id: &str) -> Vec<LeftBehind> {
        let left = self.end(Some(id), RELEASE_GRACE).await;
        self.lock().remove(id);
        let dir = self.scratch.join(id);
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove a lease's scratch directory");
        }
        tracing::info!(lease = id, "released");
        left
    }

    /// Stops every process of the run. Returns what remains in existing clusters.
    pub async fn end_all(&self, grace: Duration) -> Vec<LeftBehind> {
        let left = self.end(None, grace).await;
        self.lock().clear();
        left
    }

    async fn end(&self, lease: Option<&str>, grace: Duration) -> Vec<LeftBehind> {
        let (planes, programs): (Vec<Key>, Vec<Key>) =
            self.table.running(lease).into_iter().partition(|key| self.is_control_plane(key));
        // Programs first: they may have results to write, and without the apiserver they would log errors.
        join_all(programs.iter().map(|key| self.table.end(key, grace))).await;
        for key in &planes {
            // The others must not see one die and complain, so all are killed before any is waited for.
            let _ = self.table.signal(key, Signal::KILL);
        }
        join_all(planes.iter().map(|key| self.table.wait(key, Duration::from_secs(3)))).await;
        self.provider.release(lease).await
    }

    /// Returns the state of the records in existing clusters.
    pub fn holds(&self) -> Vec<HoldStatus> {
        self.provider.holds()
    }

    /// Returns what is known about all processes of the run, wherever they run.
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let mut all = self.table.all();
        all.extend(self.provider.processes());
        all
    }

    /// Copies logs from where they are written to the paths given in `ProcessInfo`.
    pub async fn fetch_logs(&self) {
        self.provider.fetch_logs().await;
    }

    /// Returns how control planes are created here.
    pub fn provider(&self) -> ProviderName {
        self.provider.name()
    }

    fn is_control_plane(&self, key: &Key) -> bool {
        key.cluster.is_some() && components::ALL.contains(&key.name.as_str())
    }

    /// Starts a program for a lease.
    ///
    /// # Errors
    /// When lease, cluster or program do not exist, the name is taken, or the program does not become ready.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Spawned, Error> {
        let logs = self.known(&request.lease)?;
        self.check_program(&request)?;
        let log_dir = request.cluster.as_ref().map_or(logs.clone(), |cluster| logs.join(cluster));
        let key = Key { lease: request.lease, cluster: request.cluster, name: request.name };
        let spec = ProcessSpec {
            argv: request.argv,
            env: request.env,
            nice: CLIENT_NICE,
            log_file: log_dir.join(format!("{}.log", key.name)),
            may_finish: true,
            ready_file: request.ready_file.clone(),
        };
        let log_file = spec.log_file.clone();
        let pid = self.table.start(&key, spec)?;
        let timeout = Duration::from_secs(request.ready_timeout_seconds.unwrap_or(READY_TIMEOUT_SECONDS));
        let ready = match &request.ready_file {
            Some(file) => Some(self.wait_ready(&key, file, timeout).await?),
            None => None,
        };
        Ok(Spawned { pid, log_file, ready })
    }

    fn check_program(&self, request: &SpawnRequest) -> Result<(), Error> {
        let name = &request.name;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(Error::Usage(format!(
                "program name {name:?}: use letters, digits, '-', '_' and '.'"
            )));
        }
        if let Some(cluster) = &request.cluster {
            let states = self.lock();
            let clusters = states.get(&request.lease).map(|s| s.clusters.clone()).unwrap_or_default();
            if !clusters.contains(cluster) {
                return Err(Error::Usage(format!(
                    "no cluster {cluster} in the lease; there are: {}",
                    clusters.join(", ")
                )));
            }
        }
        match request.argv.first().map(Path::new) {
            Some(program) if program.is_absolute() && program.is_file() => Ok(()),
            Some(program) => Err(Error::Usage(format!(
                "{} is not the absolute path of a program; build it (`cargo build --workspace`)?",
                program.display()
            ))),
            None => Err(Error::Usage("argv is empty".to_owned())),
        }
    }

    async fn wait_ready(&self, key: &Key, file: &Path, timeout: Duration) -> Result<Ready, Error> {
        let goal = format!("{key} to become ready");
        let waited = poll::until(&goal, Duration::from_millis(20), timeout, || async {
            match std::fs::read(file) {
                Ok(content) => match serde_json::from_slice(&content) {
                    Ok(ready) => Look::Ready(ready),
                    Err(error) => Look::Never(format!("{} is not a ready file: {error}", file.display())),
                },
                Err(error) => match self.table.ended(key) {
                    Some(how) => Look::Never(how),
                    None => Look::NotYet(error.to_string()),
                },
            }
        });
        waited
            .await
            .map_err(|error| Error::Component { message: error.to_string(), log: self.table.tail(key) })
    }

    /// Acts on a process of a lease.
    ///
    /// # Errors
    /// When there is no such process, it is in the wrong state, or it does not become ready again.
    pub async fn component(&self, request: ComponentRequest) -> Result<ProcessInfo, Error> {
        self.known(&request.lease)?;
        let key = Key { lease: request.lease, cluster: request.cluster, name: request.name };
        if let Some(info) = self.provider.act(&key, request.verb).await? {
            return Ok(info);
        }
        match request.verb {
            Verb::Start => self.start_again(&key).await?,
            Verb::Stop => self.table.end(&key, STOP_GRACE).await?,
            Verb::Kill => self.table.kill(&key).await?,
            Verb::Pause => self.table.signal(&key, Signal::STOP)?,
            Verb::Continue => self.table.signal(&key, Signal::CONT)?,
            Verb::Restart => {
                if self.table.is_running(&key) {
                    self.table.end(&key, STOP_GRACE).await?;
                }
                self.start_again(&key).await?;
            }
        }
        self.table.info(&key).ok_or_else(|| Error::Internal(format!("{key} vanished from the process table")))
    }

    async fn start_again(&self, key: &Key) -> Result<(), Error> {
        self.table.start_again(key)?;
        match self.table.spec(key)?.ready_file {
            Some(file) => {
                self.wait_ready(key, &file, Duration::from_secs(READY_TIMEOUT_SECONDS)).await.map(|_| ())
            }
            None => self.provider.healthy_again(key).await,
        }
    }
}
