//! Claims about node-creator beyond its stories: rights, Pods, many machines at once, a kill, metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use api::{UpcomingNode, names};
use component::poll::{self, Look};
use component::watch::{Change, changes};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::plane::{CEILING, Plane, TICK, machines};

/// Machines that become Ready before node-creator starts.
const MACHINES: usize = 500;
/// Time from node-creator's start to the receipt of the last of [`MACHINES`] Nodes on our own watch.
const ALL_NODES_WITHIN: Duration = Duration::from_secs(20);
/// The limits under which it is killed: 50 Nodes at once, then 200/s, so that it can be killed in the middle.
const SLOW: [&str; 2] = ["--qps=200", "--burst=50"];
/// Least number of Nodes that exist when it is killed.
const BEFORE_THE_KILL: usize = 100;
/// How many of their machines are removed while it is down.
const GONE_MEANWHILE: usize = 50;

/// kwok plays a Node for a machine that says nothing about Pods, and the real scheduler binds to it.
pub async fn nodes_take_pods() -> anyhow::Result<()> {
    let plane = Plane::lease(true).await?;
    let mut creator = plane.node_creator(&[])?;
    creator.start().await?;
    plane.machines(&["m-1".to_owned()]).await?;
    let nodes = &plane.nodes;
    poll::until("kwok to play the Node m-1 as Ready", TICK, CEILING, || async move {
        match nodes.get_opt("m-1").await {
            Ok(Some(node)) if is_played(&node) => Look::Ready(()),
            other => Look::NotYet(format!("{:?}", other.map(|node| node.and_then(|n| n.status)))),
        }
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(plane.admin.clone(), "default");
    let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "none", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}}))?;
    pods.create(&PostParams::default(), &pod).await.context("creating a Pod")?;
    let pods = &pods;
    poll::until("the Pod to run on m-1", TICK, CEILING / 2, || async move {
        let pod = match pods.get("p").await {
            Ok(pod) => pod,
            Err(error) => return Look::NotYet(error.to_string()),
        };
        let node = pod.spec.and_then(|spec| spec.node_name);
        let status = pod.status.unwrap_or_default();
        if node.as_deref() == Some("m-1") && status.phase.as_deref() == Some("Running") {
            return Look::Ready(());
        }
        let reasons = status.conditions.into_iter().flatten().filter_map(|c| c.message);
        Look::NotYet(format!("node {node:?}, {:?}, {:?}", status.phase, reasons.collect::<Vec<_>>()))
    })
    .await?;
    plane.release().await
}

/// Whether kwok has made it Ready: kwok signs as the kubelet's version.
fn is_played(node: &Node) -> bool {
    let Some(status) = &node.status else { return false };
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && status.node_info.as_ref().is_some_and(|info| info.kubelet_version == "kwok")
}

/// All machines are Ready when node-creator starts. The time is measured until the last Node is seen.
pub async fn five_hundred_at_once() -> anyhow::Result<()> {
    let plane = Plane::lease(false).await?;
    let mut creator = plane.node_creator(&[])?;
    plane.machines(&machine_ids()).await?;
    let nodes = changes::<Node>(plane.nodes.clone(), watcher::Config::default().labels(names::MACHINE_NODES));
    let begin = Instant::now();
    let all_seen = async {
        let seen = tokio::time::timeout(CEILING, last_receipt(nodes));
        seen.await.with_context(|| format!("not all {MACHINES} Nodes were made in {} s", CEILING.as_secs()))
    };
    let (started, last) = futures::join!(creator.start(), all_seen);
    started?;
    let took = last? - begin;
    eprintln!("{MACHINES} Nodes after {} ms", took.as_millis());
    ensure!(
        took <= ALL_NODES_WITHIN,
        "{MACHINES} UpcomingNodes became Nodes after {:.1} s, which should take at most {} s",
        took.as_secs_f64(),
        ALL_NODES_WITHIN.as_secs()
    );
    plane.release().await
}

async fn last_receipt(nodes: impl futures::Stream<Item = (Instant, Change<Node>)>) -> Instant {
    let mut nodes = std::pin::pin!(nodes);
    let mut names = BTreeSet::new();
    let mut last = Instant::now();
    while names.len() < MACHINES {
        let Some((at, change)) = nodes.next().await else { break };
        if let Change::Applied(node) = change
            && names.insert(node.name_any())
        {
            last = at;
        }
    }
    last
}

fn machine_ids() -> Vec<String> {
    (0..MACHINES).map(|n| format!("m-{n:03}")).collect()
}

/// It is killed in the middle, some machines are removed, and it is started again: there is a Node for each remaining
/// machine, no other Node, and those that were right are the same as before.
pub async fn a_kill_in_the_middle_converges() -> anyhow::Result<()> {
    let plane = Plane::lease(false).await?;
    let mut creator = plane.node_creator(&SLOW)?;
    plane.machines(&machine_ids()).await?;
    creator.start().await?;
    plane.wait_for_nodes("the first Nodes", |nodes| nodes.len() >= BEFORE_THE_KILL).await?;
    creator.kill().await?;
    let before = plane.node_uids().await?;
    ensure!(before.len() < MACHINES, "all Nodes were made before it was killed; nothing is shown");

    let upcoming: Api<UpcomingNode> = Api::all(plane.admin.clone());
    let gone: BTreeSet<&String> = before.keys().take(GONE_MEANWHILE).collect();
    for id in &gone {
        let name = api::names::upcoming_node_name(id);
        upcoming.delete(&name, &DeleteParams::default()).await.with_context(|| format!("deleting {name}"))?;
    }
    creator.start().await?;
    let ids = machine_ids();
    let wanted: BTreeSet<&String> = ids.iter().filter(|id| !gone.contains(id)).collect();
    let what = format!("a Node for each of the {} machines that are left, and none else", wanted.len());
    let after = plane.wait_for_nodes(&what, |nodes| nodes.keys().collect::<BTreeSet<_>>() == wanted).await?;

    let remade: Vec<_> =
        before.iter().filter(|(id, uid)| after.get(*id).is_some_and(|now| now != *uid)).collect();
    ensure!(remade.is_empty(), "{} Nodes that were right were made anew, as {:?}", remade.len(), remade[0]);
    let uids: BTreeMap<String, Option<String>> = upcoming
        .list_metadata(&ListParams::default())
        .await?
        .iter()
        .map(|u| (u.name_any(), u.uid()))
        .collect();
    for node in plane.nodes.list_metadata(&machines()).await? {
        let stands_for = node.annotations().get(api::names::UPCOMING_UID);
        let uid = uids.get(&api::names::upcoming_node_name(&node.name_any())).and_then(Option::as_ref);
        ensure!(
            stands_for.is_some() && stands_for == uid,
            "Node {} stands for {stands_for:?}, its UpcomingNode is {uid:?}",
            node.name_any()
        );
    }
    plane.release().await
}

/// Checks the sum of what the stories' counters report.
pub fn outcomes_add_up(results: &crate::play::Results) -> anyhow::Result<()> {
    use harness_model::prometheus::sum;
    let kind = &crate::program::NODE_CREATOR;
    let all = [
        "cleanup_deleted",
        "cleanup_error",
        "create_error",
        "created",
        "exists",
        "foreign",
        "not_ready",
        "replaced",
    ];
    let mut told = BTreeSet::new();
    for (story, by_program) in results {
        let played = match by_program.get(kind.name) {
            Some(Ok(played)) => played,
            Some(Err(error)) => bail!("{story}: {error}"),
            None => bail!("{story} was not played"),
        };
        let outcomes: BTreeMap<String, f64> = kind.outcomes(&played.metrics).into_iter().collect();
        let known: Vec<&str> = outcomes.keys().map(String::as_str).collect();
        ensure!(known == all, "{story}: never and not measured are the same: only {known:?} have a series");
        told.extend(outcomes.iter().filter(|(_, count)| **count > 0.0).map(|(outcome, _)| outcome.clone()));
        let created = outcomes["created"];
        for metric in ["fake_nodes_created_total", "upcoming_to_node_latency_seconds_count"] {
            let counted = sum(&played.metrics, &format!("{}{metric}", kind.metrics), |_| true).unwrap_or(0.0);
            ensure!(counted == created, "{story}: {metric} is {counted}, the outcome created {created}");
        }
    }
    let untold: Vec<&&str> =
        all.iter().filter(|outcome| **outcome != "cleanup_error" && !told.contains(**outcome)).collect();
    ensure!(untold.is_empty(), "no story has the outcomes {untold:?}");
    Ok(())
}
