//! Runs that starved beside each other, on an hour in which the host is slow: fewer at once then, and what lagged all the
//! same is made again, alone.

use std::path::Path;

use harness_analysis::judge::Evidence;
use harness_model::record::{Phase, RunDir};
use harness_model::summary::stats::median;

/// Furthest that the watch of Pods may lag behind the apiserver's clock after the fill. In the runs on which the claims
/// were written it lagged by 4 s; six at once on a slow host made it 30 s, and eviction then took what a wave takes.
const LAG_MS_MAX: i64 = 5_000;
/// Units of the host speed index that are measured; one takes a few milliseconds.
const UNITS: usize = 15;

/// How many of at most `most` runs this host keeps up with now: at reference speed all of them, at half of it half as
/// many, but always two, since they wait more than they work.
pub fn at_once(most: usize) -> usize {
    let index = index().unwrap_or(1.0);
    let share = (most as f64 * index.min(1.0)).floor() as usize;
    let at_once = share.max(2).min(most);
    if at_once < most {
        eprintln!("host speed {index:.2}: {at_once} runs at once instead of {most}");
    }
    at_once
}

/// The median index of this moment; `None` where it cannot be measured.
fn index() -> Option<f64> {
    let mut work = host_speed::Work::warmed_up().ok()?;
    let mut found: Vec<f64> = (0..UNITS).filter_map(|_| work.unit().ok()?.0.index()).collect();
    found.sort_by(f64::total_cmp);
    (!found.is_empty()).then(|| median(&found))
}

/// Why a run is no evidence of anything but a slow host; `None` if it kept up, or cannot be read.
pub fn why(dir: &Path) -> Option<String> {
    let evidence = Evidence::load(&RunDir::new(dir)).ok()?;
    let from_us = evidence.window(Phase::Fill).map_or(0, |(_, filled)| filled);
    let lag_ms =
        evidence.pods.iter().filter(|pod| pod.created_us >= from_us).map(|pod| pod.watch_lag_ms).max()?;
    (lag_ms > LAG_MS_MAX).then(|| format!("its watch of Pods lagged by {:.1} s", lag_ms as f64 / 1e3))
}
