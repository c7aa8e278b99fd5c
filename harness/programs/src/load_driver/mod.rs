//! load-driver (ADR-0038): makes the Pods of one cluster by real controllers, and keeps them moving.
//!
//! It declares the plan's Deployments and StatefulSets at a pace that leaves the scheduler room, deletes Pods
//! (churn, ageing), swings replicas (the demand wave), and does all of it as the seed says.

mod bare;
mod churn;
mod cluster;
mod control;
mod creation;
mod driver;
mod events;
mod failures;
mod fill;
mod metrics;
mod prebind;
mod wave;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use kube::Client;

pub use self::control::Request;
pub use self::world::Totals;
use harness_model::plan::Plan;

/// Flags of load-driver beyond the common ones.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Cluster of the plan to load (`kwok-cluster-0`).
    #[arg(long, alias = "cluster")]
    pub cluster_id: String,
    /// The plan (`plan.json` of a run directory).
    #[arg(long)]
    pub plan: PathBuf,
    /// Unix socket to listen on: a JSON request per line, e.g. {"request":"fill"}; also soak, stop, status,
    /// churn, wave, burst, scale.
    #[arg(long, alias = "control")]
    pub control_socket: PathBuf,
    /// File to append events to, as JSON lines.
    #[arg(long)]
    pub events: Option<PathBuf>,
    /// Requests in flight; the profile's loadDriver.concurrency if absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Option<u32>,
    /// Declare all workloads at once, without waiting for a request.
    #[arg(long)]
    pub fill: bool,
}

/// Runs until its Pod watch ends, which it does not. `on_ready` is called once the watch is in and the socket
/// is bound.
///
/// # Errors
/// When the plan cannot be read or has no such cluster, load-driver may not list Pods, the socket cannot be bound, or an
/// event cannot be written.
pub async fn run(
    client: Client,
    options: &Options,
    on_ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let plan = Arc::new(read(&options.plan)?);
    let index = plan.clusters.iter().position(|c| c.name == options.cluster_id);
    let index = index.with_context(|| {
        let names: Vec<&str> = plan.clusters.iter().map(|c| c.name.as_str()).collect();
        format!("--cluster-id {}: the plan has {}", options.cluster_id, names.join(", "))
    })?;
    let mine = plan.clusters[index].clone();
    let concurrency = options.concurrency.unwrap_or(plan.profile.load_driver.concurrency);
    metrics::start(mine.pods);
    let cluster = Arc::new(cluster::Cluster::new(plan, &mine.workloads, client, concurrency));
    let events = events::Events::open(options.events.as_deref())?;
    let lost = events.lost();
    let driver = Arc::new(driver::Driver::new(cluster.clone(), mine.clone(), index, events));
    cluster.may_follow().await?;
    let listener = control::listen(&options.control_socket)?;
    let serve = async {
        cluster.world.synced().await;
        on_ready()?;
        if options.fill {
            driver.handle(Request::Fill {}).await?;
        }
        control::serve(listener, driver).await;
        anyhow::Ok(())
    };
    tokio::select! {
        () = cluster.follow() => anyhow::bail!("the watch of Pods ended"),
        () = lost.cancelled() => anyhow::bail!("the events file could not be written; see the line above"),
        () = creation::watch(&cluster, &mine) => anyhow::bail!("the watch of refused Pods ended"),
        ended = serve => ended,
    }
}

fn read(path: &Path) -> anyhow::Result<Plan> {
    let text = std::fs::read(path).with_context(|| format!("reading the plan {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no plan of this version", path.display()))
}
