//! A control plane with an autoscaler on it, for what no profile can express: interventions during a drain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use api::UpcomingNode;
use component::poll::{self, Look};
use harness::observe::scrape;
use harness::scenario::fleet::{self, Fleet, Places};
use harness::scenario::prepare;
use harness::scenario::sampling::Scraper;
use harness_model::plan::{self, Plan};
use harness_model::profile::{self, fixtures_dir};
use harness_model::prometheus::{label, of, parse};
use harness_model::record::{RunDir, lines};
use harness_planes::spec::Lease;
use harness_supervisor::Client as Supervisor;
use harness_supervisor::protocol::Verb;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;

/// Time between two polls.
pub const TICK: Duration = Duration::from_millis(50);
/// Only a bug reaches it.
pub const CEILING: Duration = Duration::from_secs(90);
const OPERATOR: &str = "operator";
const SCHEDULER: &str = "kube-scheduler";

/// A line of the shard's audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    pub kind: String,
    pub machine: String,
    pub outcome: String,
    pub started_unix_nanos: u64,
    pub unix_nanos: u64,
}

/// A line of the operator's roll-up log.
#[derive(Clone, Debug, Deserialize)]
pub struct Rollup {
    pub at_unix_ns: u64,
    pub crs: u64,
}

/// A leased control plane with the autoscaler of the profile `eviction` on it, paused. Released when dropped.
pub struct World {
    supervisor: Supervisor,
    lease: Lease,
    pub dir: RunDir,
    pub plan: Plan,
    fleet: Fleet,
    /// A client of the administrator.
    pub admin: Client,
}

impl World {
    /// Leases it and starts everything. `controllers` run in addition to those that workloads need.
    pub async fn start(name: &str, overrides: &[&str], controllers: &[&str]) -> anyhow::Result<Self> {
        let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
        let status = supervisor.status().await?;
        let dir = RunDir::new(status.run_dir.join("eviction_conservation").join(name));
        let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
        let loaded = profile::load(&fixtures_dir(), "eviction", &overrides)?;
        let plan = plan::derive(&loaded)?;
        let apiserver_gomemlimit_mib = plan.profile.control_plane.gomemlimit_mib();
        let made = prepare::Made {
            provider: status.provider,
            autoscaler: None,
            sched_batch: status.not_batch.is_none(),
            apiserver_gomemlimit_mib,
        };
        prepare::write(&dir, &loaded, &plan, &suites::tools_dir()?, &made)?;
        let mut spec = prepare::lease_spec(&plan.profile, apiserver_gomemlimit_mib);
        for cluster in &mut spec.clusters {
            cluster.controllers.extend(controllers.iter().map(|c| (*c).to_owned()));
        }
        let lease = supervisor.lease(&spec).await?;
        let places = Places {
            bin_dir: &suites::bin_dir()?,
            autoscaler: None,
            dir: &dir,
            scratch: status.scratch.join(&lease.id).join("scenario"),
        };
        let fleet = fleet::start(&supervisor, &lease, &plan.profile, &places, &Scraper::idle()).await;
        let fleet = fleet.map_err(|failure| anyhow::Error::msg(failure.to_string()))?;
        let admin = component::client::connect_unlimited(&lease.clusters[0].kubeconfigs["admin"]).await?;
        Ok(Self { supervisor, lease, dir, plan, fleet, admin })
    }

    /// Declares the plan's Pods, spread evenly over all machines.
    pub async fn fill(&self) -> anyhow::Result<()> {
        let driver = &self.fleet.drivers[0];
        self.act(SCHEDULER, Verb::Pause).await?;
        driver.fill().await?;
        let target = u64::from(self.plan.profile.pods_per_cluster);
        let filled = poll::until("every Pod to be bound", TICK, CEILING, || async {
            match driver.counts().await {
                Ok(counts) if u64::from(counts.bound) == target => Look::Ready(()),
                Ok(counts) => Look::NotYet(format!("{counts:?}")),
                Err(error) => Look::NotYet(format!("{error:#}")),
            }
        });
        let filled = filled.await;
        self.act(SCHEDULER, Verb::Continue).await?;
        filled?;
        let requested = |rollups: &[Rollup]| rollups.last().is_some_and(|r| r.crs >= target);
        self.until_rolled_up("every Pod to be in a roll-up", requested).await.map(drop)
    }

    /// Lets the shard act from the next roll-up on.
    pub async fn resume(&self) -> anyhow::Result<()> {
        scrape::post(&format!("{}/actuation/resume", self.fleet.shard_http)).await.map(drop)
    }

    /// Applies a verb to the operator.
    pub async fn operator(&self, verb: Verb) -> anyhow::Result<()> {
        self.act(OPERATOR, verb).await
    }

    async fn act(&self, name: &str, verb: Verb) -> anyhow::Result<()> {
        let cluster = &self.lease.clusters[0].name;
        self.supervisor.component(&self.lease.id, Some(cluster), name, verb).await?;
        Ok(())
    }

    /// Returns the machines that are in a state, according to the shard.
    pub async fn machines_in(&self, state: &str) -> anyhow::Result<BTreeSet<String>> {
        let text = scrape::get(&format!("{}/debug/machines", self.fleet.shard_http)).await?;
        let machines: Vec<Value> = serde_json::from_str(&text).context("reading the shard's machines")?;
        let mine = machines.iter().filter(|m| m["state"] == state);
        Ok(mine.filter_map(|m| m["id"].as_str().map(str::to_owned)).collect())
    }

    /// Returns the shard's actions of a kind so far.
    pub fn done(&self, kind: &str) -> anyhow::Result<Vec<Done>> {
        let mut done: Vec<Done> = match self.dir.audit().exists() {
            true => lines::read_lines(&self.dir.audit())?,
            false => Vec::new(),
        };
        done.retain(|d| d.kind == kind);
        Ok(done)
    }

    /// Waits until that many actions of a kind have ended.
    pub async fn until_done(&self, kind: &str, count: usize) -> anyhow::Result<Vec<Done>> {
        let what = format!("{count} {kind}s to end");
        let waited = poll::until(&what, TICK, CEILING, || async {
            match self.done(kind) {
                Ok(done) if done.len() >= count => Look::Ready(done),
                other => Look::NotYet(format!("{other:?}")),
            }
        });
        Ok(waited.await?)
    }

    /// Waits until the operator's roll-ups are as wanted.
    pub async fn until_rolled_up(
        &self,
        what: &str,
        wanted: impl Fn(&[Rollup]) -> bool,
    ) -> anyhow::Result<Vec<Rollup>> {
        let path = self.dir.rollups(&self.lease.clusters[0].name);
        let (path, wanted) = (&path, &wanted);
        let waited = poll::until(what, Duration::from_millis(5), CEILING, || async move {
            match lines::read_lines::<Rollup>(path) {
                Ok(rollups) if wanted(&rollups) => Look::Ready(rollups),
                Ok(rollups) => Look::NotYet(format!("{:?}", rollups.last())),
                Err(error) => Look::NotYet(error.to_string()),
            }
        });
        Ok(waited.await?)
    }

    /// Waits until that many UpcomingNodes are as wanted.
    pub async fn until_upcoming(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&UpcomingNode) -> bool,
    ) -> anyhow::Result<Vec<UpcomingNode>> {
        let (api, wanted) = (&Api::<UpcomingNode>::all(self.admin.clone()), &wanted);
        let waited = poll::until(what, TICK, CEILING, || async move {
            match api.list(&ListParams::default()).await {
                Ok(all) => {
                    let found: Vec<UpcomingNode> = all.into_iter().filter(wanted).collect();
                    if found.len() == count {
                        Look::Ready(found)
                    } else {
                        Look::NotYet(format!("{}", found.len()))
                    }
                }
                Err(error) => Look::NotYet(error.to_string()),
            }
        });
        Ok(waited.await?)
    }

    /// Returns all Pods with these labels, as the administrator sees them.
    pub async fn pods(&self, labels: &str) -> anyhow::Result<Vec<Pod>> {
        let params = ListParams::default().labels(labels);
        let pods = Api::<Pod>::namespaced(self.admin.clone(), "default").list(&params).await;
        Ok(pods.context("listing Pods")?.items)
    }

    /// Returns the requests for `pods/eviction` so far by response code, as the apiserver counts them.
    pub async fn evictions(&self) -> anyhow::Result<BTreeMap<u16, u64>> {
        let text = scrape::get_kube(&self.admin, "/metrics").await?;
        let series = parse(&text, |name| name == "apiserver_request_total");
        let mut answers: BTreeMap<u16, u64> = BTreeMap::new();
        for (key, count) in of(&series, "apiserver_request_total") {
            let code = label(key, "code").and_then(|code| code.parse().ok());
            if let (Some("eviction"), Some(code)) = (label(key, "subresource"), code) {
                *answers.entry(code).or_default() += count as u64;
            }
        }
        Ok(answers)
    }

    /// Returns the live Pods as load-driver counts them.
    pub async fn live(&self) -> anyhow::Result<Value> {
        Ok(self.fleet.drivers[0].status().await?["counts"].clone())
    }

    /// Waits until all of the plan's Pods are live and bound again.
    pub async fn until_restored(&self) -> anyhow::Result<()> {
        let target = u64::from(self.plan.profile.pods_per_cluster);
        let waited = poll::until("all Pods to be live and bound again", TICK, CEILING, || async {
            match self.live().await {
                Ok(counts) if counts["live"] == target && counts["bound"] == target => Look::Ready(()),
                Ok(counts) => Look::NotYet(counts.to_string()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            }
        });
        Ok(waited.await?)
    }
}
