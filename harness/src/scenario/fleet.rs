//! Starting the programs of a run: the autoscaler under test and the harness' own components.

use std::path::{Path, PathBuf};

use component::ready::Ready;
use futures::future::try_join_all;

use crate::observe::scrape::{Endpoint, Target};
use crate::scenario::autoscaler::Autoscaler;
use crate::scenario::driver::Driver;
use crate::scenario::failure::Failure;
use crate::scenario::sampling::Scraper;
use harness_model::profile::{CrMode, CrRelease, Profile, Scheduler, Span, Workloads};
use harness_model::record::RunDir;
use harness_planes::spec::{Cluster, Lease};
use harness_supervisor::Client;
use harness_supervisor::protocol::SpawnRequest;

/// Where programs are started from, and where they write.
pub struct Places<'a> {
    /// Directory of the project's binaries.
    pub bin_dir: &'a Path,
    /// The autoscaler, if it is not the reference.
    pub autoscaler: Option<&'a Autoscaler>,
    /// The run directory.
    pub dir: &'a RunDir,
    /// Directory for ready files and control sockets.
    pub scratch: PathBuf,
}

/// The programs of a run that are contacted later.
pub struct Fleet {
    /// `http://127.0.0.1:PORT` of the shard.
    pub shard_http: String,
    /// One load-driver per cluster, in order.
    pub drivers: Vec<Driver>,
    /// The same drivers if they create Pods without an owner; otherwise none.
    pub bare: Vec<Driver>,
}

/// Starts all programs of a profile; each of them is ready when this returns.
///
/// # Errors
/// When a program is missing, or ends before it is ready (with its last log lines).
pub async fn start(
    client: &Client,
    lease: &Lease,
    profile: &Profile,
    places: &Places<'_>,
    scraper: &Scraper,
) -> Result<Fleet, Failure> {
    std::fs::create_dir_all(&places.scratch)
        .map_err(|e| Failure::Environment(format!("creating {}: {e}", places.scratch.display())))?;
    let starter = Starter { client, lease, places, scraper };
    let ready = starter.spawn("shard", None, shard_args(profile, places.dir)).await?;
    let shard_http = format!("http://{}", address(&ready, "metrics", "shard")?);
    let shard_grpc = address(&ready, "grpc", "shard")?;
    let clusters = lease.clusters.iter().map(|c| starter.start_cluster(c, profile, &shard_grpc));
    let drivers = try_join_all(clusters).await?;
    let bare = if profile.workloads == Workloads::Bare { drivers.clone() } else { Vec::new() };
    Ok(Fleet { shard_http, drivers, bare })
}

struct Starter<'a> {
    client: &'a Client,
    lease: &'a Lease,
    places: &'a Places<'a>,
    scraper: &'a Scraper,
}

impl Starter<'_> {
    async fn start_cluster(&self, cluster: &Cluster, p: &Profile, grpc: &str) -> Result<Driver, Failure> {
        let args = controller_args(cluster, p)?;
        let controller = self.spawn("unschedulable-pod-controller", Some(cluster), args);

        let (maker, args) = node_maker(cluster, p)?;
        let maker = self.spawn(maker, Some(cluster), args);

        let args = operator_args(cluster, p, grpc, self.places.dir)?;
        let operator = self.spawn("operator", Some(cluster), args);

        let mut args = common(cluster, "load-driver", p.load_driver.qps, p.load_driver.burst)?;
        let socket = self.places.scratch.join(format!("load-driver-{}.sock", cluster.name));
        args.extend(Driver::args(
            &cluster.name,
            &self.places.dir.plan(),
            &socket,
            &self.places.dir.load_events(&cluster.name),
        ));
        let load = self.spawn("load-driver", Some(cluster), args);
        futures::try_join!(controller, maker, operator, load)?;
        Ok(Driver::new(&cluster.name, &socket))
    }

    async fn spawn(
        &self,
        name: &str,
        cluster: Option<&Cluster>,
        args: Vec<String>,
    ) -> Result<Ready, Failure> {
        let anothers = self.places.autoscaler.and_then(|autoscaler| autoscaler.program(name));
        let program = anothers.unwrap_or_else(|| self.places.bin_dir.join(name));
        if !program.is_file() {
            return Err(Failure::Environment(format!(
                "{} is missing; build it: cargo build --workspace --bins",
                program.display()
            )));
        }
        let id = cluster.map_or_else(|| name.to_owned(), |c| format!("{name}-{}", c.name));
        let ready_file = self.places.scratch.join(format!("{id}.ready.json"));
        let mut argv = vec![path(&program)];
        argv.extend(args);
        argv.extend(["--ready-file".to_owned(), path(&ready_file)]);
        let request = SpawnRequest {
            lease: self.lease.id.clone(),
            cluster: cluster.map(|c| c.name.clone()),
            name: name.to_owned(),
            argv,
            ready_file: Some(ready_file),
            ..SpawnRequest::default()
        };
        let spawned = self.client.spawn(request).await?;
        let ready = spawned.ready.ok_or_else(|| Failure::Environment(format!("{id} wrote no ready file")))?;
        let url = format!("http://{}/metrics", address(&ready, "metrics", &id)?);
        self.scraper.add(Target::new(name, cluster.map(|c| c.name.as_str()), Endpoint::Http(url)));
        Ok(ready)
    }
}

fn controller_args(cluster: &Cluster, p: &Profile) -> Result<Vec<String>, Failure> {
    let knobs = &p.unschedulable_pod_controller;
    let mut args = common(cluster, "unschedulable-pod-controller", knobs.qps, knobs.burst)?;
    args.extend(flags([
        ("concurrency", knobs.concurrency.to_string()),
        ("cr-mode", cr_mode(knobs.cr_mode).into()),
        ("cr-release", cr_release(knobs.cr_release).into()),
    ]));
    Ok(args)
}

fn operator_args(cluster: &Cluster, p: &Profile, grpc: &str, dir: &RunDir) -> Result<Vec<String>, Failure> {
    let mut args = common(cluster, "operator", p.operator.qps, p.operator.burst)?;
    args.extend(flags([
        ("cluster-id", cluster.name.clone()),
        ("shard-addr", grpc.to_owned()),
        ("ack-concurrency", p.operator.ack_concurrency.to_string()),
        ("rollup-interval", millis(p.operator.rollup_interval)),
        ("rollup-log", path(&dir.rollups(&cluster.name))),
        // Both sides or neither: upstream's operator does not know that the shard waits.
        ("wait-for-eviction", p.shard.wait_for_eviction.to_string()),
    ]));
    Ok(args)
}

/// Returns the program that turns UpcomingNodes into Nodes, and its flags.
fn node_maker(cluster: &Cluster, p: &Profile) -> Result<(&'static str, Vec<String>), Failure> {
    let knobs = &p.node_creator;
    let (name, concurrency) = match p.harness.scheduler {
        Scheduler::KubeScheduler => ("node-creator", "concurrency"),
        Scheduler::PodShim => ("pod-shim", "upcoming-node-concurrency"),
    };
    let mut args = common(cluster, name, knobs.qps, knobs.burst)?;
    args.extend(flags([
        (concurrency, knobs.concurrency.to_string()),
        // Never pod-shim's own default: with `fake-`, the operator and the ledger do not find its Nodes.
        ("node-name-prefix", knobs.node_name_prefix.clone()),
    ]));
    if p.harness.scheduler == Scheduler::PodShim {
        args.push("--kwok-annotation".to_owned());
    }
    Ok((name, args))
}

fn shard_args(profile: &Profile, dir: &RunDir) -> Vec<String> {
    let shard = &profile.shard;
    let mut args = flags([
        ("listen", "127.0.0.1:0".into()),
        ("metrics-addr", "127.0.0.1:0".into()),
        ("inventory", path(&dir.inventory())),
        ("audit-log", path(&dir.audit())),
        ("execute-concurrency", shard.execute_concurrency.to_string()),
        ("cycle-interval", millis(shard.cycle_interval)),
        ("create-latency", millis(shard.create_latency)),
        ("configure-latency", millis(shard.configure_latency)),
        ("drain-latency", millis(shard.drain_latency)),
        ("create-failure-rate", shard.create_failure_rate.to_string()),
        ("configure-failure-rate", shard.configure_failure_rate.to_string()),
        ("reclaim-cap-fraction", shard.reclaim_cap_fraction.unwrap_or(0.0).to_string()),
        ("empty-rollup-guard", shard.empty_rollup_guard.to_string()),
        ("reclaim-grace", millis(shard.reclaim_grace)),
        ("wait-for-eviction", shard.wait_for_eviction.to_string()),
        ("gang-folding", shard.gang_folding.to_string()),
        ("seed", profile.seed.to_string()),
    ]);
    if shard.paused_until_filled {
        args.push("--actuation-paused".to_owned());
    }
    args
}

/// Returns the flags that all components share.
fn common(cluster: &Cluster, identity: &str, qps: u32, burst: u32) -> Result<Vec<String>, Failure> {
    let kubeconfig = cluster.kubeconfigs.get(identity).ok_or_else(|| {
        Failure::Environment(format!("the lease of {} has no kubeconfig for {identity}", cluster.name))
    })?;
    Ok(flags([
        ("kubeconfig", path(kubeconfig)),
        ("metrics-addr", "127.0.0.1:0".into()),
        ("qps", qps.to_string()),
        ("burst", burst.to_string()),
    ]))
}

/// Formats each pair as `--name=value`.
pub fn flags<const N: usize>(pairs: [(&str, String); N]) -> Vec<String> {
    pairs.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn address(ready: &Ready, purpose: &str, whose: &str) -> Result<String, Failure> {
    let address = ready.addresses.get(purpose);
    address
        .map(ToString::to_string)
        .ok_or_else(|| Failure::Environment(format!("the ready file of {whose} names no {purpose} address")))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Formats a span with one unit only, because not every program parses `1m30s`.
pub fn millis(span: Span) -> String {
    format!("{}ms", span.0.as_millis())
}

fn cr_mode(mode: CrMode) -> &'static str {
    match mode {
        CrMode::PerPod => "per-pod",
        CrMode::UnschedulableOnly => "unschedulable-only",
    }
}

fn cr_release(release: CrRelease) -> &'static str {
    match release {
        CrRelease::OnTerminating => "on-terminating",
        CrRelease::OnGone => "on-gone",
    }
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
