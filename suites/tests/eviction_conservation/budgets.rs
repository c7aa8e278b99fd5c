//! Drains under a PodDisruptionBudget, with the controller that counts the disruptions it allows.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use harness_analysis::judge::eviction;
use harness_analysis::judge::evidence::Action;
use harness_model::record::PodRecord;
use libtest_mimic::Trial;
use serde_json::json;

use crate::chain::{BUDGETED, REFUSED, Run, claim};

/// The profile's `shard.reclaimGrace`.
const GRACE_US: u64 = 60_000_000;
const REFUSED_GRACE_US: u64 = 8_000_000;
/// `maxUnavailable` of [`BUDGETED`].
const DOWN_MAX: u64 = 3;

pub fn trials() -> Vec<Trial> {
    vec![
        claim("budget_of_three::evictions_are_granted_and_refused", &BUDGETED, granted_and_refused),
        claim("budget_of_three::never_are_more_pods_of_an_object_down", &BUDGETED, never_more_down),
        claim("budget_of_three::drains_end_within_their_grace", &BUDGETED, ends_within_grace),
        claim("budget_of_none::drains_fail_and_say_why", &REFUSED, fails_and_says_why),
        claim("budget_of_none::no_pod_is_touched", &REFUSED, no_pod_touched),
        claim("budget_of_none::a_replacement_comes_when_demand_rises", &REFUSED, replacement_comes),
    ]
}

fn granted_and_refused(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let answers = run.evictions()?;
    let refused = answers.get(&429).copied().unwrap_or(0);
    ensure!(refused >= 1, "no eviction was refused: {answers:?}");
    run.figure("evictions", json!(answers))
}

fn never_more_down(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let (from, _) = run.acting()?;
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for workload in run.plan.clusters.iter().flat_map(|c| &c.workloads) {
        let pods: Vec<&PodRecord> =
            run.evidence.pods.iter().filter(|p| p.workload == workload.name).collect();
        let counts = eviction::running(pods);
        let least = counts.iter().filter(|(at, _)| *at >= from).map(|(_, n)| *n).min();
        let down = u64::from(workload.replicas).saturating_sub(least.unwrap_or(u64::from(workload.replicas)));
        ensure!(
            down <= DOWN_MAX,
            "{down} of {} Pods of {} were down at once",
            workload.replicas,
            workload.name
        );
        most.insert(&workload.name, down);
    }
    // An eviction counts against the budget before the Pod is seen to end, so `most` need not reach it.
    let answers = run.evictions()?;
    ensure!(answers.get(&429).is_some_and(|n| *n > 0), "void: the budget was never used up: {answers:?}");
    run.figure("pods-down-max", json!(most.values().max()))
}

fn ends_within_grace(run: &Run) -> anyhow::Result<()> {
    let drains: Vec<_> = run.evidence.actions.iter().filter(|a| a.kind == "Reclaim").collect();
    ensure!(drains.len() as u64 >= run.variant.surplus(), "void: only {} drains", drains.len());
    for drain in &drains {
        ensure!(drain.outcome == "success", "{drain:?} did not succeed");
        let took = drain.ended_us - drain.started_us;
        ensure!(took <= GRACE_US, "{} took {} s", drain.machine, took / 1_000_000);
    }
    let longest = drains.iter().map(|d| d.ended_us - d.started_us).max().unwrap_or(0);
    run.figure("drain-seconds-max", json!(longest as f64 / 1e6))
}

fn fails_and_says_why(run: &Run) -> anyhow::Result<()> {
    let drains: Vec<_> = run.evidence.actions.iter().filter(|a| a.kind == "Reclaim").collect();
    let surplus = run.variant.surplus() as usize;
    let failed: Vec<_> = drains.iter().filter(|a| a.outcome == "drain_failed").collect();
    ensure!(failed.len() >= surplus, "{} of {surplus} drains failed: {drains:?}", failed.len());
    for drain in failed {
        let took = drain.ended_us - drain.started_us;
        ensure!(took >= REFUSED_GRACE_US, "{} was given up after {} ms", drain.machine, took / 1000);
        let node = run.evidence.nodes.iter().rfind(|n| n.name == drain.machine);
        let node = node.with_context(|| format!("{} has no Node", drain.machine))?;
        ensure!(node.failed_us.is_some(), "{} is not Failed: {node:?}", node.name);
        let why = node.last_error.as_deref().unwrap_or_default();
        ensure!(why.contains("disruption budget"), "{} says {why:?}, which names no budget", node.name);
        ensure!(node.cordoned_us.is_some(), "{} was not cordoned", node.name);
        ensure!(node.gone_us.is_none(), "{} is gone, with the Pods that could not be evicted", node.name);
        // It was cordoned before it failed, and stays cordoned: nothing new is put there.
        let late = run
            .evidence
            .pods
            .iter()
            .find(|p| p.node.as_deref() == Some(&node.name) && p.bound_us > node.failed_us);
        ensure!(late.is_none(), "a Pod was bound to a machine that failed: {late:?}");
    }
    Ok(())
}

fn no_pod_touched(run: &Run) -> anyhow::Result<()> {
    let answers = run.evictions()?;
    ensure!(answers.get(&429).is_some_and(|n| *n > 0), "void: no eviction was asked for: {answers:?}");
    ensure!(answers.keys().all(|code| *code == 429), "evictions were not all refused: {answers:?}");
    // After that, load-driver removes the additional Pods that it requested.
    let until = run.soak()?.0 + run.plan.profile.phases.soak.0.as_micros() as u64;
    let ended = run.evidence.pods.iter().find(|p| eviction::ended_us(p).is_some_and(|at| at < until));
    ensure!(ended.is_none(), "a Pod ended all the same: {ended:?}");
    Ok(())
}

/// A failed machine is out of the inventory: more demand takes Idle machines, although the failed ones still run.
fn replacement_comes(run: &Run) -> anyhow::Result<()> {
    let (soak, soak_end) = run.soak()?;
    let came: Vec<_> =
        run.done("Bootstrap").into_iter().filter(|a| (soak..soak_end).contains(&a.started_us)).collect();
    let density = run.variant.density;
    // The profile's wave requests 30 more Pods.
    let more = (run.variant.pods() + 30).div_ceil(density) - run.variant.pods().div_ceil(density);
    ensure!(came.len() as u64 == more, "{} machines came instead of {more}: {came:?}", came.len());
    // Added machines are removed again once demand falls; only a machine whose drain failed before counts.
    let failed_before = |came: &Action| {
        let drains = run.evidence.actions.iter().filter(|a| a.outcome == "drain_failed");
        drains.into_iter().any(|a| a.machine == came.machine && a.started_us < came.started_us)
    };
    let reused = came.iter().find(|a| failed_before(a));
    ensure!(reused.is_none(), "a machine whose drain failed was used again: {reused:?}");
    Ok(())
}
