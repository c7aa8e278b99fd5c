//! The two programs, and one of them as a supervised process.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use component::ready::Ready;
use harness::observe::scrape;
use harness_model::prometheus::{self, Series, label, of, sum};
use harness_planes::spec::Cluster;
use harness_supervisor::Client as Supervisor;
use harness_supervisor::protocol::{SpawnRequest, Verb};
use tempfile::TempDir;

/// The properties of a program.
#[derive(Debug)]
pub struct Kind {
    /// Name of the program, of the identity it runs under and of the cluster its stories are played on.
    pub name: &'static str,
    /// Prefix of its metrics' names.
    pub metrics: &'static str,
    /// Default prefix that it puts before the machine id to name a Node.
    pub node_prefix: &'static str,
}

/// The program of ADR-0023, decision 1.
pub const NODE_CREATOR: Kind =
    Kind { name: "node-creator", metrics: "bigfleet_scaletest_node_creator_", node_prefix: "" };
/// The program that ADR-0023 retires.
pub const POD_SHIM: Kind =
    Kind { name: "pod-shim", metrics: "bigfleet_scaletest_pod_shim_", node_prefix: "fake-" };

impl Kind {
    /// Returns the path of the program.
    ///
    /// # Errors
    /// When it was not built.
    pub fn path(&self) -> anyhow::Result<PathBuf> {
        let path = suites::bin_dir()?.join(self.name);
        ensure!(path.is_file(), "{} is not there; `cargo build -p harness --bins`", path.display());
        Ok(path)
    }

    /// Returns the name of the counter of outcomes for UpcomingNodes.
    pub fn observed(&self) -> String {
        format!("{}upcoming_nodes_observed_total", self.metrics)
    }

    /// Returns the outcomes that the counter has, with their counts.
    pub fn outcomes(&self, series: &Series) -> Vec<(String, f64)> {
        let of_one =
            |(key, count): (&str, f64)| label(key, "outcome").map(|outcome| (outcome.to_owned(), count));
        of(series, &self.observed()).filter_map(of_one).collect()
    }
}

/// A program that works on a cluster; it can be stopped and started again.
pub struct Program {
    /// Which of the two it is.
    pub kind: &'static Kind,
    supervisor: Supervisor,
    lease: String,
    cluster: Cluster,
    flags: Vec<String>,
    /// The directory of its ready file.
    dir: TempDir,
    spawned: bool,
    running: bool,
    /// Sums over the processes that have ended.
    past: Series,
}

impl Program {
    /// Creates a program that is not started yet. `flags` follow the ones that all programs share.
    ///
    /// # Errors
    /// When there is no place for its ready file.
    pub fn new(
        kind: &'static Kind,
        supervisor: &Supervisor,
        lease: &str,
        cluster: &Cluster,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        Ok(Self {
            kind,
            supervisor: supervisor.clone(),
            lease: lease.to_owned(),
            cluster: cluster.clone(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            dir: tempfile::tempdir().context("creating a directory for a ready file")?,
            spawned: false,
            running: false,
            past: Series::new(),
        })
    }

    /// Whether a process of it runs.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready (with its last log lines).
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.spawned {
            self.act(Verb::Start).await?;
        } else {
            self.spawn().await?;
            self.spawned = true;
        }
        self.running = true;
        Ok(())
    }

    async fn spawn(&self) -> anyhow::Result<()> {
        let name = self.kind.name;
        let kubeconfig = self.cluster.kubeconfigs.get(name);
        let kubeconfig = kubeconfig.with_context(|| format!("the lease has no kubeconfig for {name}"))?;
        let ready_file = self.ready_file();
        let mut argv = vec![
            self.kind.path()?.display().to_string(),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--metrics-addr=127.0.0.1:0".to_owned(),
            format!("--ready-file={}", ready_file.display()),
        ];
        argv.extend(self.flags.iter().cloned());
        let request = SpawnRequest {
            lease: self.lease.clone(),
            cluster: Some(self.cluster.name.clone()),
            name: name.to_owned(),
            argv,
            ready_file: Some(ready_file),
            ..SpawnRequest::default()
        };
        self.supervisor.spawn(request).await?;
        Ok(())
    }

    /// Stops it in an orderly way and keeps what it counted.
    ///
    /// # Errors
    /// When it does not run, or its metrics cannot be read before.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.past = self.totals().await?;
        self.running = false;
        self.act(Verb::Stop).await
    }

    /// Kills it by SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.running = false;
        self.act(Verb::Kill).await
    }

    /// Forgets what was counted by processes that have ended.
    pub fn forget(&mut self) {
        self.past.clear();
    }

    async fn act(&self, verb: Verb) -> anyhow::Result<()> {
        self.supervisor.component(&self.lease, Some(&self.cluster.name), self.kind.name, verb).await?;
        Ok(())
    }

    /// Returns its own series, summed over its processes since the last [`Program::forget`].
    ///
    /// # Errors
    /// When the running process does not answer.
    pub async fn totals(&self) -> anyhow::Result<Series> {
        let mut totals = self.past.clone();
        if self.running {
            for (key, value) in self.series().await? {
                *totals.entry(key).or_insert(0.0) += value;
            }
        }
        Ok(totals)
    }

    /// Returns how many outcomes the running process has counted.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn observations(&self) -> anyhow::Result<f64> {
        Ok(sum(&self.series().await?, &self.kind.observed(), |_| true).unwrap_or(0.0))
    }

    async fn series(&self) -> anyhow::Result<Series> {
        let path = self.ready_file();
        let ready: Ready = serde_json::from_slice(
            &std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?,
        )?;
        let address = ready.addresses.get("metrics").context("the ready file names no metrics address")?;
        let text = scrape::get(&format!("http://{address}/metrics")).await?;
        Ok(prometheus::parse(&text, |name| name.starts_with(self.kind.metrics)))
    }

    fn ready_file(&self) -> PathBuf {
        self.dir.path().join(format!("{}.ready.json", self.kind.name))
    }

    /// Returns the path of its log, for error messages.
    pub fn log_file(&self) -> String {
        format!("{}/{}.log", self.cluster.logs_dir.display(), self.kind.name)
    }
}
