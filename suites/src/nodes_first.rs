//! What the scheduler does on its own: Nodes that exist before the Pods, Deployments, and no autoscaler.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use component::slim::Pod;
use component::watch::{Change, changes};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::json;

/// Binding takes seconds; only a bug reaches this.
const CEILING: Duration = Duration::from_secs(120);
/// Node label that a kubelet sets to its Node's name.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A Deployment whose Pods request 1 cpu and 1Gi each.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Its name.
    pub name: &'a str,
    /// Number of its Pods.
    pub replicas: usize,
    /// `schedulerName` of its Pods, if not the default.
    pub scheduler: Option<&'a str>,
}

/// When and where a Pod was seen bound.
#[derive(Clone, Debug)]
pub struct Bind {
    /// When our own watch received it.
    pub at: Instant,
    /// The Node.
    pub node: String,
}

/// Creates `count` empty Nodes in three zones, each with room for `pods_each` Pods of a [`Load`] and with the labels
/// that a kubelet sets.
///
/// # Errors
/// When the apiserver refuses.
pub async fn make_nodes(admin: &Client, count: usize, pods_each: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(admin.clone());
    let resources = json!({"cpu": pods_each.to_string(), "memory": format!("{pods_each}Gi"), "pods": pods_each.to_string()});
    for n in 0..count {
        let name = format!("node-{n}");
        let zone = ["zone-a", "zone-b", "zone-c"][n % 3];
        let node = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {(HOSTNAME): name, (api::names::ZONE): zone},
                "annotations": {(api::names::KWOK_NODE): api::names::KWOK_FAKE},
            },
            "status": {"capacity": resources, "allocatable": resources},
        }))?;
        nodes.create(&PostParams::default(), &node).await.with_context(|| format!("creating {name}"))?;
    }
    Ok(())
}

/// Creates the Deployment, waits until all its Pods are bound, and returns the binds in the order of receipt.
///
/// # Errors
/// When the apiserver refuses, or a Pod is not bound in time.
pub async fn bind(admin: &Client, load: Load<'_>) -> anyhow::Result<Vec<Bind>> {
    let config = watcher::Config::default().labels(&format!("app={}", load.name));
    let mut pods = std::pin::pin!(changes::<Pod>(Api::namespaced(admin.clone(), "default"), config));
    let deployments: Api<Deployment> = Api::namespaced(admin.clone(), "default");
    let created = deployments.create(&PostParams::default(), &deployment(load)?).await;
    created.with_context(|| format!("creating the Deployment {}", load.name))?;
    let (mut seen, mut binds) = (BTreeSet::new(), Vec::new());
    let mut last_words = BTreeMap::new();
    let all = async {
        while binds.len() < load.replicas {
            let Some((at, change)) = pods.next().await else { break };
            let Change::Applied(pod) = change else { continue };
            match pod.spec.node_name {
                Some(node) if seen.insert(pod.metadata.uid.clone()) => binds.push(Bind { at, node }),
                Some(_) => {}
                None => {
                    let message = pod.condition("PodScheduled").and_then(|c| c.message.clone());
                    last_words.insert(pod.metadata.uid, message);
                }
            }
        }
    };
    let _ = tokio::time::timeout(CEILING, all).await;
    last_words.retain(|uid, _| !seen.contains(uid));
    ensure!(
        binds.len() == load.replicas,
        "{} of {} Pods of {} were bound within {} s; the scheduler's last words: {:?}",
        binds.len(),
        load.replicas,
        load.name,
        CEILING.as_secs(),
        last_words.values().next()
    );
    Ok(binds)
}

/// Returns the number of Pods on each used Node, the fullest first.
pub fn pods_per_node(binds: &[Bind]) -> Vec<u64> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    binds.iter().for_each(|bind| *counts.entry(&bind.node).or_default() += 1);
    let mut counts: Vec<u64> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

fn deployment(load: Load<'_>) -> anyhow::Result<Deployment> {
    let requests = json!({"cpu": "1", "memory": "1Gi"});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": load.name},
        "spec": {
            "replicas": load.replicas,
            "selector": {"matchLabels": {"app": load.name}},
            "template": {
                "metadata": {"labels": {"app": load.name}},
                "spec": {
                    "schedulerName": load.scheduler.unwrap_or("default-scheduler"),
                    "containers": [{
                        "name": "workload", "image": "registry.k8s.io/pause:3.10",
                        "resources": {"requests": requests, "limits": requests}
                    }],
                },
            },
        },
    }))?)
}
