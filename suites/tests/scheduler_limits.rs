//! Client-side limits are seen and named, not taken for the scheduler's speed (design, measuring rules).
//!
//! One control plane, Nodes first, one Deployment; the rate is taken from receipts on our own watch.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use component::slim::Pod;
use component::watch::{Change, changes};
use futures::StreamExt;
use harness::cluster::spec::{ClusterSpec, LeaseSpec};
use harness::judge::limiter::limiter;
use harness::supervisor::Client as Supervisor;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::watcher;
use libtest_mimic::Arguments;
use serde_json::json;

const PODS: usize = 900;
const PODS_PER_NODE: usize = 100;
/// Binds left out at the start: the limiter's burst (100 by default) passes at once.
const WARM_UP_PODS: usize = 250;
/// Binding takes 18 s at 50 Pods/s; only a fault reaches this.
const CEILING: Duration = Duration::from_secs(180);

fn main() -> std::process::ExitCode {
    let trials = vec![
        suites::trial("default_qps::binds_50_pods_per_second_and_the_limiter_is_named", || {
            let (rate_per_s, named) = suites::block_on(bind_rate("default-qps.yaml"))?;
            ensure!((48.0..=52.0).contains(&rate_per_s), "bound {rate_per_s:.1} Pods/s instead of 50 ± 2");
            let expected = "client limit of kube-scheduler: 50 requests/s";
            ensure!(named.as_deref() == Some(expected), "named {named:?} instead of {expected:?}");
            Ok(())
        }),
        suites::trial("explicit_qps::binds_faster_and_no_limiter_is_named", || {
            let (rate_per_s, named) = suites::block_on(bind_rate("most-allocated.yaml"))?;
            ensure!(rate_per_s > 60.0, "bound only {rate_per_s:.1} Pods/s with the limits lifted");
            ensure!(named.is_none(), "named {named:?} at {rate_per_s:.1} Pods/s");
            Ok(())
        }),
    ];
    suites::run(&Arguments::from_args(), trials)
}

/// Binds per second after the warm-up, and the limit that rate sits on.
async fn bind_rate(scheduler_config: &str) -> anyhow::Result<(f64, Option<String>)> {
    let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
    let cluster =
        ClusterSpec { scheduler_config: PathBuf::from(scheduler_config), ..ClusterSpec::named("limits") };
    let lease = supervisor.lease(&LeaseSpec { clusters: vec![cluster] }).await?;
    let cluster = &lease.clusters[0];
    let admin = component::client::connect_unlimited(&cluster.kubeconfigs["admin"]).await?;

    let nodes: Api<Node> = Api::all(admin.clone());
    for n in 0..PODS.div_ceil(PODS_PER_NODE) {
        nodes.create(&PostParams::default(), &node(n)?).await.context("creating a Node")?;
    }
    let pods = changes::<Pod>(Api::namespaced(admin.clone(), "default"), watcher::Config::default());
    let deployments: Api<Deployment> = Api::namespaced(admin, "default");
    deployments.create(&PostParams::default(), &deployment()?).await.context("creating the Deployment")?;

    let bound_at =
        tokio::time::timeout(CEILING, bind_receipts(pods)).await.context("not all Pods were bound")?;
    let (first, last) = (bound_at[WARM_UP_PODS], bound_at[PODS - 1]);
    let rate_per_s = (PODS - 1 - WARM_UP_PODS) as f64 / (last - first).as_secs_f64();
    let named = limiter(rate_per_s, &cluster.read_back);
    supervisor.release(&lease.id).await?;
    Ok((rate_per_s, named))
}

/// When each Pod was first seen bound, in order, until all are.
async fn bind_receipts(pods: impl futures::Stream<Item = (Instant, Change<Pod>)>) -> Vec<Instant> {
    let mut pods = std::pin::pin!(pods);
    let (mut seen, mut bound_at) = (BTreeSet::new(), Vec::new());
    while bound_at.len() < PODS {
        let Some((at, change)) = pods.next().await else { break };
        if let Change::Applied(pod) = change
            && pod.spec.node_name.is_some()
            && seen.insert(pod.metadata.uid)
        {
            bound_at.push(at);
        }
    }
    bound_at
}

fn node(n: usize) -> anyhow::Result<Node> {
    let pods = PODS_PER_NODE.to_string();
    let resources = json!({"cpu": pods, "memory": "100Gi", "pods": pods});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("node-{n}"), "annotations": {api::names::KWOK_NODE: api::names::KWOK_FAKE}},
        "status": {"capacity": resources, "allocatable": resources},
    }))?)
}

fn deployment() -> anyhow::Result<Deployment> {
    let requests = json!({"cpu": "1", "memory": "1Gi"});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "load"},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": {"app": "load"}},
            "template": {
                "metadata": {"labels": {"app": "load"}},
                "spec": {"containers": [{
                    "name": "workload", "image": "registry.k8s.io/pause:3.10",
                    "resources": {"requests": requests, "limits": requests}
                }]},
            },
        },
    }))?)
}
