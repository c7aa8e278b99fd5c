//! One control plane, load-driver, and everything that refuses; played once for all claims.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use harness::scenario::driver::Driver;
use harness::scenario::load::{self, Gate};
use harness_model::plan::Plan;
use harness_model::record::event::LoadFailed;
use harness_planes::spec::{Cluster, ClusterSpec, LeaseSpec};
use harness_supervisor::Client as Supervisor;
use harness_supervisor::protocol::{SpawnRequest, Verb};
use kube::Client;
use serde::{Deserialize, Serialize};

use crate::{NOTICED_WITHIN_S, injected};

/// A failure, and how long after the start of the fill it was reported.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub failed: LoadFailed,
    pub after_s: f64,
}

/// The results of all refusals.
#[derive(Debug, Serialize, Deserialize)]
pub struct Everything {
    /// What controllers were refused.
    pub refused: Vec<Told>,
    /// The failure of a load-driver that may only follow Pods.
    pub forbidden: Told,
    /// The start error of a load-driver that may not even do that.
    pub blind: String,
}

/// Returns what is reported for each refusal.
///
/// # Errors
/// When it could not be played.
pub fn told() -> anyhow::Result<Everything> {
    let program = suites::bin_dir()?.join("load-driver");
    suites::shared::once("load_refused", &[program], || suites::block_on(play()))
}

async fn play() -> anyhow::Result<Everything> {
    let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
    let plan = injected::plan()?;
    let spec = ClusterSpec::named(&plan.clusters[0].name);
    let lease = supervisor.lease(&LeaseSpec { clusters: vec![spec] }).await?;
    let cluster = &lease.clusters[0];
    let admin = component::client::connect_unlimited(&cluster.kubeconfigs["admin"]).await?;
    let dir = tempfile::tempdir().context("creating a directory for load-driver")?;
    std::fs::write(dir.path().join("plan.json"), plan.to_json()).context("writing the plan")?;
    let stage =
        Stage { supervisor: &supervisor, lease: &lease.id, cluster, dir: dir.path(), admin: &admin, plan };
    let everything = stage.play().await;
    supervisor.release(&lease.id).await?;
    everything
}

struct Stage<'a> {
    supervisor: &'a Supervisor,
    lease: &'a str,
    cluster: &'a Cluster,
    dir: &'a Path,
    admin: &'a Client,
    plan: Plan,
}

impl Stage<'_> {
    async fn play(&self) -> anyhow::Result<Everything> {
        injected::environment(self.admin).await?;
        let gate = Gate::before_the_autoscaler(self.admin.clone()).await?;
        let gates = BTreeMap::from([(self.cluster.name.clone(), gate)]);
        injected::quota(self.admin).await?;
        let workloads = self.plan.clusters[0].workloads.len();
        let refused = self.fill("load-driver", &gates, workloads).await?;
        injected::rights(self.admin, true).await?;
        let forbidden = self.fill("load-driver-without-rights", &gates, 1).await?;
        let forbidden = forbidden.into_iter().next().context("nothing was forbidden")?;
        injected::rights(self.admin, false).await?;
        let blind = match self.start("load-driver-that-is-blind").await {
            Ok(_) => bail!("a load-driver that may not list Pods became ready"),
            Err(error) => format!("{error:#}"),
        };
        Ok(Everything { refused, forbidden, blind })
    }

    /// Starts a load-driver and its fill, waits until that many failures are reported, and kills it.
    async fn fill(
        &self,
        name: &str,
        gates: &BTreeMap<String, Gate>,
        failures: usize,
    ) -> anyhow::Result<Vec<Told>> {
        let drivers = [self.start(name).await?];
        let start = Instant::now();
        drivers[0].fill().await?;
        let mut told: Vec<Told> = Vec::new();
        let ceiling = Duration::from_secs_f64(2.0 * NOTICED_WITHIN_S);
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        while told.len() < failures {
            ticks.tick().await;
            let left = ceiling.saturating_sub(start.elapsed());
            let Ok(all) = tokio::time::timeout(left, load::until_failed(&drivers, gates)).await else {
                break;
            };
            let after_s = start.elapsed().as_secs_f64();
            let is_new = |failed: &LoadFailed| told.iter().all(|old| old.failed.what != failed.what);
            let new: Vec<LoadFailed> = all.into_iter().filter(is_new).collect();
            told.extend(new.into_iter().map(|failed| Told { failed, after_s }));
        }
        self.supervisor.component(self.lease, Some(&self.cluster.name), name, Verb::Kill).await?;
        Ok(told)
    }

    async fn start(&self, name: &str) -> anyhow::Result<Driver> {
        let file = |suffix: &str| self.dir.join(format!("{name}.{suffix}"));
        let (cluster, socket, ready_file) = (&self.cluster.name, file("sock"), file("ready.json"));
        let mut argv = vec![
            suites::bin_dir()?.join("load-driver").display().to_string(),
            format!("--kubeconfig={}", self.cluster.kubeconfigs["load-driver"].display()),
            "--metrics-addr=127.0.0.1:0".to_owned(),
            format!("--ready-file={}", ready_file.display()),
        ];
        argv.extend(Driver::args(cluster, &self.dir.join("plan.json"), &socket, &file("jsonl")));
        let request = SpawnRequest {
            lease: self.lease.to_owned(),
            cluster: Some(cluster.clone()),
            name: name.to_owned(),
            argv,
            ready_file: Some(ready_file),
            ..SpawnRequest::default()
        };
        self.supervisor.spawn(request).await?;
        Ok(Driver::new(cluster, &socket))
    }
}
