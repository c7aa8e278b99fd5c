//! Runs that starved because they ran in parallel at a time when the host was slow. Fewer then run at once, and those
//! that lag nevertheless are repeated alone.

use std::path::Path;

use harness_analysis::judge::Evidence;
use harness_model::record::{Phase, RunDir};
use harness_model::summary::stats::median;

/// Maximum lag of the watch of Pods behind the apiserver's clock after the fill. In the runs for which the claims were
/// written it was 4 s. Six runs at once on a slow host increased it to 30 s, and eviction then took as long as a wave
/// does.
const LAG_MS_MAX: i64 = 5_000;
/// Number of units of the host speed index that are measured; one takes a few milliseconds.
const UNITS: usize = 15;

/// Returns how many of at most `most` runs this host can keep up with now: all of them at reference speed, half as many
/// at half of it, but always at least two, because they wait more than they work.
pub fn at_once(most: usize) -> usize {
    let index = index().unwrap_or(1.0);
    let share = (most as f64 * index.min(1.0)).floor() as usize;
    let at_once = share.max(2).min(most);
    if at_once < most {
        eprintln!("host speed {index:.2}: {at_once} runs at once instead of {most}");
    }
    at_once
}

/// Returns the current median index; `None` if it cannot be measured.
fn index() -> Option<f64> {
    let mut work = host_speed::Work::warmed_up().ok()?;
    let mut found: Vec<f64> = (0..UNITS).filter_map(|_| work.unit().ok()?.0.index()).collect();
    found.sort_by(f64::total_cmp);
    (!found.is_empty()).then(|| median(&found))
}

/// Returns why a run is evidence only of a slow host; `None` if it kept up, or cannot be read.
pub fn why(dir: &Path) -> Option<String> {
    let evidence = Evidence::load(&RunDir::new(dir)).ok()?;
    let from_us = evidence.window(Phase::Fill).map_or(0, |(_, filled)| filled);
    let lag_ms =
        evidence.pods.iter().filter(|pod| pod.created_us >= from_us).map(|pod| pod.watch_lag_ms).max()?;
    (lag_ms > LAG_MS_MAX).then(|| format!("its watch of Pods lagged by {:.1} s", lag_ms as f64 / 1e3))
}
