//! The operator's other half: announces machines as UpcomingNodes, and empties those that go.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use api::session::operator_message::Payload;
use api::session::{MachineState, NodeStateUpdate, ReclaimAck, ReclaimInstruction};
use api::upcoming_node::{UpcomingNodePhase as Phase, UpcomingNodeSpec};
use api::{UpcomingNode, names};
use component::apiserver;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Error, ResourceExt};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::mpsc;

use crate::operator::{Outbox, send};

const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A bind that was under way when its Node was cordoned still comes through: so long the Node must have been empty.
const EMPTY_FOR: Duration = Duration::from_secs(1);

/// The machines of a cluster.
pub(crate) struct Machines {
    client: Client,
    outbox: Outbox,
    /// What is to be done for each, one thing after the other: a machine that comes back must not be announced
    /// before it was taken leave of.
    jobs: HashMap<String, mpsc::UnboundedSender<Job>>,
}

enum Job {
    Announce(Box<NodeStateUpdate>),
    Drain { instruction_id: String },
}

impl Machines {
    pub(crate) fn new(client: Client, outbox: Outbox) -> Self {
        Self { client, outbox, jobs: HashMap::new() }
    }

    /// The shard says how a machine stands.
    pub(crate) fn stands(&mut self, state: NodeStateUpdate) {
        self.give(&state.machine_id.clone(), Job::Announce(Box::new(state)));
    }

    /// The shard wants a machine back.
    pub(crate) fn reclaim(&mut self, instruction: ReclaimInstruction) {
        let ReclaimInstruction { instruction_id, nodes, .. } = instruction;
        match &nodes[..] {
            // A Node has its machine's name.
            [machine] => self.give(machine, Job::Drain { instruction_id }),
            _ => {
                tracing::warn!(instruction_id, ?nodes, "only one Node at a time is understood");
                acknowledge(&self.outbox, &instruction_id, -1);
            }
        }
    }

    fn give(&mut self, machine: &str, job: Job) {
        let jobs = self.jobs.entry(machine.to_owned()).or_insert_with(|| {
            let (sender, jobs) = mpsc::unbounded_channel();
            let (client, outbox) = (self.client.clone(), self.outbox.clone());
            tokio::spawn(Worker { machine: machine.to_owned(), client, outbox }.run(jobs));
            sender
        });
        let _ = jobs.send(job);
    }
}

/// Who acts for one machine.
struct Worker {
    machine: String,
    client: Client,
    outbox: Outbox,
}

impl Worker {
    async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.recv().await {
            match job {
                Job::Announce(state) => {
                    self.until_done("announce", || self.announce(&state)).await;
                }
                Job::Drain { instruction_id } => self.drain(&instruction_id).await,
            }
        }
    }

    async fn announce(&self, state: &NodeStateUpdate) -> Result<(), Error> {
        let phase = match state.state() {
            MachineState::Configuring => Phase::Registered,
            MachineState::Configured => Phase::Ready,
            // Let go without an instruction: nothing came of it.
            MachineState::Idle => return self.delete().await,
            // Not this cluster's yet, or on its way out: then the instruction says what to do.
            _ => return Ok(()),
        };
        let node = UpcomingNode::new(&names::upcoming_node_name(&self.machine), spec(state));
        match apiserver::create(&self.client, &node).await {
            Ok(()) => {}
            Err(error) if apiserver::code(&error) == Some(409) => {}
            Err(error) => return Err(error),
        }
        self.phase(phase).await
    }

    /// Empties the Node and lets it go, however long that takes.
    async fn drain(&self, instruction_id: &str) {
        self.until_done("begin the drain", || async {
            self.phase(Phase::Draining).await?;
            let cordon = json!({"spec": {"unschedulable": true}});
            gone_is_fine(apiserver::patch::<Node>(&self.client, None, &self.machine, &cordon).await)
        })
        .await;
        acknowledge(&self.outbox, instruction_id, 1);
        let mut empty_for = Duration::ZERO;
        while empty_for <= EMPTY_FOR {
            tokio::time::sleep(AGAIN_AFTER).await;
            match self.evict_all().await {
                Ok(0) => empty_for += AGAIN_AFTER,
                Ok(_) => empty_for = Duration::ZERO,
                Err(error) => tracing::warn!(machine = self.machine, %error, "Pods not listed; trying again"),
            }
        }
        self.until_done("delete the UpcomingNode", || self.delete()).await;
        // node-creator deletes the Node.
        self.until_done("see the Node go", || async {
            let node = Api::<Node>::all(self.client.clone()).get_metadata_opt(&self.machine).await;
            match node.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(_) => Err("it is still there".to_owned()),
            }
        })
        .await;
        acknowledge(&self.outbox, instruction_id, 1);
    }

    /// Asks each Pod of the Node to leave, and tells how many there are.
    async fn evict_all(&self) -> Result<usize, Error> {
        // Read from etcd (no resourceVersion): a cache may not know yet who was bound last.
        let here = format!("spec.nodeName={},{}", self.machine, names::LOAD_PODS);
        let pods = Api::<Pod>::all(self.client.clone());
        let pods = pods.list_metadata(&ListParams::default().fields(&here)).await?;
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let namespace = pod.namespace().unwrap_or_default();
            let eviction = json!({
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": pod.name_any(), "namespace": namespace},
                // A StatefulSet's next Pod has the same name, and lives elsewhere.
                "deleteOptions": {"preconditions": {"uid": pod.uid()}},
            });
            let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
            let (name, params) = (pod.name_any(), PostParams::default());
            let answer = api.create_subresource::<_, IgnoredAny>("eviction", &name, &params, &eviction).await;
            if let Err(error) = answer {
                tracing::debug!(pod = name, %error, "not evicted; asking again");
            }
        }
        Ok(pods.items.len())
    }

    async fn phase(&self, phase: Phase) -> Result<(), Error> {
        let patch = json!({"status": {"phase": phase}});
        let name = names::upcoming_node_name(&self.machine);
        gone_is_fine(apiserver::patch_status::<UpcomingNode>(&self.client, None, &name, &patch).await)
    }

    async fn delete(&self) -> Result<(), Error> {
        let api = Api::<UpcomingNode>::all(self.client.clone());
        let name = names::upcoming_node_name(&self.machine);
        gone_is_fine(api.delete(&name, &DeleteParams::default()).await.map(drop))
    }

    async fn until_done<E: Display, F>(&self, what: &str, mut step: impl FnMut() -> F)
    where
        F: Future<Output = Result<(), E>>,
    {
        while let Err(error) = step().await {
            tracing::debug!(machine = self.machine, what, %error, "trying again");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// `nodes` of an instruction are being emptied or, the second time, are gone; -1: they cannot be.
fn acknowledge(outbox: &Outbox, instruction_id: &str, nodes: i32) {
    let instruction_id = instruction_id.to_owned();
    send(outbox, Payload::ReclaimAck(ReclaimAck { instruction_id, nodes_started: nodes }));
}

fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    result.or_else(|error| if apiserver::is_gone(&error) { Ok(()) } else { Err(error) })
}

/// Every label and resource is passed on: Pods are bound by some of them, and the judge counts by others.
fn spec(state: &NodeStateUpdate) -> UpcomingNodeSpec {
    UpcomingNodeSpec {
        labels: state.labels.clone().into_iter().collect(),
        resources: state.amounts().map(|(k, v)| (k.clone(), Quantity(v.clone()))).collect(),
        taints: Vec::new(),
    }
}
