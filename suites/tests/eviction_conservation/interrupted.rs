//! Interventions during a drain, and roll-ups that lose nearly everything. Each play has its own control plane; all are
//! played at once, by the first trial that needs any.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use api::capacity_request::{CapacityRequest, CapacityRequestSpec};
use api::names;
use api::upcoming_node::UpcomingNodePhase as Phase;
use component::apiserver;
use component::poll::{self, Look};
use futures::future::{BoxFuture, FutureExt, join_all};
use harness_model::plan::Workload;
use harness_model::plan::template::{self, Manifest};
use harness_supervisor::protocol::Verb;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use serde_json::json;
use suites::shared::once;

use crate::world::{CEILING, TICK, World};

/// Four machines with 14 Pods, where two machines would do. No roll-up comes in the middle of a drain: half of all Pods
/// are being moved then, and demand would seem to be half of what it is.
const SMALL: [&str; 5] = [
    "podsPerCluster=14",
    "podsPerArchetype={deployment: 14}",
    "inventory.configuredPerShape={deployment: 4}",
    "inventory.idlePerShape={}",
    "operator.rollupInterval=5s",
];
const SURPLUS: usize = 2;
/// Number of Needs in the roll-up that collapses, one machine each.
const ROWS: usize = 12;

type Play = fn() -> BoxFuture<'static, anyhow::Result<()>>;

const PLAYS: [(&str, Play); 6] = [
    ("daemon_set_pods::are_passed_over_by_a_drain", || passed_over().boxed()),
    ("killed_operator::resumes_its_drains_under_the_same_deadline", || resumes().boxed()),
    ("recreated_ordinal::is_not_hit_by_the_eviction_of_its_predecessor", || not_hit().boxed()),
    ("not_waiting_for_eviction::pods_are_bound_to_machines_that_count_as_free", || bound_to_free().boxed()),
    ("rollup_guard::holds_a_collapse_for_three_roll_ups", || collapse(true, 3).boxed()),
    ("no_rollup_guard::believes_a_collapse_at_once", || collapse(false, 1).boxed()),
];

pub fn trials() -> Vec<Trial> {
    let trial = |(name, _): (&'static str, Play)| {
        suites::trial(name, move || {
            let played = once("eviction_conservation_plays", &[], play_all)?;
            let ended = played.get(name).with_context(|| format!("{name} was not played"))?;
            ended.clone().map_err(anyhow::Error::msg)
        })
    };
    PLAYS.into_iter().map(trial).collect()
}

fn play_all() -> anyhow::Result<BTreeMap<String, Result<(), String>>> {
    suites::block_on(async {
        let ended = join_all(PLAYS.iter().map(|(_, play)| play())).await;
        let named = PLAYS.iter().map(|(name, _)| (*name).to_owned()).zip(ended);
        Ok(named.map(|(name, ended)| (name, ended.map_err(|error| format!("{error:#}")))).collect())
    })
}

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    base.iter().chain(more).copied().collect()
}

/// With real DaemonSet Pods, a drain ends although they stay, and does not request their eviction.
async fn passed_over() -> anyhow::Result<()> {
    let world = World::start("daemon-set", &SMALL, &["daemonset-controller"]).await?;
    world.fill().await?;
    let daemons: Api<DaemonSet> = Api::namespaced(world.admin.clone(), "default");
    let daemon = json!({
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "agent", "image": "registry.k8s.io/pause:3.10"}]},
            },
        },
    });
    daemons
        .create(&PostParams::default(), &serde_json::from_value(daemon)?)
        .await
        .context("creating a DaemonSet")?;
    let world = &world;
    poll::until("a DaemonSet Pod to run on each of four Nodes", TICK, CEILING, || async move {
        let running = |p: &&Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        match world.pods("app=agent").await {
            Ok(pods) if pods.iter().filter(running).count() == 4 => Look::Ready(()),
            Ok(pods) => {
                Look::NotYet(format!("{} of {} run", pods.iter().filter(running).count(), pods.len()))
            }
            Err(error) => Look::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    let before = world.pods(names::WORKLOAD).await?;
    world.resume().await?;
    let reclaims = world.until_done("Reclaim", SURPLUS).await?;
    ensure!(reclaims.iter().all(|r| r.outcome == "success"), "a drain did not end: {reclaims:?}");
    let away: BTreeSet<&str> = reclaims.iter().map(|r| r.machine.as_str()).collect();
    let on_them = |p: &&Pod| {
        p.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|node| away.contains(node))
    };
    let evicted = before.iter().filter(on_them).count() as u64;
    let evictions = world.evictions().await?;
    ensure!(evicted > 0, "void: the machines that went had no Pods");
    // There may be more evictions than Pods: a Pod may first move to the other machine that is removed.
    ensure!(
        evictions.keys().eq([&201]) && evictions[&201] >= evicted,
        "{evicted} Pods of workloads were on the machines that went, and evictions were answered {evictions:?}"
    );
    let left = world.pods("app=agent").await?;
    let left: Vec<&Pod> = left.iter().filter(on_them).collect();
    ensure!(left.len() == away.len(), "{} DaemonSet Pods are left on {away:?}", left.len());
    let touched = left.iter().find(|p| p.metadata.deletion_timestamp.is_some());
    ensure!(touched.is_none(), "a DaemonSet Pod was touched: {touched:?}");
    world.until_restored().await
}

/// The operator is killed while a budget keeps every Pod. What it does afterwards depends on what it has recorded.
async fn resumes() -> anyhow::Result<()> {
    let set = with(&SMALL, &["disruptionBudget={maxUnavailable: 0}", "shard.reclaimGrace=60s"]);
    let world = World::start("killed-operator", &set, &[]).await?;
    world.fill().await?;
    world.resume().await?;
    let is_draining = |u: &api::UpcomingNode| u.status.as_ref().is_some_and(|s| s.phase == Phase::Draining);
    let orders = |all: &[api::UpcomingNode]| -> BTreeMap<String, [Option<String>; 2]> {
        let order = |u: &api::UpcomingNode| {
            [names::DRAIN_DEADLINE, names::DRAIN_INSTRUCTION].map(|key| u.annotations().get(key).cloned())
        };
        all.iter().map(|u| (u.name_any(), order(u))).collect()
    };
    // The phase alone proves nothing: the shard's own status of the machine may set it before the drain has begun.
    let is_written = |u: &api::UpcomingNode| {
        let order = [names::DRAIN_DEADLINE, names::DRAIN_INSTRUCTION];
        is_draining(u) && order.iter().all(|key| u.annotations().contains_key(*key))
    };
    let before = orders(&world.until_upcoming("two drains to be written down", SURPLUS, is_written).await?);
    let refused = |answers: BTreeMap<u16, u64>| answers.get(&429).copied().unwrap_or(0);
    let world = &world;
    let until_refused = |more_than: u64| {
        poll::until("an eviction to be refused", TICK, CEILING, move || async move {
            match world.evictions().await.map(refused) {
                Ok(n) if n > more_than => Look::Ready(n),
                other => Look::NotYet(format!("{other:?}")),
            }
        })
    };
    until_refused(0).await?;
    world.operator(Verb::Kill).await?;
    let at_death = refused(world.evictions().await?);
    world.operator(Verb::Start).await?;
    until_refused(at_death).await.context("after the operator came back")?;
    let after = orders(&world.until_upcoming("the same two drains to go on", SURPLUS, is_draining).await?);
    ensure!(before == after, "deadline and instruction were {before:?} before the kill, and are {after:?}");
    ensure!(world.done("Reclaim")?.is_empty(), "a drain ended while a budget kept every Pod");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(world.admin.clone(), "default");
    for budget in budgets.list_metadata(&ListParams::default()).await?.items {
        budgets.delete(&budget.name_any(), &DeleteParams::default()).await.context("deleting a budget")?;
    }
    let reclaims = world.until_done("Reclaim", SURPLUS).await?;
    ensure!(reclaims.iter().all(|r| r.outcome == "success"), "a drain did not end: {reclaims:?}");
    let late = reclaims.iter().find(|r| r.unix_nanos - r.started_unix_nanos > 60_000_000_000);
    ensure!(late.is_none(), "a drain outlasted its grace: {late:?}");
    world.until_restored().await
}

/// The operator lists a Node's Pods and requests their evictions, one per second. Meanwhile another client deletes the
/// Pods, and their successors with the same names are elsewhere when the requests arrive.
async fn not_hit() -> anyhow::Result<()> {
    let set = [
        "podsPerCluster=14",
        "podsPerArchetype={stateful-set: 14}",
        "inventory.configuredPerShape={stateful-set: 4}",
        "inventory.idlePerShape={}",
        "operator.qps=1",
        "operator.burst=1",
        "operator.ackConcurrency=1",
        "operator.rollupInterval=18s",
        "controlPlane.podTermination=0s",
    ];
    let world = World::start("recreated-ordinal", &set, &[]).await?;
    world.fill().await?;
    world.resume().await?;
    let world = &world;
    let first = poll::until("the first eviction", TICK, CEILING, || async move {
        match world.evictions().await {
            Ok(answers) if !answers.is_empty() => Look::Ready(()),
            other => Look::NotYet(format!("{other:?}")),
        }
    });
    first.await?;
    let machine_of = |u: &api::UpcomingNode| names::machine_id(&u.name_any()).map(str::to_owned);
    let draining = |u: &api::UpcomingNode| u.status.as_ref().is_some_and(|s| s.phase == Phase::Draining);
    let upcoming = world.until_upcoming("two drains to run", SURPLUS, draining).await?;
    let away: BTreeSet<String> = upcoming.iter().filter_map(machine_of).collect();
    let deleted = delete_all_on(world, &away).await?;
    ensure!(!deleted.is_empty(), "void: every Pod was evicted before it could be deleted");
    let deleted = &deleted;
    let successors = move |pods: Vec<Pod>| -> BTreeMap<String, Option<String>> {
        let bound = |p: &Pod| p.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        let is_one = |p: &Pod| deleted.get(&p.name_any()).is_some_and(|old| *old != p.uid());
        pods.into_iter().filter(|p| is_one(p) && bound(p)).map(|p| (p.name_any(), p.uid())).collect()
    };
    let before = poll::until("successors to be bound", TICK, CEILING, move || async move {
        match world.pods(names::WORKLOAD).await.map(successors) {
            Ok(found) if found.len() == deleted.len() => Look::Ready(found),
            other => Look::NotYet(format!("{other:?} of {deleted:?}")),
        }
    });
    let before = before.await?;
    let reclaims = world.until_done("Reclaim", SURPLUS).await?;
    ensure!(reclaims.iter().all(|r| r.outcome == "success"), "a drain did not end: {reclaims:?}");
    let evictions = world.evictions().await?;
    ensure!(
        evictions.get(&409).is_some_and(|n| *n > 0),
        "void: no request for the eviction of a predecessor met a successor: {evictions:?}, deleted {deleted:?}"
    );
    let after = successors(world.pods(names::WORKLOAD).await?);
    ensure!(
        before == after,
        "successors were evicted in place of their predecessors: {before:?}, then {after:?}"
    );
    Ok(())
}

/// Deletes the Pods on these machines that are not yet being deleted; returns uid by name.
async fn delete_all_on(
    world: &World,
    machines: &BTreeSet<String>,
) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let pods: Api<Pod> = Api::namespaced(world.admin.clone(), "default");
    let mut deleted = BTreeMap::new();
    for pod in world.pods(names::WORKLOAD).await? {
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_ref());
        if pod.metadata.deletion_timestamp.is_some() || !node.is_some_and(|node| machines.contains(node)) {
            continue;
        }
        let only_this = Preconditions { uid: pod.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        // If it was evicted at this very moment, it does not belong to this case.
        if pods.delete(&pod.name_any(), &params).await.is_ok() {
            deleted.insert(pod.name_any(), pod.uid());
        }
    }
    Ok(deleted)
}

/// Upstream's shard considers a machine free when it has requested it, not when its Node is empty. Pods that need a
/// place in the meantime find an open Node. Here the operator is stopped, to prolong that time.
async fn bound_to_free() -> anyhow::Result<()> {
    // One request per second, and every Pod's request has to be acknowledged: it has cordoned nothing when it is
    // stopped.
    let slow = ["shard.waitForEviction=false", "operator.qps=1", "operator.burst=1"];
    let world = World::start("bound-to-free", &with(&SMALL, &slow), &[]).await?;
    world.fill().await?;
    world.resume().await?;
    let reclaims = world.until_done("Reclaim", SURPLUS).await?;
    world.operator(Verb::Pause).await?;
    let away: BTreeSet<&str> = reclaims.iter().map(|r| r.machine.as_str()).collect();
    ensure!(reclaims.iter().all(|r| r.outcome == "success"), "void: a machine is not free: {reclaims:?}");
    let cluster = &world.plan.clusters[0];
    // As many as all machines have room for.
    let room = 4 * world.plan.profile.density - cluster.pods;
    let more = Workload { name: "more".to_owned(), replicas: room, ..cluster.workloads[0].clone() };
    match template::manifest(&world.plan.catalog, &more, room) {
        Manifest::Deployment(more) => apiserver::create(&world.admin, &*more).await,
        Manifest::StatefulSet(more) => apiserver::create(&world.admin, &*more).await,
    }
    .context("creating more Pods")?;
    let (world, away) = (&world, &away);
    let bound =
        poll::until("Pods to be bound to machines that count as free", TICK, CEILING, || async move {
            let on_free = |p: &&Pod| {
                p.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|node| away.contains(node))
            };
            match world.pods(&format!("{}=more", names::WORKLOAD)).await {
                Ok(pods) if pods.iter().any(|p| on_free(&p)) => {
                    Look::Ready(pods.iter().filter(on_free).count())
                }
                Ok(pods) => Look::NotYet(format!("none of {} Pods is on {away:?}", pods.len())),
                Err(error) => Look::NotYet(format!("{error:#}")),
            }
        });
    let bound = bound.await?;
    let idle = world.machines_in("Idle").await?;
    ensure!(
        away.iter().all(|machine| idle.contains(*machine)),
        "void: {bound} Pods were bound to {away:?}, but only {idle:?} count as free"
    );
    Ok(())
}

/// Twelve Needs, of which eleven vanish between two roll-ups. With the guard, only the third such roll-up in a row is
/// believed.
async fn collapse(guard: bool, believed: usize) -> anyhow::Result<()> {
    let guard_set = format!("shard.emptyRollupGuard={guard}");
    let set = [
        "podsPerCluster=5",
        "podsPerArchetype={deployment: 5}",
        "inventory.configuredPerShape={deployment: 12}",
        "inventory.idlePerShape={}",
        guard_set.as_str(),
    ];
    let world = World::start(if guard { "rollup-guard" } else { "no-rollup-guard" }, &set, &[]).await?;
    for n in 0..ROWS {
        let mut request = CapacityRequest::new(&format!("request-{n}"), request(n as i32));
        request.metadata.namespace = Some("default".into());
        request.metadata.labels = Some([("vanishes".to_owned(), (n > 0).to_string())].into());
        apiserver::create(&world.admin, &request).await.context("creating a CapacityRequest")?;
    }
    let last_is =
        |rollups: &[crate::world::Rollup], crs: usize| rollups.last().is_some_and(|r| r.crs == crs as u64);
    world.until_rolled_up("all requests to be in a roll-up", |r| last_is(r, ROWS)).await?;
    world.resume().await?;
    // Just after a roll-up, so that all of them vanish before the next one.
    let seen = world.until_rolled_up("a roll-up", |_| true).await?.len();
    let seen = world.until_rolled_up("the shard to act", |r| r.len() >= seen + 2).await?.len();
    ensure!(world.done("Reclaim")?.is_empty(), "machines were taken from {ROWS} Needs that have one each");
    let requests: Api<CapacityRequest> = Api::namespaced(world.admin.clone(), "default");
    requests
        .delete_collection(&DeleteParams::default(), &ListParams::default().labels("vanishes=true"))
        .await
        .context("deleting CapacityRequests")?;
    let first = world.until_done("Reclaim", 1).await?;
    let began = first.iter().map(|r| r.started_unix_nanos).min().unwrap_or_default();
    let rollups = world.until_rolled_up("roll-ups", |r| last_is(r, 1)).await?;
    // Only the later ones: an early roll-up may have seen only the first of the twelve.
    let since = &rollups[seen..];
    ensure!(since.iter().all(|r| r.crs == 1), "void: a roll-up saw only some of them vanish: {rollups:?}");
    let agreeing = since.iter().filter(|r| r.at_unix_ns <= began).count();
    ensure!(
        agreeing == believed,
        "machines were taken after {agreeing} roll-ups that said so, not after {believed}"
    );
    let all = world.until_done("Reclaim", ROWS - 1).await?;
    ensure!(all.len() == ROWS - 1, "{} machines were taken instead of {}", all.len(), ROWS - 1);
    Ok(())
}

fn request(priority: i32) -> CapacityRequestSpec {
    let instance_type = NodeSelectorRequirement {
        key: names::INSTANCE_TYPE.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec!["single-deployment".to_owned()]),
    };
    CapacityRequestSpec {
        requirements: vec![instance_type],
        resources: BTreeMap::from([("cpu".to_owned(), Quantity("400m".to_owned()))]),
        priority,
        ..CapacityRequestSpec::default()
    }
}
