//! Pods without an owner: eviction destroys them and their demand, so that the surplus never ends.

use anyhow::{Context, ensure};
use harness_analysis::judge::cpu::used_ms;
use harness_analysis::judge::eviction;
use harness_model::record::Phase;
use libtest_mimic::Trial;
use serde_json::json;

use crate::chain::{BARE, CHURNED, Run, TOPPED_UP, claim};

/// How far the observed share of surplus machines may differ from the model's, in addition to the effect of one whole
/// machine: Pods are spread evenly only to within one Pod.
const BAND: f64 = 0.06;
/// Number of machines that must be removed and added in the soak for a cascade. A model of the load moves 8 to 19 each
/// way.
const CASCADE_MIN: usize = 6;
/// In waves of fewer machines, rounding dominates.
const MACHINES_MIN: u64 = 5;

pub fn trials() -> Vec<Trial> {
    vec![
        claim("bare::eviction_destroys_demand", &BARE, demand_is_destroyed),
        claim("bare::each_wave_finds_the_same_share_surplus", &BARE, share_is_constant),
        claim("bare_topped_up::machines_come_and_go_without_end", &TOPPED_UP, cascade),
        suites::trial("controllers::cost_kube_controller_manager_little", || {
            controllers_cost(&Run::of(&CHURNED)?, &Run::of(&TOPPED_UP)?)
        }),
    ]
}

fn demand_is_destroyed(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let (live, target) = (run.live_at_the_end().count() as u64, run.variant.pods());
    let granted = run.granted()?;
    ensure!(live + granted == target, "{granted} of {target} Pods were evicted, but {live} are left");
    ensure!(live * 2 < target, "{live} of {target} Pods are left: less than half was destroyed");
    let (waves, surplus) = (run.waves("Reclaim"), run.variant.surplus());
    ensure!(
        waves.len() >= 4 && waves.iter().sum::<u64>() > 2 * surplus,
        "reclaims by wave are {waves:?}, which is no cascade from a surplus of {surplus}"
    );
    run.figure("decay", json!({"reclaims by wave": waves, "Pods before": target, "Pods left": live}))
}

/// §4.10 of what is known of BigFleet: with N machines of capacity d and P Pods spread evenly, S = N - P/d machines are
/// surplus. Without them N' = N - S and P' = P (1 - S/N), so S'/N' = S/N.
fn share_is_constant(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let shape = run.variant.shapes.first().context("a variant without Pods")?;
    let capacity = shape.configured as f64 * run.variant.density as f64;
    let model = 1.0 - shape.pods as f64 / capacity;
    let (mut machines, mut seen) = (shape.configured, Vec::new());
    for wave in run.waves("Reclaim") {
        let share = wave as f64 / machines as f64;
        if machines >= MACHINES_MIN {
            // Demand is rounded up to whole machines, so the share may be smaller by one machine.
            let least = model - 1.0 / machines as f64 - BAND;
            ensure!(
                (least..=model + BAND).contains(&share),
                "{wave} of {machines} machines are {share:.2}, not within {least:.2} and {:.2}; shares so far {seen:?}",
                model + BAND
            );
        }
        seen.push(share);
        machines = machines.checked_sub(wave).context("more reclaims than machines")?;
    }
    ensure!(seen.len() >= 4, "void: only {} waves", seen.len());
    run.figure("surplus-share", json!({"model": model, "by wave": seen}))
}

/// Returns the machines that are removed and added in a window, and their number per second.
pub fn churn(run: &Run, window: (u64, u64)) -> (usize, usize, f64) {
    let within = |kind: &str| {
        run.evidence
            .actions
            .iter()
            .filter(|a| a.kind == kind && (window.0..window.1).contains(&a.started_us))
            .count()
    };
    let (reclaims, bootstraps) = (within("Reclaim"), within("Bootstrap"));
    let seconds = (window.1 - window.0) as f64 / 1e6;
    (reclaims, bootstraps, (reclaims + bootstraps) as f64 / seconds)
}

/// Returns the churn of the last third of the soak, which lasts only if it sustains itself.
fn sustained(run: &Run) -> anyhow::Result<(usize, usize, f64)> {
    let (from, to) = run.soak()?;
    Ok(churn(run, (to - (to - from) / 3, to)))
}

fn cascade(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let (reclaims, bootstraps, per_s) = churn(run, run.soak()?);
    let (late_reclaims, late_bootstraps, _) = sustained(run)?;
    ensure!(
        reclaims >= CASCADE_MIN && bootstraps >= CASCADE_MIN,
        "{reclaims} reclaims and {bootstraps} bootstraps in the soak are no cascade"
    );
    ensure!(
        late_reclaims > 0 && late_bootstraps > 0,
        "it ended: {late_reclaims} reclaims and {late_bootstraps} bootstraps in the last third"
    );
    run.figure(
        "machines-per-second",
        json!({"reclaims": reclaims, "bootstraps": bootstraps, "machines per second": per_s}),
    )
}

/// ADR-0038 calls it a modest cost. The figure also shows what bare Pods cost in addition through the cascade.
fn controllers_cost(managed: &Run, bare: &Run) -> anyhow::Result<()> {
    let kcm_ms = |run: &Run| -> anyhow::Result<(u64, f64)> {
        let (fill, _) = run.evidence.window(Phase::Fill).context("there was no fill")?;
        let (_, end) = run.soak()?;
        let used = used_ms(&run.evidence, (fill, end));
        let kcm = used.get("kube-controller-manager").copied().context("its CPU time was not sampled")?;
        Ok((kcm, kcm as f64 / used.values().sum::<u64>() as f64))
    };
    let ((managed_ms, managed_share), (bare_ms, bare_share)) = (kcm_ms(managed)?, kcm_ms(bare)?);
    let made = eviction::live(&managed.evidence.pods).len();
    managed.figure(
        "kube-controller-manager-cpu",
        json!({
            "managed": {"ms": managed_ms, "share of all CPU": managed_share, "births and ends of Pods": made},
            "bare": {"ms": bare_ms, "share of all CPU": bare_share},
        }),
    )?;
    ensure!(
        managed_ms > 0 && bare_ms > 0,
        "void: it used {managed_ms} ms with controllers, {bare_ms} ms without"
    );
    ensure!(
        managed_share < 0.35,
        "kube-controller-manager took {:.0} % of all CPU ({managed_ms} ms); without controllers {:.0} % ({bare_ms} ms)",
        managed_share * 100.0,
        bare_share * 100.0
    );
    Ok(())
}
