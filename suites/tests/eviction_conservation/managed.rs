//! Pods that controllers own: the surplus is removed once, in one wave, and demand is the same afterwards.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use harness_analysis::judge::eviction;
use harness_model::prometheus::sum;
use harness_model::record::{Event, Phase, PodRecord};
use libtest_mimic::Trial;
use serde_json::json;
use suites::snapshot;

use crate::chain::{MANAGED, Run, claim};
use crate::ordinals;

/// Time after the last eviction of a wave by which everything must be bound again.
const RESTORED_WITHIN_US: u64 = 10_000_000;
/// Time and cycles after the wave in which nothing may be removed.
const CALM_US: u64 = 60_000_000;
const CALM_CYCLES: u64 = 20;

pub fn trials() -> Vec<Trial> {
    let claim = |sentence: &str, check: fn(&Run) -> anyhow::Result<()>| {
        claim(&format!("managed::{sentence}"), &MANAGED, check)
    };
    vec![
        claim("evictions_reach_the_apiserver", evictions_are_real),
        claim("exactly_the_surplus_is_reclaimed_in_one_wave", surplus_in_one_wave),
        claim("nothing_is_reclaimed_in_the_next_minute_and_20_cycles", calm_afterwards),
        claim("live_pods_never_exceed_their_target", never_too_many),
        claim("live_pods_are_back_within_10_s_of_the_last_eviction", restored_in_time),
        claim("every_evicted_pod_is_replaced_on_a_machine_that_stays", all_replaced),
        claim("no_node_is_deleted_with_a_pod_on_it", no_pod_left_behind),
        claim("no_pod_is_bound_to_a_machine_that_counts_as_free", none_on_free_machines),
        claim("requests_are_the_live_pods_in_three_looks", requests_agree),
        claim("nothing_is_preempted_and_only_evictions_end_pods", nothing_else_ends_pods),
        claim("stateful_set_ordinals_never_live_twice", ordinals::never_twice),
        claim("stateful_set_ordinals_come_in_order", ordinals::in_order),
    ]
}

fn evictions_are_real(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    run.figure("evictions", json!(run.evictions()?))
}

fn surplus_in_one_wave(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let (waves, surplus) = (run.waves("Reclaim"), run.variant.surplus());
    ensure!(waves == [surplus], "reclaims by cycle are {waves:?} instead of one wave of {surplus}");
    let done = run.done("Reclaim").len() as u64;
    ensure!(done == surplus, "only {done} of {surplus} reclaims succeeded");
    for kind in ["Bootstrap", "Provision", "Preempt"] {
        let waves = run.waves(kind);
        ensure!(waves.is_empty(), "{kind}s followed, by cycle {waves:?}, although demand never changed");
    }
    let shapes = run.variant.shapes.iter().map(|shape| {
        let reclaimed =
            run.done("Reclaim").into_iter().filter(|a| archetype(run, &a.machine) == shape.archetype);
        (
            shape.archetype,
            json!({"Pods": shape.pods, "machines": shape.configured, "reclaims": reclaimed.count()}),
        )
    });
    let shapes: BTreeMap<_, _> = shapes.collect();
    snapshot("eviction-managed", &json!({"waves": waves, "by archetype": shapes}));
    Ok(())
}

fn archetype<'a>(run: &'a Run, machine: &str) -> &'a str {
    let seeded = run.plan.inventory.machines.iter().find(|m| m.id == machine);
    seeded.and_then(|m| m.labels.get(api::names::ARCHETYPE)).map_or("", String::as_str)
}

fn calm_afterwards(run: &Run) -> anyhow::Result<()> {
    let reclaims = run.done("Reclaim");
    let last = reclaims.iter().map(|a| a.ended_us).max().context("void: nothing was reclaimed")?;
    let (_, end) = run.evidence.window(Phase::Quiesce).context("the run did not come to its end")?;
    ensure!(end >= last + CALM_US, "void: only {} s were observed after the wave", (end - last) / 1_000_000);
    let cycles = run.cycles((last, end))?;
    ensure!(cycles >= CALM_CYCLES, "void: the shard decided only {cycles} times after the wave");
    let later: Vec<_> = run.evidence.actions.iter().filter(|a| a.started_us > last).collect();
    ensure!(later.is_empty(), "after the wave the shard went on: {later:?}");
    let rollups = run.evidence.rollups_us.values().flatten().filter(|at| (last..end).contains(*at)).count();
    ensure!(rollups >= 3, "void: only {rollups} roll-ups came after the wave");
    Ok(())
}

fn of_workload<'a>(run: &'a Run, workload: &str) -> Vec<&'a PodRecord> {
    run.evidence.pods.iter().filter(|p| p.workload == workload).collect()
}

fn never_too_many(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    for cluster in &run.plan.clusters {
        for workload in &cluster.workloads {
            let counts = eviction::live(of_workload(run, &workload.name));
            let most = counts.iter().map(|(_, live)| *live).max().unwrap_or(0);
            ensure!(
                most == u64::from(workload.replicas),
                "{} had up to {most} live Pods of {}",
                workload.name,
                workload.replicas
            );
        }
    }
    Ok(())
}

fn restored_in_time(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let (from, _) = run.acting()?;
    let evicted = run.evidence.pods.iter().filter_map(|p| p.deleting_us).filter(|at| *at >= from);
    let last = evicted.max().context("void: no Pod was evicted")?;
    let target = run.variant.pods();
    let counts = eviction::running(&run.evidence.pods);
    let least = counts.iter().filter(|(at, _)| *at >= from).map(|(_, n)| *n).min().unwrap_or(target);
    ensure!(least < target, "void: the wave took no running Pod");
    let short = counts.windows(2).filter(|w| w[0].0 >= from && w[0].1 < target).map(|w| w[1].0).max();
    let restored = short.unwrap_or(from);
    ensure!(
        counts.last().is_some_and(|(_, n)| *n == target) && restored <= last + RESTORED_WITHIN_US,
        "{:?} of {target} Pods ran in the end, and all of them only {} ms after the last eviction",
        counts.last(),
        restored.saturating_sub(last) / 1000
    );
    run.figure(
        "restoration",
        json!({
            "evicted Pods": run.granted()?,
            "fewest running Pods": least,
            "ms from the first eviction to the last": last.saturating_sub(from) / 1000,
            "ms from the last eviction to all running": restored.saturating_sub(last) / 1000,
        }),
    )
}

fn all_replaced(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let away = run.reclaimed();
    for cluster in &run.plan.clusters {
        for workload in &cluster.workloads {
            let live: Vec<_> = of_workload(run, &workload.name).into_iter().filter(|p| p.is_live()).collect();
            ensure!(
                live.len() == workload.replicas as usize,
                "{} ended with {} live Pods of {}",
                workload.name,
                live.len(),
                workload.replicas
            );
            let astray = live.iter().find(|p| p.node.as_deref().is_none_or(|node| away.contains(node)));
            ensure!(astray.is_none(), "a live Pod has no machine that stays: {astray:?}");
        }
    }
    Ok(())
}

fn no_pod_left_behind(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let deleted: BTreeSet<&str> =
        run.evidence.nodes.iter().filter(|n| n.gone_us.is_some()).map(|n| n.name.as_str()).collect();
    ensure!(deleted == run.reclaimed(), "Nodes {deleted:?} went, but {:?} were reclaimed", run.reclaimed());
    let left = eviction::left_on_deleted_nodes(&run.evidence);
    ensure!(left.is_empty(), "{} Pods outlived their Node, among them {:?}", left.len(), left.first());
    Ok(())
}

fn none_on_free_machines(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let free = eviction::idle(&run.evidence).len() as u64;
    ensure!(free == run.variant.surplus(), "void: {free} machines counted as free after they had served");
    let present = eviction::present_on_idle(&run.evidence);
    ensure!(present.is_empty(), "{} Pods were there, among them {:?}", present.len(), present.first());
    Ok(())
}

/// Declared, live, requested and bound Pods equal the target at all three quiet points at the end.
pub fn requests_agree(run: &Run) -> anyhow::Result<()> {
    let target = run.variant.pods();
    let looks: Vec<_> = run
        .evidence
        .events
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::QuietPoint { phase: Phase::Quiesce, declared, live, requests, bound, .. } => {
                Some([*declared, *live, *requests, *bound])
            }
            _ => None,
        })
        .collect();
    ensure!(
        looks == [[target; 4]; 3],
        "declared, live, requested and bound Pods are {looks:?} instead of {target} in three looks"
    );
    Ok(())
}

fn nothing_else_ends_pods(run: &Run) -> anyhow::Result<()> {
    let (from, end) = run.acting()?;
    let ended =
        run.evidence.pods.iter().filter(|p| eviction::ended_us(p).is_some_and(|at| at >= from)).count();
    let granted = run.granted()?;
    ensure!(ended as u64 == granted, "{ended} Pods ended, but {granted} evictions were granted");
    let preempts = run.waves("Preempt");
    ensure!(preempts.is_empty(), "the shard preempted: {preempts:?}");
    let (_, scheduler) =
        run.evidence.timelines("kube-scheduler").next().context("the scheduler was not scraped")?;
    let series = scheduler.at(end).context("no scrape of the scheduler")?;
    let victims = sum(&series, "scheduler_preemption_victims_count", |_| true);
    ensure!(victims == Some(0.0), "the scheduler preempted for {victims:?} Pods");
    Ok(())
}
