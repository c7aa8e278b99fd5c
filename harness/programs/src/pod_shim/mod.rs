//! pod-shim: the legacy stand-in for a scheduler that ADR-0023 retired, kept as the contrast.
//!
//! Job 1 makes the fake Node of each UpcomingNode, job 2 marks Pods that fit no Node as unschedulable and
//! binds the others first-fit. `harness.scheduler: pod-shim` starts it in place of node-creator, and no
//! kube-scheduler; the suite `node_creator_parity` compares job 1 with node-creator.
//!
//! What to expect of a run with it: the machines are those of the plan, because the autoscaler counts demand
//! and not Pods on Nodes. How Pods lie on them is not: they ignore zones and gangs (`spread` and `gang` of the
//! catalog), and Nodes hold more than their allocatable, because `--binder-concurrency` workers decide on what
//! the watch has shown so far; other machines then stay empty. In dev-50 a demand wave finds room there at
//! once, so that no Pod waits for a new machine and the gates `new_capacity_samples` and
//! `new_capacity_latency_s_p99` fail. No gate looks at the over-packing itself: it stands in the summary's
//! packing. What is measured at kube-scheduler does not apply, and the judge says so.
//!
//! What is not upstream's: a scenario asks for kwok's annotation on the Nodes (`--kwok-annotation`), because
//! kwok here plays annotated Nodes only. Without it Nodes are born Ready and stay so, but no Pod on them would
//! ever run, or go when deleted. A cordon is obeyed (see [`fit`]), freed room wakes Pods (see
//! `World::watch_pods`), and the default request limits are those of all programs here, not 50 and 100.

mod binder;
pub mod fit;
mod machines;
mod metrics;
pub mod node;
mod world;

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use component::queue::Queue;
use jiff::Timestamp;
use kube::{Api, Client};
use tokio::task::JoinSet;

use self::binder::Binder;
use self::machines::Machines;
pub use self::metrics::BUCKETS;
use self::world::World;

/// Flags of pod-shim beyond the common ones.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// UpcomingNodes worked on at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub upcoming_node_concurrency: u32,
    /// Pods worked on at once. The more, the more a Node may be over-packed.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub binder_concurrency: u32,
    /// Put before the machine id to make the Node's name; Pods are bound to Nodes of such names only. An
    /// operator that cordons and evicts by machine id finds its Nodes only when this is empty.
    #[arg(long, default_value = "fake-")]
    pub node_name_prefix: String,
    /// Annotate Nodes for a kwok that plays no others.
    #[arg(long)]
    pub kwok_annotation: bool,
}

/// Runs until a watch ends, which it does not. `on_ready` is called once all lists are in.
///
/// # Errors
/// When `on_ready` fails, or a worker panics.
pub async fn run(
    client: Client,
    options: &Options,
    on_ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    tracing::warn!(
        "pod-shim is a legacy contrast, not a scheduler: it binds first-fit by labels and resources, knows no \
         taints, spreading, Pod affinity, priorities or limits on Pods per Node, and may over-pack (ADR-0023)"
    );
    metrics::start();
    let world = Arc::new(World::new(&options.node_name_prefix));
    let machines = Arc::new(Machines {
        nodes: Api::all(client.clone()),
        world: world.clone(),
        queue: Queue::default(),
        kwok_annotation: options.kwok_annotation,
    });
    let binder = Arc::new(Binder { client: client.clone(), world: world.clone(), queue: Queue::default() });
    let watch_upcoming = world.watch_upcoming(Api::all(client.clone()), &machines.queue);
    let watch_nodes = world.watch_nodes(machines.nodes.clone(), &binder.queue);
    let watch_pods = world.watch_pods(Api::all(client), &binder.queue);
    let work = async {
        // Before all lists are in, every Node would look missing and every Pod unschedulable.
        world.synced().await;
        on_ready()?;
        // Tasks, not one `select`: each of so many workers should be polled only when it is its turn.
        let mut workers = JoinSet::new();
        (0..options.upcoming_node_concurrency).for_each(|_| drop(workers.spawn(machines.clone().work())));
        (0..options.binder_concurrency).for_each(|_| drop(workers.spawn(binder.clone().work())));
        workers.join_next().await.context("there is no worker")?.context("a worker ended")
    };
    tokio::select! {
        () = watch_upcoming => anyhow::bail!("the watch of UpcomingNodes ended"),
        () = watch_nodes => anyhow::bail!("the watch of Nodes ended"),
        () = watch_pods => anyhow::bail!("the watch of Pods ended"),
        ended = work => ended,
    }
}

/// Seconds since a creation timestamp (grain 1 s), never negative.
fn seconds_since(created: Option<Timestamp>) -> Option<f64> {
    created.map(|at| Timestamp::now().duration_since(at).as_secs_f64().max(0.0))
}
