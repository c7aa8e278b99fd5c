//! What else upstream had to fix before controllers could stop the cascade, one fault at a time.

use anyhow::{Context, ensure};
use harness_analysis::judge::eviction;
use libtest_mimic::Trial;
use serde_json::json;

use crate::bare::churn;
use crate::chain::{FAKE_NAMES, ON_GONE, Run, UNSCHEDULABLE_ONLY, UNWAITED, claim};

pub fn trials() -> Vec<Trial> {
    vec![
        claim(
            "requests_of_unschedulable_pods_only::machines_come_and_go_even_with_controllers",
            &UNSCHEDULABLE_ONLY,
            oscillates,
        ),
        claim(
            "not_waiting_for_eviction::machines_count_as_free_with_their_pods_on_them",
            &UNWAITED,
            free_with_pods,
        ),
        claim("fake_node_names::nothing_is_evicted_and_pods_are_left_behind", &FAKE_NAMES, nothing_evicted),
        claim("requests_kept_until_gone::a_wave_echoes", &ON_GONE, echoes),
    ]
}

/// Machines that the first wave leaves for churned Pods that are pending at that moment: three Pods are churned in two
/// seconds and are soon bound again, and a machine has room for ten.
const LEFT_MAX: u64 = 2;

/// ADR-0039: bound Pods that were never unschedulable are not demand, so that all machines under them are surplus. The
/// machines are removed, the Pods become unschedulable, and machines come back for an unchanged number of Pods.
///
/// The swing dies out, because a Pod that was unschedulable once keeps its request. How long that takes is random (the
/// last machine came 14 to 77 s after the wave), so nothing is claimed about it.
fn oscillates(run: &Run) -> anyhow::Result<()> {
    let away = run.waves("Reclaim");
    let first = away.first().copied().unwrap_or(0);
    let shape = &run.variant.shapes[0];
    ensure!(
        first + LEFT_MAX >= shape.configured,
        "the first wave took {first} machines, not all of {} but those for Pods on their way",
        shape.configured
    );
    let (reclaims, bootstraps, per_s) = churn(run, run.acting()?);
    let surplus = run.variant.surplus() as usize;
    ensure!(
        reclaims > 2 * surplus && bootstraps > surplus,
        "{reclaims} reclaims and {bootstraps} bootstraps are no swing beyond a surplus of {surplus}"
    );
    run.figure(
        "machines-per-second",
        json!({"reclaims": reclaims, "bootstraps": bootstraps, "machines per second": per_s}),
    )
}

/// Upstream's shard does not wait for the operator's evictions, so another cluster could get the machine in the
/// meantime.
fn free_with_pods(run: &Run) -> anyhow::Result<()> {
    let free = eviction::idle(&run.evidence).len() as u64;
    ensure!(free >= run.variant.surplus(), "void: only {free} machines were given back");
    let (present, bound) = (eviction::present_on_idle(&run.evidence), eviction::bound_to_idle(&run.evidence));
    let least = run.variant.evictions_min() as usize;
    ensure!(
        present.len() >= least,
        "only {} Pods (of {least}) were on machines that counted as free",
        present.len()
    );
    let left = eviction::left_on_deleted_nodes(&run.evidence);
    ensure!(!left.is_empty(), "every Pod was gone before its Node");
    run.figure(
        "pods-on-free-machines",
        json!({"there": present.len(), "bound meanwhile": bound.len(), "outlived their Node": left.len()}),
    )
}

/// With names of the form `fake-<machine>`, the operator, which cordons and evicts by machine, finds no Node and no
/// Pod.
fn nothing_evicted(run: &Run) -> anyhow::Result<()> {
    let (reclaims, surplus) = (run.done("Reclaim").len() as u64, run.variant.surplus());
    ensure!(reclaims >= surplus, "void: {reclaims} machines were reclaimed, not {surplus}");
    let evictions = run.evictions()?;
    ensure!(evictions.values().sum::<u64>() == 0, "evictions were asked for: {evictions:?}");
    let left = eviction::left_on_deleted_nodes(&run.evidence);
    let least = run.variant.evictions_min() as usize;
    ensure!(left.len() >= least, "{} Pods outlived their Node, fewer than the {least} on it", left.len());
    run.figure(
        "pods-left-behind",
        json!({"reclaims": reclaims, "evictions": 0, "outlived their Node": left.len()}),
    )
}

/// A Terminating Pod counts in addition to its replacement, so demand seems to have grown by the evicted Pods.
fn echoes(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let surplus = run.variant.surplus() as usize;
    let (reclaims, bootstraps, _) = churn(run, run.acting()?);
    ensure!(bootstraps > 0, "no machine was brought after the wave: {:?}", run.waves("Bootstrap"));
    ensure!(reclaims > surplus, "{reclaims} reclaims are no more than the surplus of {surplus}");
    let wave = run.evidence.actions.iter().find(|a| a.kind == "Reclaim").context("void: no reclaim")?;
    let first = run.evidence.actions.iter().find(|a| a.kind == "Bootstrap").context("no bootstrap")?;
    ensure!(first.started_us > wave.started_us, "machines were brought before any was taken away");
    run.figure("echo", json!({"reclaims": reclaims, "of them surplus": surplus, "bootstraps": bootstraps}))
}
