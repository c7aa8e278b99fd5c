//! The simulator compared with the real runs: the same engine and the same plan, with Pods, controllers and evictions
//! as a model in one and real in the other.

use anyhow::ensure;
use libtest_mimic::Trial;
use serde_json::json;
use sim::beside::{self, Course};

use crate::chain::{BARE, CAPPED, MANAGED, Run, claim};

/// How many more or fewer machines than predicted may be gone after any wave of a cascade: a roll-up that comes while
/// Pods are being evicted splits a wave, and each part is rounded.
const ASTRAY_MAX: u64 = 2;
/// Least number of waves that are compared.
const WAVES_MIN: usize = 4;

pub fn trials() -> Vec<Trial> {
    vec![
        claim("managed::the_simulator_predicts_its_waves", &MANAGED, as_predicted),
        claim("reclaim_cap::the_simulator_predicts_its_steps", &CAPPED, as_predicted),
        claim("bare::the_simulator_predicts_its_cascade", &BARE, nearly_as_predicted),
    ]
}

/// Returns what the simulator predicts, and what happened; both are stored in the run directory.
fn courses(run: &Run) -> anyhow::Result<(Course, Course)> {
    run.was_evicted()?;
    let predicted = Course::predicted(&beside::predict(run.plan.clone())?);
    let seen = Course::seen(&run.plan, &run.evidence);
    run.figure("prediction", json!({"predicted": predicted, "seen": seen}))?;
    Ok((predicted, seen))
}

fn as_predicted(run: &Run) -> anyhow::Result<()> {
    let (predicted, seen) = courses(run)?;
    ensure!(seen == predicted, "predicted was {predicted:?}, but {seen:?} came");
    Ok(())
}

/// Compares the machines that are gone after each observed wave.
fn nearly_as_predicted(run: &Run) -> anyhow::Result<()> {
    let (predicted, seen) = courses(run)?;
    ensure!(seen.given_back.len() >= WAVES_MIN, "void: only {:?} went", seen.given_back);
    ensure!(seen.acquired.is_empty() && predicted.acquired.is_empty(), "machines came: {:?}", seen.acquired);
    let gone = |waves: &[u64], n: usize| waves.iter().take(n).sum::<u64>();
    for n in 1..=seen.given_back.len() {
        let (wanted, found) = (gone(&predicted.given_back, n), gone(&seen.given_back, n));
        ensure!(
            wanted.abs_diff(found) <= ASTRAY_MAX,
            "after wave {n} {found} machines were gone instead of {wanted}: {:?} instead of {:?}",
            seen.given_back,
            predicted.given_back
        );
    }
    Ok(())
}
