//! A supervisor for one trial, and the proof that nothing of it is left.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use component::poll::{self, Look};
use harness_model::components::APISERVER;
use harness_model::provider::ProviderName;
use harness_planes::Choice;
use harness_planes::existing;
use harness_planes::spec::{Cluster, Lease};
use harness_supervisor::Client;
use harness_supervisor::protocol::{Announcement, ProcessState, Verb};
use harness_supervisor::starter::{self, Owner, Start};

use crate::traces;

/// Time after the end of a run by which nothing of it may be left.
const NOTHING_LEFT: Duration = Duration::from_secs(5);

/// A supervisor owned by this process, or by another one that the trial kills.
pub struct World {
    /// Its run id, as found in environments.
    pub run_id: String,
    /// The supervisor.
    pub child: Child,
    /// How to reach it.
    pub announcement: Announcement,
    /// A client that is connected to it.
    pub client: Client,
    /// Its run directory.
    pub run_dir: PathBuf,
}

impl World {
    /// Starts a supervisor that ends with this process. Its run directory is kept for inspection of the logs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn new(label: &str, owner: Option<u32>, budget_mib: Option<u64>) -> anyhow::Result<Self> {
        // Child processes, whatever the environment says.
        Self::start(label, owner, budget_mib, Choice::Local).await
    }

    /// Like [`World::new`], with kind clusters.
    ///
    /// # Errors
    /// When it does not start, or xtask has not exported what kind clusters are built from.
    pub async fn of_kind(label: &str, owner: Option<u32>) -> anyhow::Result<Self> {
        let choice = Choice::from_env()?;
        ensure!(choice.name() == ProviderName::Kind, "E2E_PROVIDER is not kind");
        Self::start(label, owner, None, choice).await
    }

    /// Like [`World::new`], on existing clusters.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn of_existing(label: &str, kubeconfigs: &[PathBuf]) -> anyhow::Result<Self> {
        Self::of_existing_within(label, kubeconfigs, None).await
    }

    /// The same, but clean-ups give up that many seconds after the last object disappeared.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn of_existing_within(
        label: &str,
        kubeconfigs: &[PathBuf],
        cleanup_patience_s: Option<u64>,
    ) -> anyhow::Result<Self> {
        let settings = existing::Settings { kubeconfigs: kubeconfigs.to_vec(), cleanup_patience_s };
        Self::start(label, None, None, Choice::Existing(settings)).await
    }

    async fn start(
        label: &str,
        owner: Option<u32>,
        budget_mib: Option<u64>,
        provider: Choice,
    ) -> anyhow::Result<Self> {
        let run_id = format!("{label}-{}", std::process::id());
        let bin_dir = starter::bin_dir()?;
        // Where cargo puts temporary files of tests.
        let tmp = bin_dir.parent().context("the programs are in no directory")?.join("tmp");
        let run_dir = tmp.join("supervisors").join(label);
        match std::fs::remove_dir_all(&run_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", run_dir.display()));
            }
            _ => {}
        }
        let start = Start {
            run_id: run_id.clone(),
            run_dir: run_dir.clone(),
            owner: Owner::Pid(owner.unwrap_or(std::process::id())),
            bin_dir,
            tools_dir: starter::tools_dir(&provider)?,
            provider,
            memory_budget_mib: budget_mib,
        };
        let (child, announcement) = starter::start(&start).await?;
        let client = Client::connect(&announcement.socket).await?;
        Ok(Self { run_id, child, announcement, client, run_dir })
    }

    /// Stops the supervisor in an orderly way and checks that nothing is left.
    ///
    /// # Errors
    /// When something is left.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.client.shutdown().await?;
        self.nothing_is_left(&traces::listeners(&self.run_id)).await
    }

    /// Waits until no process, socket or scratch directory of the run exists. The run directory stays.
    ///
    /// # Errors
    /// When something is still there after that time.
    pub async fn nothing_is_left(&mut self, listeners: &BTreeSet<SocketAddr>) -> anyhow::Result<()> {
        self.gone(listeners, NOTHING_LEFT).await
    }

    /// Like [`World::nothing_is_left`], but without sockets of the run's own processes, and with a given time.
    ///
    /// # Errors
    /// As for [`World::nothing_is_left`].
    pub async fn is_gone_within(&mut self, ceiling: Duration) -> anyhow::Result<()> {
        self.gone(&BTreeSet::new(), ceiling).await
    }

    async fn gone(&mut self, listeners: &BTreeSet<SocketAddr>, ceiling: Duration) -> anyhow::Result<()> {
        let begin = Instant::now();
        let scratch = &self.announcement.scratch;
        let (run_id, child) = (&self.run_id, &mut self.child);
        poll::until("the run to leave nothing", Duration::from_millis(20), ceiling, || {
            // Reaped here, because it is our child: a zombie has no environment but is not gone.
            let reaped = child.try_wait().ok().flatten().is_some();
            let left: Vec<u32> = traces::processes(run_id).into_iter().collect();
            let open: Vec<_> =
                traces::listening().into_iter().map(|(a, _)| a).filter(|a| listeners.contains(a)).collect();
            let clean = reaped && left.is_empty() && open.is_empty() && !scratch.exists();
            let seen = format!("processes {left:?}, sockets {open:?}, scratch {}", scratch.exists());
            std::future::ready(if clean { Look::Ready(()) } else { Look::NotYet(seen) })
        })
        .await?;
        ensure!(self.run_dir.join("logs").is_dir(), "the run directory must stay");
        eprintln!("nothing left after {} ms", begin.elapsed().as_millis());
        Ok(())
    }
}

/// Starts a process that does nothing, to own a supervisor and be killed.
///
/// # Errors
/// When it cannot be started.
pub fn idle_process() -> anyhow::Result<Child> {
    Command::new("sleep").arg("600").spawn().context("starting sleep")
}

/// Returns a client with an identity of a cluster.
///
/// # Errors
/// When the cluster has no such identity, or its kubeconfig cannot be used.
pub async fn client(cluster: &Cluster, identity: &str) -> anyhow::Result<kube::Client> {
    let path = cluster.kubeconfigs.get(identity).with_context(|| format!("no kubeconfig {identity}"))?;
    component::client::connect_unlimited(path).await
}

/// Pauses, continues and restarts the apiserver of a lease's first cluster (SIGSTOP, SIGCONT, and a new process at the
/// same address).
///
/// # Errors
/// When it answers while it is paused, or does not answer afterwards.
pub async fn pause_and_restart_apiserver(supervisor: &Client, lease: &Lease) -> anyhow::Result<()> {
    let cluster = &lease.clusters[0];
    let act = |verb| supervisor.component(&lease.id, Some(&cluster.name), APISERVER, verb);
    let admin = client(cluster, "admin").await?;
    ensure!(act(Verb::Pause).await?.state == ProcessState::Paused, "not paused");
    let answer = tokio::time::timeout(Duration::from_secs(1), admin.apiserver_version()).await;
    ensure!(answer.is_err(), "a paused apiserver answered: {answer:?}");
    ensure!(act(Verb::Continue).await?.state == ProcessState::Running, "not running");
    let answer = tokio::time::timeout(Duration::from_secs(60), admin.apiserver_version());
    answer.await.context("no answer after continue")??;
    let restarted = act(Verb::Restart).await?;
    ensure!(restarted.starts == 2, "{restarted:?}");
    admin.apiserver_version().await.context("after the restart, at the same address")?;
    Ok(())
}
