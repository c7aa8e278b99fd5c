//! node-creator (ADR-0023, decision 1): makes the fake Node of each UpcomingNode that is Ready, and deletes
//! it when the UpcomingNode goes. It has zero responsibility for Pods; its role has no verb on them.
//!
//! What upstream's lacks: a Node is replaced when its UpcomingNode was recreated under the same name, and a
//! sweep at start deletes Nodes orphaned while it was down. Both touch only Nodes that carry its mark.

mod metrics;
mod node;
mod world;

use std::sync::Arc;

use api::UpcomingNode;
use clap::Args;
use component::apiserver;
use component::queue::Queue;
use futures::FutureExt;
use futures::future::select_all;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::watcher;
use kube::{Api, Client};

pub use self::metrics::BUCKETS;
use self::metrics::Outcome;
pub use self::node::{Action, MARK, Made, Upcoming, build, decide};
use self::world::World;

/// Flags of node-creator beyond the common ones.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Machines worked on at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: u32,
    /// Put before the machine id to make the Node's name. Upstream uses `fake-`, under which an operator
    /// that cordons and evicts by machine id finds nothing.
    #[arg(long, default_value = "")]
    pub node_name_prefix: String,
}

/// Runs until a watch ends, which it does not. `on_ready` is called once both lists are in.
///
/// # Errors
/// When `on_ready` fails.
pub async fn run(
    client: Client,
    options: &Options,
    on_ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    metrics::start();
    let creator = Arc::new(Creator {
        nodes: Api::all(client.clone()),
        world: World::default(),
        queue: Queue::default(),
        prefix: options.node_name_prefix.clone(),
    });
    let upcoming: Api<UpcomingNode> = Api::all(client.clone());
    let marked = watcher::Config::default().labels(&format!("{}={MARK}", api::names::CREATED_BY));
    let watch_upcoming = creator.world.watch_upcoming(upcoming, &creator.queue, &creator.prefix);
    let watch_nodes = creator.world.watch_nodes(creator.nodes.clone(), marked, &creator.queue);
    let work = async {
        // Before both lists are in, a Node may look orphaned that is not.
        creator.world.synced().await;
        on_ready()?;
        let workers = (0..options.concurrency).map(|_| creator.clone().work().boxed());
        select_all(workers).await;
        Ok(())
    };
    tokio::select! {
        () = watch_upcoming => anyhow::bail!("the watch of UpcomingNodes ended"),
        () = watch_nodes => anyhow::bail!("the watch of Nodes ended"),
        ended = work => ended,
    }
}

struct Creator {
    nodes: Api<Node>,
    world: World,
    /// Keys are Node names.
    queue: Queue<String>,
    prefix: String,
}

impl Creator {
    async fn work(self: Arc<Self>) {
        loop {
            let name = self.queue.take().await;
            match self.reconcile(&name).await {
                Ok(()) => self.queue.done(&name),
                Err(error) => {
                    tracing::warn!(node = %name, %error, "not done; retrying");
                    self.queue.retry(name, apiserver::retry_after(&error));
                }
            }
        }
    }

    async fn reconcile(&self, name: &str) -> Result<(), kube::Error> {
        let (action, upcoming, node) = self.world.look(name);
        match (action, upcoming, node) {
            (Action::Create, Some(upcoming), _) => self.create(name, &upcoming).await,
            (Action::Delete, _, Some(node)) => self.delete(name, &node).await,
            (Action::Replace, _, Some(node)) => {
                self.delete(name, &node).await?;
                metrics::observed(Outcome::Replaced);
                Ok(())
            }
            (Action::Exists, ..) => {
                metrics::observed(Outcome::Exists);
                Ok(())
            }
            (Action::NotReady, ..) => {
                metrics::observed(Outcome::NotReady);
                Ok(())
            }
            (Action::Gone, ..) => {
                metrics::observed(Outcome::CleanupDeleted);
                Ok(())
            }
            // Deleting: the Node's own Deleted event queues the name again.
            _ => Ok(()),
        }
    }

    async fn create(&self, name: &str, upcoming: &UpcomingNode) -> Result<(), kube::Error> {
        let node = build(upcoming, name);
        match self.nodes.create(&Default::default(), &node).await {
            Ok(created) => {
                self.world.learn(&created);
                let since_creation = upcoming.metadata.creation_timestamp.as_ref().map(|t| {
                    let age = jiff::Timestamp::now().duration_since(t.0);
                    age.as_secs_f64().max(0.0)
                });
                metrics::created(since_creation, self.world.seconds_since_ready(name));
                metrics::observed(Outcome::Created);
                Ok(())
            }
            Err(error) if apiserver::code(&error) == Some(409) => self.adopt(name).await,
            Err(error) => {
                // A label that is no valid value ends here; the retries stop when the UpcomingNode is mended
                // or goes.
                metrics::observed(Outcome::CreateError);
                Err(error)
            }
        }
    }

    /// A Node of that name exists that our watch does not show: ours in a moment, or somebody else's.
    async fn adopt(&self, name: &str) -> Result<(), kube::Error> {
        let Some(found) = self.nodes.get_opt(name).await? else { return Err(gone(name)) };
        let marked = found.metadata.labels.as_ref().and_then(|l| l.get(api::names::CREATED_BY));
        if marked.is_some_and(|by| by == MARK) {
            self.world.learn(&found);
            self.queue.push(name.to_owned());
        } else {
            tracing::warn!(node = %name, "a Node of this name exists that node-creator did not make; left alone");
            metrics::observed(Outcome::Foreign);
        }
        Ok(())
    }

    async fn delete(&self, name: &str, node: &Made) -> Result<(), kube::Error> {
        // By uid: a Node made anew under this name must not fall to an old decision.
        let only_this = Preconditions { uid: Some(node.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        match self.nodes.delete(name, &params).await {
            Ok(_) => {
                self.world.deleting(name, &node.uid);
                Ok(())
            }
            Err(error) if apiserver::is_gone(&error) => Ok(()),
            Err(error) => {
                metrics::observed(Outcome::CleanupError);
                Err(error)
            }
        }
    }
}

/// The Node that was in the way has just gone: try again.
fn gone(name: &str) -> kube::Error {
    let status = kube::core::Status {
        code: 409,
        reason: "AlreadyExists".into(),
        message: format!("Node {name} existed at create and was gone at get"),
        ..kube::core::Status::default()
    };
    kube::Error::Api(status.boxed())
}
