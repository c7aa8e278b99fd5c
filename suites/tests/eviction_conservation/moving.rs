//! Conservation while Pods end on their own, are churned and scaled, and roll-ups come at any moment.

use anyhow::{Context, ensure};
use harness_analysis::judge::eviction;
use harness_model::record::Event;
use libtest_mimic::Trial;
use serde_json::json;

use crate::bare::churn;
use crate::chain::{CHURNED, Run, SWUNG, Variant, claim};
use crate::managed::requests_agree;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, variant) in [("churned_and_ageing_pods", &CHURNED), ("scaled_pods", &SWUNG)] {
        let mut of = |sentence: &str, check: fn(&Run) -> anyhow::Result<()>| {
            trials.push(claim(&format!("{name}::{sentence}"), variant, check));
        };
        of("come_to_rest_with_all_pods_on_the_planned_machines", at_rest);
        of("are_never_on_a_machine_that_counts_as_free", never_on_free);
        of("are_gone_before_their_node", gone_before_node);
    }
    trials.push(claim("churned_and_ageing_pods::move_no_machine", &CHURNED, no_machine_moves));
    trials.push(claim("churned_and_ageing_pods::end_by_age_and_run_afresh", &CHURNED, ageing_replaces));
    trials.push(claim("scaled_pods::give_machines_back_and_get_them_again", &SWUNG, down_and_up));
    trials
}

fn machines(variant: &Variant) -> u64 {
    variant.shapes.iter().map(|s| s.configured).sum::<u64>() - variant.surplus()
}

fn at_rest(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    requests_agree(run)?;
    let machines = machines(run.variant);
    let serving = run
        .evidence
        .nodes
        .iter()
        .filter(|n| n.ready_us.is_some() && n.gone_us.is_none() && n.draining_us.is_none());
    let serving = serving.count() as u64;
    ensure!(serving == machines, "{serving} machines serve in the end instead of {machines}");
    for workload in run.plan.clusters.iter().flat_map(|c| &c.workloads) {
        let live = run.live_at_the_end().filter(|p| p.workload == workload.name).count();
        ensure!(
            live == workload.replicas as usize,
            "{} has {live} Pods of {}",
            workload.name,
            workload.replicas
        );
    }
    Ok(())
}

fn never_on_free(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let present = eviction::present_on_idle(&run.evidence);
    ensure!(present.is_empty(), "{} Pods were, among them {:?}", present.len(), present.first());
    Ok(())
}

fn gone_before_node(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let left = eviction::left_on_deleted_nodes(&run.evidence);
    ensure!(left.is_empty(), "{} outlived it, among them {:?}", left.len(), left.first());
    Ok(())
}

fn no_machine_moves(run: &Run) -> anyhow::Result<()> {
    let (from, to) = run.soak()?;
    let ended =
        run.evidence.pods.iter().filter(|p| p.deleting_us.is_some_and(|at| (from..to).contains(&at))).count();
    let least = run.variant.pods() as usize / 4;
    ensure!(ended >= least, "void: only {ended} Pods were churned, not {least}");
    let (reclaims, bootstraps, _) = churn(run, (from, to));
    run.figure("churned", json!({"Pods": ended, "reclaims": reclaims, "bootstraps": bootstraps}))?;
    ensure!(
        reclaims + bootstraps == 0,
        "{reclaims} machines went and {bootstraps} came, although demand never changed"
    );
    Ok(())
}

/// cpu-batch is modelled by ageing (ADR-0038): the Pod is deleted, and its ReplicaSet creates a new one.
fn ageing_replaces(run: &Run) -> anyhow::Result<()> {
    let report = run.evidence.events.iter().rev().find_map(|stamped| match &stamped.event {
        Event::DriverReport { status, .. } => status.get("streams").cloned(),
        _ => None,
    });
    let streams = report.context("load-driver did not report")?;
    let ageing = streams.as_array().into_iter().flatten().find(|s| {
        s["stream"].as_str().is_some_and(|name| name.starts_with("ageing/") && name.ends_with("/batch"))
    });
    let done = ageing.and_then(|s| s["done"].as_u64()).context("no Pod ended by age")?;
    ensure!(done > 0, "no Pod ended by age");
    let (from, to) = run.soak()?;
    let batch = || run.evidence.pods.iter().filter(|p| p.archetype == "batch");
    let afresh = batch().filter(|p| (from..to).contains(&p.created_us)).count() as u64;
    let live = batch().filter(|p| p.is_live()).count() as u64;
    let target: u64 = run.variant.shapes.iter().filter(|s| s.archetype == "batch").map(|s| s.pods).sum();
    ensure!(afresh >= done, "{done} Pods ended by age, but only {afresh} were made");
    ensure!(live == target, "{live} of {target} batch Pods live in the end");
    Ok(())
}

fn down_and_up(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let (reclaims, bootstraps, _) = churn(run, (run.soak()?.0, run.evidence.end_us));
    let density = run.variant.density;
    // The profile's wave: 30 more Pods, 30 fewer, 30 more, and back.
    let at = |pods: u64| pods.div_ceil(density) as usize;
    let (low, plain, high) =
        (at(run.variant.pods() - 30), at(run.variant.pods()), at(run.variant.pods() + 30));
    let (up, down) = ((high - plain) + (high - low), (high - low) + (high - plain));
    ensure!(
        bootstraps >= up && reclaims >= down,
        "{bootstraps} machines came and {reclaims} went; three swings take at least {up} and {down}"
    );
    run.figure("scaled", json!({"reclaims": reclaims, "bootstraps": bootstraps, "at least": [down, up]}))
}
