//! Rails (ADR-0046): how fast surplus may be removed, and the effect that a sudden drop of demand may have.

use anyhow::ensure;
use libtest_mimic::Trial;
use serde_json::json;
use suites::snapshot;

use crate::chain::{CAPPED, Run, claim};

pub fn trials() -> Vec<Trial> {
    vec![claim("reclaim_cap::lets_the_surplus_go_in_the_computed_steps", &CAPPED, computed_steps)]
}

/// max(1, floor(5 % of the Configured machines)) in each cycle, until the surplus is gone.
fn computed(machines: u64, needed: u64) -> Vec<u64> {
    let mut steps = Vec::new();
    let mut configured = machines;
    while configured > needed {
        let step = (configured * 5 / 100).max(1).min(configured - needed);
        steps.push(step);
        configured -= step;
    }
    steps
}

fn computed_steps(run: &Run) -> anyhow::Result<()> {
    run.was_evicted()?;
    let shape = &run.variant.shapes[0];
    let wanted = computed(shape.configured, shape.configured - run.variant.surplus());
    let found = run.waves("Reclaim");
    ensure!(found == wanted, "reclaims by cycle are {found:?} instead of {wanted:?}");
    let (live, target) = (run.live_at_the_end().count() as u64, run.variant.pods());
    ensure!(live == target, "{live} of {target} Pods live after it");
    snapshot(
        "eviction-capped",
        &json!({"machines": shape.configured, "Pods": target, "reclaims by cycle": found}),
    );
    Ok(())
}
