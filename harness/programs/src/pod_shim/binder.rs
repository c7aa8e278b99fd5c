//! Job 2: one reconcile per pending Pod: bind it to the first Node that it fits, or mark it.

use std::sync::Arc;

use component::queue::Queue;
use component::{apiserver, slim};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::IgnoredAny;
use serde_json::json;

use super::fit::Misfits;
use super::metrics::{self, Attempt, Mark};
use super::seconds_since;
use super::world::{Look, PodKey, Seen, World};

/// Binds and marks Pods.
pub struct Binder {
    /// The cluster.
    pub client: Client,
    /// What was seen.
    pub world: Arc<World>,
    /// Pods to look at.
    pub queue: Queue<PodKey>,
}

impl Binder {
    /// Works off the queue for ever; what fails is retried.
    pub async fn work(self: Arc<Self>) {
        loop {
            let key = self.queue.take().await;
            match self.reconcile(&key).await {
                Ok(()) => self.queue.done(&key),
                Err(error) => {
                    tracing::warn!(namespace = %key.namespace, pod = %key.name, %error, "not done; retrying");
                    self.queue.retry(key, apiserver::retry_after(&error));
                }
            }
        }
    }

    async fn reconcile(&self, key: &PodKey) -> Result<(), kube::Error> {
        // The Node that was refused last: the next one is tried.
        let mut refused: Option<(String, kube::Error)> = None;
        loop {
            let look = self.world.look(key, refused.as_ref().map(|(node, _)| node.as_str()));
            match (look, refused) {
                (Look::Settled, _) => return Ok(()),
                (Look::Fits { pod, node, node_created }, _) => {
                    match self.bind(key, &pod, &node, node_created).await {
                        Ok(()) => return Ok(()),
                        Err(error) => refused = Some((node, error)),
                    }
                }
                // It fits Nodes: not the Pod is what is wrong.
                (_, Some((_, error))) => return Err(error),
                (Look::Misfit { pod, misfits }, None) => return self.mark(key, &pod, misfits).await,
                (Look::Marked, None) => {
                    metrics::marked(Mark::AlreadyMarked);
                    return Ok(());
                }
            }
        }
    }

    async fn bind(
        &self,
        key: &PodKey,
        pod: &Seen,
        node: &str,
        node_created: Option<Timestamp>,
    ) -> Result<(), kube::Error> {
        let binding = Binding {
            // With the uid, a Pod that came back under this name does not fall to an old decision.
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                uid: Some(pod.uid.clone()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let (pods, params) = (self.pods(key), PostParams::default());
        let answer = pods.create_subresource::<_, IgnoredAny>("binding", &key.name, &params, &binding);
        match answer.await {
            Ok(_) => {
                metrics::attempted(Attempt::Success);
                metrics::bound(seconds_since(pod.created), seconds_since(node_created), pod.is_steady);
                Ok(())
            }
            Err(error) if matches!(apiserver::code(&error), Some(404 | 409)) => {
                metrics::attempted(Attempt::BoundByOther);
                Ok(())
            }
            Err(error) => {
                metrics::attempted(Attempt::BindError);
                metrics::refused(apiserver::reason(&error));
                Err(error)
            }
        }
    }

    async fn mark(&self, key: &PodKey, pod: &Seen, misfits: Misfits) -> Result<(), kube::Error> {
        let patch = json!({
            // A Pod that was bound since it was looked at must not be marked.
            "metadata": {"resourceVersion": pod.resource_version},
            "status": {"conditions": [{
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": misfits.to_string(),
                "lastTransitionTime": Time(Timestamp::now()),
            }]},
        });
        // Strategic: conditions are merged by type.
        let patch = Patch::Strategic(&patch);
        match self.pods(key).patch_status(&key.name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                metrics::marked(Mark::Patched);
                Ok(())
            }
            // It changed or went; the event that says so queues it again.
            Err(error) if matches!(apiserver::code(&error), Some(404 | 409)) => Ok(()),
            Err(error) => {
                metrics::marked(Mark::Error);
                Err(error)
            }
        }
    }

    fn pods(&self, key: &PodKey) -> Api<slim::Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}
