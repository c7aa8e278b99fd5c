//! Job 1: one reconcile per UpcomingNode, by name, as upstream's controller did it.

use std::sync::Arc;

use api::UpcomingNode;
use component::apiserver;
use component::queue::Queue;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::metrics::{self, Outcome};
use super::node::{self, Action};
use super::seconds_since;
use super::world::World;

/// Makes and deletes Nodes.
pub struct Machines {
    /// The cluster's Nodes.
    pub nodes: Api<Node>,
    /// What was seen.
    pub world: Arc<World>,
    /// Names of UpcomingNodes.
    pub queue: Queue<String>,
    /// Whether kwok is to play the Nodes.
    pub kwok_annotation: bool,
}

impl Machines {
    /// Works off the queue for ever; what fails is retried.
    pub async fn work(self: Arc<Self>) {
        loop {
            let name = self.queue.take().await;
            match self.reconcile(&name).await {
                Ok(()) => self.queue.done(&name),
                Err(error) => {
                    tracing::warn!(upcoming_node = %name, %error, "not done; retrying");
                    self.queue.retry(name, apiserver::retry_after(&error));
                }
            }
        }
    }

    async fn reconcile(&self, name: &str) -> Result<(), kube::Error> {
        let (action, upcoming, node_name) = self.world.machine(name);
        match (action, upcoming) {
            (Action::Create, Some(upcoming)) => return self.create(&node_name, &upcoming).await,
            (Action::Delete, _) => return self.delete(&node_name).await,
            (Action::Keep, _) => metrics::observed(Outcome::Exists),
            _ => metrics::observed(Outcome::NotReady),
        }
        Ok(())
    }

    async fn create(&self, name: &str, upcoming: &UpcomingNode) -> Result<(), kube::Error> {
        let node = node::fake(upcoming, name, self.kwok_annotation);
        metrics::creating();
        match self.nodes.create(&PostParams::default(), &node).await {
            Ok(mut made) => {
                // Upstream writes the status again, although the create kept it, and lets kwok win a race.
                made.status = node.status;
                let rewritten = self.nodes.replace_status(name, &PostParams::default(), &made).await;
                if let Err(error) = rewritten {
                    tracing::debug!(node = %name, %error, "status not written again");
                }
            }
            // Somebody was faster, or our own watch is late: as good as made.
            Err(error) if apiserver::code(&error) == Some(409) => {}
            Err(error) => return Err(error),
        }
        self.world.learn(name, true);
        let created = upcoming.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if let Some(seconds) = seconds_since(created) {
            metrics::node_made(seconds);
        }
        metrics::observed(Outcome::Created);
        Ok(())
    }

    /// Deletes the Node of that name, whoever made it.
    async fn delete(&self, name: &str) -> Result<(), kube::Error> {
        match self.nodes.delete(name, &DeleteParams::default()).await {
            Err(error) if !apiserver::is_gone(&error) => {
                metrics::observed(Outcome::CleanupError);
                Err(error)
            }
            _ => {
                self.world.learn(name, false);
                metrics::observed(Outcome::CleanupDeleted);
                Ok(())
            }
        }
    }
}
