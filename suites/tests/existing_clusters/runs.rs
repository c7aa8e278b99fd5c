//! What a run does in a cluster, and that it is gone afterwards.

use anyhow::{Context, ensure};
use api::{CapacityRequest, names};
use component::poll::{self, Look};
use harness_model::components::{KWOK, SCHEDULER};
use harness_planes::spec::{Cluster, LeaseSpec};
use harness_supervisor::protocol::{ProcessState, Verb};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use suites::block_on;
use suites::world::client;

use crate::by_hand::{ByHand, CEILING, LEFT_BY, TICK, create};
use crate::everything;

const REPLICAS: usize = 5;

/// Creates a Node as node-creator does, a workload as load-driver does, and a request; waits until all Pods are bound
/// and running.
pub async fn load(admin: &Client) -> anyhow::Result<()> {
    let room = json!({"cpu": "10", "memory": "10Gi", "pods": "100"});
    let metadata = json!({"name": "m-1", "annotations": {names::KWOK_NODE: names::KWOK_FAKE},
        "labels": {names::CREATED_BY: "node-creator"}});
    let node = json!({"metadata": metadata, "status": {"capacity": room, "allocatable": room}});
    create(admin, "v1", "Node", None, node).await?;
    let labels = json!({names::WORKLOAD: "w-1"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [
        {"name": "c", "image": "none", "resources": {"requests": {"cpu": "1"}}}]}});
    let set = |kind: &str, extra: Value| {
        let mut spec =
            json!({"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template});
        spec.as_object_mut().expect("an object").extend(extra.as_object().cloned().unwrap_or_default());
        (kind.to_owned(), json!({"metadata": {"name": "w-1", "labels": labels}, "spec": spec}))
    };
    let budget = json!({"metadata": {"name": "w-1", "labels": labels},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}}});
    create(admin, "policy/v1", "PodDisruptionBudget", Some("default"), budget).await?;
    let (kind, deployment) = set("Deployment", json!({}));
    create(admin, "apps/v1", &kind, Some("default"), deployment).await?;
    let request = json!({"metadata": {"name": "r-1"}, "spec": {"resources": {"cpu": "1"}, "priority": 0}});
    let requests: Api<CapacityRequest> = Api::namespaced(admin.clone(), "default");
    let mut request: CapacityRequest = {
        let mut value = request;
        (value["apiVersion"], value["kind"]) = (json!("bigfleet.lucy.sh/v1alpha1"), json!("CapacityRequest"));
        serde_json::from_value(value)?
    };
    request.metadata.namespace = Some("default".to_owned());
    requests.create(&PostParams::default(), &request).await?;
    all_run(admin).await
}

async fn all_run(admin: &Client) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    poll::until("all Pods to run on the machine", TICK, CEILING, || async {
        let list = match pods.list(&ListParams::default().labels(names::WORKLOAD)).await {
            Ok(list) => list.items,
            Err(error) => return Look::NotYet(error.to_string()),
        };
        let runs = |pod: &&Pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            node == Some("m-1") && phase == Some("Running")
        };
        match list.iter().filter(runs).count() {
            REPLICAS => Look::Ready(()),
            n => Look::NotYet(format!("{n} of {REPLICAS}")),
        }
    })
    .await?;
    Ok(())
}

/// Checks that the load is where it belongs, and that the real Node has our taint.
async fn in_full_swing(cluster: &Cluster) -> anyhow::Result<()> {
    let admin = client(cluster, "admin").await?;
    load(&admin).await?;
    let nodes: Api<Node> = Api::all(admin);
    let machines = nodes.list(&ListParams::default().labels(names::MACHINE_NODES)).await?.items;
    ensure!(machines.len() == 1, "not the one machine: {:?}", names_of(&machines));
    for node in nodes.list(&ListParams::default().labels("node-role.kubernetes.io/control-plane")).await? {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let ours = taints.iter().any(|taint| taint.key == "e2e.bigfleet.lucy.sh/run");
        ensure!(ours, "{} would take load: {taints:?}", node.name_any());
    }
    Ok(())
}

fn names_of(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(ResourceExt::name_any).collect()
}

/// Compares everything before and after.
pub fn as_before(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        cluster.let_in()?;
        let adopted = everything::at_rest(&cluster.client).await?;
        let world = cluster.world(label).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let leased = &lease.clusters[0];
        let total_ms = leased.steps.last().context("no steps")?.duration_ms;
        eprintln!("ready after {total_ms} ms; notes: {:?}", leased.notes);
        // What was read must be as requested, and what could not be read must be reported.
        for name in [SCHEDULER, "kube-controller-manager"] {
            let told = leased.notes.iter().any(|note| note.starts_with(&format!("{name} cannot be read")));
            ensure!(leased.read_back.contains_key(name) != told, "{name}: {leased:?}");
            ensure!(leased.metrics_kubeconfigs.contains_key(name) != told, "{name}: {leased:?}");
        }
        in_full_swing(leased).await?;
        world.client.release(&lease.id).await?;
        everything::becomes(&cluster.client, &adopted, LEFT_BY).await?;
        world.end().await?;
        cluster.ends_as_it_began().await
    })
}

/// kwok is ours; the other components are the owner's.
pub fn verbs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        cluster.let_in()?;
        let world = cluster.world(label).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let name = lease.clusters[0].name.as_str();
        let act = |component, verb| world.client.component(&lease.id, Some(name), component, verb);
        ensure!(act(KWOK, Verb::Pause).await?.state == ProcessState::Paused, "kwok is not paused");
        ensure!(act(KWOK, Verb::Continue).await?.state == ProcessState::Running, "kwok does not run");
        for component in ["etcd", "kube-apiserver", "kube-controller-manager", SCHEDULER] {
            let refused = act(component, Verb::Kill).await.err().context("it was killed")?;
            ensure!(refused.exit_code() == 2, "{component}: {refused:?}");
            ensure!(refused.to_string().contains("never acted on"), "{component}: {refused}");
        }
        world.client.release(&lease.id).await?;
        world.end().await?;
        cluster.ends_as_it_began().await
    })
}
