//! The claims.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use component::poll::{self, Look};
use harness_planes::spec::LeaseSpec;
use harness_supervisor::protocol::{ProcessState, SpawnRequest, Verb};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use suites::block_on;

use suites::traces;
use suites::world::{World, client, idle_process, pause_and_restart_apiserver};

pub const TICK: Duration = Duration::from_millis(50);
pub const CEILING: Duration = Duration::from_secs(60);

/// Two control planes at once: settings as requested, probes removed, all processes running.
pub fn ready_as_asked(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(2)).await?;
        for cluster in &lease.clusters {
            let scheduler = &cluster.read_back["kube-scheduler"];
            ensure!(scheduler["clientConnection"]["qps"] == json!(5000), "scheduler: {scheduler}");
            let kcm = &cluster.read_back["kube-controller-manager"];
            ensure!(kcm["/Generic/ClientConnection/qps"] == json!(500), "KCM: {kcm}");
            let nodes: Api<Node> = Api::all(client(cluster, "admin").await?);
            ensure!(
                nodes.list(&ListParams::default()).await?.items.is_empty(),
                "the probe Node is still there"
            );
        }
        ensure!(lease.clusters[0].server != lease.clusters[1].server, "two apiservers on one port");
        let processes = world.client.processes().await?;
        let running = processes
            .iter()
            .filter(|p| p.state == ProcessState::Running && p.cluster.as_deref() != Some("seed"));
        ensure!(running.count() == 10, "not ten processes: {processes:?}");
        ensure!(world.client.status().await?.unasked_exits.is_empty(), "something ended unasked");
        world.end().await
    })
}

/// Nothing of the run can be reached from outside the machine.
pub fn loopback_only(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let _lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let listeners = traces::listeners(&world.run_id);
        ensure!(listeners.len() == 3, "expected apiserver, KCM and scheduler to listen: {listeners:?}");
        ensure!(listeners.iter().all(|address| address.ip().is_loopback()), "beyond loopback: {listeners:?}");
        world.end().await
    })
}

/// The real scheduler binds a Pod to a Node that kwok plays, and kwok makes it Running.
pub fn binds_and_runs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let admin = client(&lease.clusters[0], "admin").await?;
        make_node(&admin, "m-1").await?;
        let pods: Api<Pod> = Api::namespaced(admin, "default");
        let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "none", "resources": {"requests": {"cpu": "1"}}}]}}))?;
        pods.create(&PostParams::default(), &pod).await?;
        let pods = &pods;
        poll::until("the Pod to run on m-1", TICK, CEILING, || async move {
            match pods.get("p").await {
                Ok(pod) => {
                    let node = pod.spec.and_then(|spec| spec.node_name);
                    let phase = pod.status.and_then(|status| status.phase);
                    if node.as_deref() == Some("m-1") && phase.as_deref() == Some("Running") {
                        Look::Ready(())
                    } else {
                        Look::NotYet(format!("node {node:?}, phase {phase:?}"))
                    }
                }
                Err(error) => Look::NotYet(error.to_string()),
            }
        })
        .await?;
        world.end().await
    })
}

pub async fn make_node(client: &Client, name: &str) -> anyhow::Result<()> {
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "10"});
    let node = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": {api::names::KWOK_NODE: api::names::KWOK_FAKE}},
        "status": {"capacity": room, "allocatable": room},
    }))?;
    Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await?;
    Ok(())
}

/// "node-creator has zero responsibility for Pods" (ADR-0023) is enforced by the apiserver.
pub fn node_creator_rights(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let node_creator = client(&lease.clusters[0], "node-creator").await?;
        make_node(&node_creator, "m-1").await?;
        let pods: Api<Pod> = Api::namespaced(node_creator, "default");
        match pods.list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            other => bail!("listing Pods as node-creator: {other:?}, expected 403"),
        }
        world.end().await
    })
}

/// If a component does not start, the error has the reason that it logged, and the lease is undone.
pub fn wrong_flag(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let mut spec = LeaseSpec::of(2);
        spec.clusters[1].extra_flags =
            [("kube-scheduler".to_owned(), vec!["--no-such-flag".to_owned()])].into();
        let Err(error) = world.client.lease(&spec).await else { bail!("leased in spite of a wrong flag") };
        let text = error.to_string();
        ensure!(text.contains("unknown flag: --no-such-flag"), "without the log's reason: {text}");
        ensure!(text.contains("kube-scheduler of kwok-cluster-1"), "without the component: {text}");
        ensure!(error.exit_code() == 3, "not an environment error: {error:?}");
        ensure!(world.client.status().await?.processes_running == 0, "the failed lease still runs");
        world.end().await
    })
}

/// Refused before anything starts.
pub fn too_little_memory(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, Some(3_000)).await?;
        let Err(error) = world.client.lease(&LeaseSpec::of(2)).await else { bail!("leased without memory") };
        ensure!(error.to_string().contains("of 3000 MiB"), "{error}");
        ensure!(error.to_string().contains("1 would fit"), "{error}");
        ensure!(error.exit_code() == 3, "not an environment error: {error:?}");
        world.end().await
    })
}

/// When a caller dies, its control planes are released.
pub fn released_on_close(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let other = harness_supervisor::Client::connect(&world.announcement.socket).await?;
        other.lease(&LeaseSpec::of(1)).await?;
        ensure!(world.client.status().await?.processes_running == 5, "not one control plane");
        drop(other);
        let client = &world.client;
        poll::until("the lease to be released", TICK, CEILING, || async move {
            match client.status().await {
                Ok(status) if status.processes_running == 0 && status.leases.is_empty() => Look::Ready(()),
                other => Look::NotYet(format!("{other:?}")),
            }
        })
        .await?;
        world.end().await
    })
}

/// An unexpected death is reported; a restarted scheduler is the same one again.
pub fn scheduler_verbs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let act = |verb| world.client.component(&lease.id, Some("kwok-cluster-0"), "kube-scheduler", verb);
        let killed = act(Verb::Kill).await?;
        ensure!(killed.state == ProcessState::Exited && killed.signal == Some(9), "{killed:?}");
        ensure!(!killed.unasked, "a death that was asked for is reported as unasked");
        let started = act(Verb::Restart).await?;
        ensure!(started.state == ProcessState::Running && started.pid != killed.pid, "{started:?}");
        kill(started.pid, Signal::KILL)?;
        let client = &world.client;
        poll::until("the unasked death to be reported", TICK, CEILING, || async move {
            match client.status().await {
                Ok(status) if !status.unasked_exits.is_empty() => Look::Ready(()),
                other => Look::NotYet(format!("{other:?}")),
            }
        })
        .await?;
        world.end().await
    })
}

/// SIGSTOP and SIGCONT.
pub fn apiserver_verbs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        pause_and_restart_apiserver(&world.client, &lease).await?;
        world.end().await
    })
}

/// A program is ready when its ready file exists. One that ends before is an error with its last output.
pub fn spawned_programs(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let script = |name: &str, text: &str| SpawnRequest {
            lease: lease.id.clone(),
            name: name.to_owned(),
            argv: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
            ready_file: Some(world.run_dir.join(format!("{name}.ready"))),
            ..SpawnRequest::default()
        };
        let write = format!(
            r#"echo '{{"pid":'$$',"addresses":{{"metrics":"127.0.0.1:9"}}}}' > {0}.tmp; mv {0}.tmp {0}; exec sleep 600"#,
            world.run_dir.join("good.ready").display()
        );
        let good = world.client.spawn(script("good", &write)).await?;
        let ready = good.ready.context("no ready file in the answer")?;
        ensure!(ready.pid == good.pid && ready.addresses["metrics"].port() == 9, "{ready:?}");
        ensure!(traces::processes(&world.run_id).contains(&good.pid), "without E2E_RUN_ID");
        let Err(error) = world.client.spawn(script("bad", "echo famous last words; exit 7")).await else {
            bail!("a program that ended is said to be ready");
        };
        let text = error.to_string();
        ensure!(text.contains("famous last words") && text.contains("exit status: 7"), "{text}");
        ensure!(good.log_file == world.run_dir.canonicalize()?.join("logs/good.log"), "{:?}", good.log_file);
        world.end().await
    })
}

/// The hard way: the supervisor cannot do anything any more.
pub fn supervisor_killed(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let mut world = World::new(label, None, None).await?;
        let listeners = with_load(&world).await?;
        kill(world.child.id(), Signal::KILL)?;
        world.nothing_is_left(&listeners).await
    })
}

/// The owner (xtask, nextest) is killed; the supervisor ends with it.
pub fn owner_killed(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let mut owner = idle_process()?;
        let mut world = World::new(label, Some(owner.id()), None).await?;
        let listeners = with_load(&world).await?;
        owner.kill().context("killing the owner")?;
        owner.wait().context("reaping the owner")?;
        world.nothing_is_left(&listeners).await
    })
}

/// Stops it in an orderly way.
pub fn supervisor_terminated(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let mut world = World::new(label, None, None).await?;
        let listeners = with_load(&world).await?;
        kill(world.child.id(), Signal::TERM)?;
        world.nothing_is_left(&listeners).await?;
        ensure!(!world.run_dir.join("supervisor.json").exists(), "supervisor.json points at nothing");
        Ok(())
    })
}

/// Starts two control planes and a program that ignores SIGTERM; returns the addresses they listen on.
async fn with_load(world: &World) -> anyhow::Result<BTreeSet<std::net::SocketAddr>> {
    let lease = world.client.lease(&LeaseSpec::of(2)).await?;
    ensure!(Path::new(&lease.clusters[0].kubeconfigs["admin"]).starts_with(&world.announcement.scratch));
    let stubborn = SpawnRequest {
        lease: lease.id.clone(),
        name: "stubborn".to_owned(),
        argv: ["/bin/sh", "-c", "trap '' TERM; exec sleep 600"].map(str::to_owned).to_vec(),
        ..SpawnRequest::default()
    };
    world.client.spawn(stubborn).await?;
    // A process that is just executing another program shows no environment for a moment.
    let what = "10 components, a program, supervisor and janitor to run";
    poll::until(what, TICK, CEILING, || async {
        match traces::processes(&world.run_id).len() {
            13 => Look::Ready(()),
            found => Look::NotYet(found),
        }
    })
    .await?;
    let listeners = traces::listeners(&world.run_id);
    ensure!(listeners.len() == 6, "{listeners:?}");
    Ok(listeners)
}

fn kill(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(pid, signal).context("sending a signal")
}
