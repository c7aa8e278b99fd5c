//! Clusters that are ready, and what can be done to their components.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use api::{CapacityRequest, names};
use component::poll::{self, Look};
use harness_model::components::{self, SCHEDULER};
use harness_planes::spec::{ClusterSpec, LeaseSpec};
use harness_supervisor::protocol::{ProcessState, Verb};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use suites::block_on;
use suites::world::{World, client, pause_and_restart_apiserver};

use crate::engine;

pub const TICK: Duration = Duration::from_millis(100);
pub const CEILING: Duration = Duration::from_secs(60);
/// Time after the end of a run by which nothing of it may be left.
pub const LEFT_BY: Duration = Duration::from_secs(30);
const NAME: &str = "kwok-cluster-0";

/// Stops the supervisor in an orderly way: nothing must be left then either.
async fn end(mut world: World, volumes: &[String]) -> anyhow::Result<()> {
    let prefix = engine::prefix(&world);
    world.client.shutdown().await?;
    world.is_gone_within(LEFT_BY).await?;
    engine::nothing_is_left(&prefix, volumes).await
}

/// Two clusters at once, with settings as requested, and each component found and running.
pub fn ready_as_asked(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(2)).await?;
        for cluster in &lease.clusters {
            let scheduler = &cluster.read_back["kube-scheduler"];
            ensure!(scheduler["clientConnection"]["qps"] == json!(5000), "scheduler: {scheduler}");
            let kcm = &cluster.read_back["kube-controller-manager"];
            ensure!(kcm["/Generic/ClientConnection/qps"] == json!(500), "KCM: {kcm}");
            let total_ms = cluster.steps.last().context("no steps")?.duration_ms;
            eprintln!("{} ready after {total_ms} ms", cluster.name);
        }
        ensure!(lease.clusters[0].server != lease.clusters[1].server, "two apiservers at one address");
        let processes = world.client.processes().await?;
        for name in components::ALL {
            let running = processes.iter().filter(|p| p.name == name && p.state == ProcessState::Running);
            let running = running.filter(|p| p.cluster.as_deref() != Some("seed")).count();
            ensure!(running == 2, "{running} of {name}: {processes:?}");
        }
        ensure!(world.client.status().await?.unasked_exits.is_empty(), "something ended unasked");
        end(world, &volumes).await
    })
}

/// kwok plays only annotated Nodes, and no load gets onto the real one.
pub fn real_node(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let admin = client(&lease.clusters[0], "admin").await?;
        let nodes: Api<Node> = Api::all(admin.clone());
        let all = nodes.list(&ListParams::default()).await?.items;
        ensure!(all.len() == 1, "not the real Node alone: {:?}", names_of(&all));
        let machines = nodes.list(&ListParams::default().labels(names::MACHINE_NODES)).await?.items;
        ensure!(machines.is_empty(), "the real Node counts as a machine: {:?}", names_of(&machines));
        let node = &all[0];
        ensure!(!node.annotations().contains_key(names::KWOK_NODE), "the real Node is kwok's");
        let kubelet =
            node.status.as_ref().and_then(|s| s.node_info.as_ref()).map(|i| i.kubelet_version.as_str());
        ensure!(kubelet.is_some_and(|version| version.starts_with("v1.")), "no kubelet's Node: {kubelet:?}");
        let pods: Api<Pod> = Api::all(admin.clone());
        let load = pods.list(&ListParams::default().fields(names::LOAD_PODS)).await?.items;
        ensure!(
            load.is_empty(),
            "static Pods count as load: {:?}",
            load.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        );
        let requests: Api<CapacityRequest> = Api::all(admin);
        ensure!(
            requests.list(&ListParams::default()).await?.items.is_empty(),
            "something asks for a machine"
        );
        end(world, &volumes).await
    })
}

fn names_of(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(ResourceExt::name_any).collect()
}

/// The real scheduler binds a Pod to a Node that kwok plays, and never to the real one.
pub fn binds_and_runs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let admin = client(&lease.clusters[0], "admin").await?;
        let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
        let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "none", "resources": {"requests": {"cpu": "1"}}}]}}))?;
        pods.create(&PostParams::default(), &pod).await?;
        let pods = &pods;
        // The scheduler has considered the real Node, and not used it.
        until_pod(pods, "the Pod to be unschedulable", |pod| {
            let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
            conditions.into_iter().flatten().any(|c| c.reason.as_deref() == Some("Unschedulable"))
        })
        .await?;
        let room = json!({"cpu": "4", "memory": "8Gi", "pods": "10"});
        let node = serde_json::from_value(json!({
            "metadata": {"name": "m-1", "annotations": {(names::KWOK_NODE): names::KWOK_FAKE}},
            "status": {"capacity": room, "allocatable": room},
        }))?;
        Api::<Node>::all(admin).create(&PostParams::default(), &node).await?;
        until_pod(pods, "the Pod to run on m-1", |pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            node == Some("m-1") && phase == Some("Running")
        })
        .await?;
        end(world, &volumes).await
    })
}

async fn until_pod(pods: &Api<Pod>, what: &str, is_so: fn(&Pod) -> bool) -> anyhow::Result<()> {
    poll::until(what, TICK, CEILING, || async move {
        match pods.get("p").await {
            Ok(pod) if is_so(&pod) => Look::Ready(()),
            Ok(pod) => Look::NotYet(format!("{:?}", pod.status)),
            Err(error) => Look::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// Checks what the engine publishes on the host.
pub fn loopback_only(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let _lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let containers = engine::containers(&engine::prefix(&world))?;
        ensure!(containers.len() == 1, "not one container: {containers:?}");
        let ports = engine::docker(&["port", &containers[0]])?;
        ensure!(!ports.is_empty(), "void: nothing is published");
        let beyond: Vec<_> = ports.iter().filter(|port| !port.contains("-> 127.0.0.1:")).collect();
        ensure!(beyond.is_empty(), "published beyond loopback: {beyond:?}");
        end(world, &volumes).await
    })
}

/// kubeadm waits for a component that does not start. The failure is reported, and the container is removed.
pub fn wrong_flag(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let mut spec = LeaseSpec::of(1);
        spec.clusters[0].extra_flags =
            [("kube-apiserver".to_owned(), vec!["--no-such-flag".to_owned()])].into();
        let Err(error) = world.client.lease(&spec).await else { bail!("leased in spite of a wrong flag") };
        ensure!(error.exit_code() == 3, "not an environment error: {error:?}");
        let log = world.run_dir.join("logs").join(NAME).join("kube-apiserver.log");
        let log = std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
        ensure!(log.contains("no-such-flag"), "the reason is in no log: {log}");
        let left = engine::containers(&engine::prefix(&world))?;
        ensure!(left.is_empty(), "the failed cluster is still there: {left:?}");
        end(world, &volumes).await
    })
}

/// kubeadm would wait for four minutes.
pub fn mistyped(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let mut spec = ClusterSpec::named(NAME);
        spec.scheduler_config = "most-alocated.yaml".into();
        let Err(error) = world.client.lease(&LeaseSpec { clusters: vec![spec] }).await else {
            bail!("leased with a scheduler file that is not there")
        };
        ensure!(error.exit_code() == 2 && error.to_string().contains("most-allocated.yaml"), "{error}");
        ensure!(engine::containers(&engine::prefix(&world))?.is_empty(), "a container was made");
        end(world, &volumes).await
    })
}

/// kubelet would restart it at once.
pub fn scheduler_verbs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let act = |verb| world.client.component(&lease.id, Some(NAME), SCHEDULER, verb);
        let killed = act(Verb::Kill).await?;
        ensure!(killed.state == ProcessState::Exited && !killed.unasked, "{killed:?}");
        // Longer than kubelet takes to start it again.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let status = world.client.status().await?;
        ensure!(status.unasked_exits.is_empty(), "{:?}", status.unasked_exits);
        let processes = world.client.processes().await?;
        let now = processes.iter().find(|p| p.name == SCHEDULER).context("the scheduler is not known")?;
        ensure!(now.state == ProcessState::Exited, "it came back by itself: {now:?}");
        let started = act(Verb::Start).await?;
        ensure!(started.state == ProcessState::Running && started.pid != killed.pid, "{started:?}");
        ensure!(started.starts == 2, "{started:?}");
        end(world, &volumes).await
    })
}

/// SIGSTOP and SIGCONT.
pub fn apiserver_verbs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let world = World::of_kind(label, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        pause_and_restart_apiserver(&world.client, &lease).await?;
        end(world, &volumes).await
    })
}
