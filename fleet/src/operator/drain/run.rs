//! One Node's drain, from cordon to the Node's end.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::upcoming_node::UpcomingNodePhase as Phase;
use component::apiserver;
use component::poll::{self, Look};
use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use metrics::{counter, histogram};
use serde::de::IgnoredAny;

use crate::operator::drain::decide::{self, Drain, Next, POLL_INTERVAL, Victim};
use crate::operator::keeper::Keeper;

/// Evictions of one Node that are under way at once.
const EVICTIONS_AT_ONCE: usize = 8;
/// How long the Node may outlive its UpcomingNode at least, whatever is left of the grace period.
const NODE_GONE_AT_LEAST: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

const DRAINS: &str = "bigfleet_operator_drains_total";
const DURATION: &str = "bigfleet_operator_drain_duration_seconds";
const EVICTIONS: &str = "bigfleet_operator_evictions_total";

/// What a drain is about.
#[derive(Clone, Debug)]
pub struct Order {
    /// The instruction that asked for it first.
    pub instruction: String,
    /// The machine.
    pub machine: String,
    /// Its Node.
    pub node: String,
    /// When it must have ended; persisted, so it is wall-clock time.
    pub deadline: SystemTime,
}

/// Drains Nodes.
#[derive(Clone)]
pub struct Drainer {
    /// The cluster.
    pub client: Client,
    /// Keeper of the UpcomingNodes.
    pub keeper: Arc<Keeper>,
    /// False: as upstream, the machine's frames decide about the UpcomingNode, not the drain.
    pub wait_for_eviction: bool,
}

impl Drainer {
    /// Drains a Node. Calls `begun` once the drain is written down and the Node is cordoned.
    ///
    /// # Errors
    /// Why the Node could not be drained; the UpcomingNode is Failed with the same words, and the Node
    /// stays cordoned.
    pub async fn drain(&self, order: &Order, begun: impl FnOnce()) -> Result<(), String> {
        counter!(DRAINS, "outcome" => "started").increment(1);
        let start = Instant::now();
        if self.wait_for_eviction {
            self.keeper.own(&order.machine);
        }
        let mut outcome = self.empty(order, begun).await;
        if outcome.is_ok() && self.wait_for_eviction {
            outcome = self.finish(order).await;
        }
        if let Err(reason) = &outcome {
            self.fail(order, reason).await;
        }
        if self.wait_for_eviction {
            self.keeper.disown(&order.machine);
        }
        histogram!(DURATION).record(start.elapsed().as_secs_f64());
        counter!(DRAINS, "outcome" => if outcome.is_ok() { "success" } else { "failed" }).increment(1);
        tracing::info!(
            node = order.node,
            instruction = order.instruction,
            seconds = start.elapsed().as_secs_f64(),
            error = outcome.as_ref().err(),
            "drain ended"
        );
        outcome
    }

    async fn empty(&self, order: &Order, begun: impl FnOnce()) -> Result<(), String> {
        let left = remaining(order);
        until_written("the drain is written down", left, || {
            self.keeper.mark_draining(&order.machine, &order.instruction, order.deadline)
        })
        .await?;
        until_written("the Node is cordoned", left, || self.cordon(&order.node)).await?;
        begun();
        let mut drain = Drain::new(Instant::now() + remaining(order));
        loop {
            let victims = match self.victims(&order.node).await {
                Ok(victims) => victims,
                Err(error) if remaining(order).is_zero() => {
                    return Err(format!(
                        "the Node's Pods could not be listed until the grace period ended: {error}"
                    ));
                }
                Err(error) => {
                    tracing::warn!(node = order.node, %error, "Pods not listed; retrying");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    continue;
                }
            };
            match drain.listed(Instant::now(), &victims) {
                Next::Evict(due) => {
                    self.evict(&mut drain, due).await;
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Next::Wait(time) => tokio::time::sleep(time).await,
                Next::Empty => return Ok(()),
                Next::GiveUp(reason) => return Err(reason),
            }
        }
    }

    /// Lets the UpcomingNode go, and waits for the Node to follow.
    async fn finish(&self, order: &Order) -> Result<(), String> {
        let left = remaining(order).max(NODE_GONE_AT_LEAST);
        until_written("the UpcomingNode is Drained", left, || {
            self.keeper.mark(&order.machine, Phase::Drained, None)
        })
        .await?;
        until_written("the UpcomingNode is deleted", left, || self.keeper.delete(&order.machine)).await?;
        let nodes = Api::<Node>::all(self.client.clone());
        let what = format!("Node {} is gone (node-creator deletes it)", order.node);
        poll::until(&what, POLL_INTERVAL, left, || async {
            match nodes.get_metadata_opt(&order.node).await {
                Ok(None) => Look::Ready(()),
                Ok(Some(node)) => Look::NotYet(format!("it exists, uid {:?}", node.metadata.uid)),
                Err(error) => Look::NotYet(error.to_string()),
            }
        })
        .await
        .map_err(|error| error.to_string())
    }

    async fn fail(&self, order: &Order, reason: &str) {
        // Upstream's frames may have moved on from the drain; then the object is theirs.
        if !self.wait_for_eviction && self.keeper.phase(&order.machine).await != Some(Phase::Draining) {
            return;
        }
        let written = until_written("the UpcomingNode is Failed", NODE_GONE_AT_LEAST, || {
            self.keeper.mark(&order.machine, Phase::Failed, Some(reason))
        });
        if let Err(error) = written.await {
            tracing::error!(node = order.node, error, "a failed drain is not recorded");
        }
    }

    async fn cordon(&self, node: &str) -> Result<(), kube::Error> {
        let patch = serde_json::json!({"spec": {"unschedulable": true}});
        match apiserver::patch::<Node>(&self.client, None, node, &patch).await {
            Err(error) if !apiserver::is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// A quorum list (no resourceVersion): what a watch cache has not seen yet would be drained over.
    async fn victims(&self, node: &str) -> Result<Vec<Victim>, kube::Error> {
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods = Api::<Pod>::all(self.client.clone()).list_metadata(&params).await?;
        Ok(pods.iter().filter_map(|pod| decide::victim(&pod.metadata)).collect())
    }

    async fn evict(&self, drain: &mut Drain, victims: Vec<Victim>) {
        let mut answers = stream::iter(victims)
            .map(|victim| async move {
                let api = Api::<Pod>::namespaced(self.client.clone(), &victim.namespace);
                let body = decide::eviction(&victim);
                let result = api
                    .create_subresource::<_, IgnoredAny>(
                        "eviction",
                        &victim.name,
                        &PostParams::default(),
                        &body,
                    )
                    .await
                    .map(drop);
                (victim, decide::answer(&result))
            })
            .buffer_unordered(EVICTIONS_AT_ONCE);
        while let Some((victim, answer)) = answers.next().await {
            counter!(EVICTIONS, "outcome" => answer.label()).increment(1);
            drain.answered(Instant::now(), &victim, answer);
        }
    }
}

fn remaining(order: &Order) -> Duration {
    order.deadline.duration_since(SystemTime::now()).unwrap_or_default()
}

async fn until_written<F, E>(
    what: &str,
    ceiling: Duration,
    mut write: impl FnMut() -> F,
) -> Result<(), String>
where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    poll::until(what, RETRY_INTERVAL, ceiling, || {
        let written = write();
        async move {
            match written.await {
                Ok(()) => Look::Ready(()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        }
    })
    .await
    .map_err(|error| error.to_string())
}
