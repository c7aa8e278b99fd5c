//! Computes the index from slices.

use std::collections::BTreeMap;

use host_speed::{INDEX_VERSION, REFERENCE_MACHINE};

use crate::judge::{Evidence, MEASURED};
use harness_model::record::{Phase, SpeedSlice};
use harness_model::summary::stats::{self, Spread};
use harness_model::summary::{HostSpeed, IndexSpread};

/// Fewest slices that an index may be based on.
const SLICES_MIN: usize = 3;
/// Ratio of the fastest to the slowest quarter of a phase above which the host's speed is reported as changed. A
/// calibrated range tolerates 20 %; a host that changes by more than 25 % midway moves a figure out of any range on its
/// own.
pub const CHANGE_MAX: f64 = 1.25;
/// Parts of a phase that are compared with each other.
const QUARTERS: u64 = 4;

/// Returns the index of a run; `None` if no slice was recorded, or if slices are of work that is not known here.
pub fn account(evidence: &Evidence) -> Option<HostSpeed> {
    let slices: Vec<&SpeedSlice> = evidence.samples.iter().flat_map(|s| &s.host_speed).collect();
    if slices.is_empty() || slices.iter().any(|slice| slice.index_version != INDEX_VERSION) {
        return None;
    }
    let before: Vec<&SpeedSlice> = slices.iter().copied().filter(|slice| slice.before_start).collect();
    let mut speed = HostSpeed {
        index_version: INDEX_VERSION,
        reference: REFERENCE_MACHINE.to_owned(),
        before_start: spread(&before),
        ..HostSpeed::default()
    };
    let within = |(from, to): (u64, u64)| -> Vec<&SpeedSlice> {
        let of_run = slices.iter().copied().filter(|slice| !slice.before_start);
        of_run.filter(|slice| (from..=to).contains(&slice.at_us)).collect()
    };
    for phase in MEASURED {
        let Some(window) = evidence.window(phase) else { continue };
        let of_phase = within(window);
        speed.under_load.extend(spread(&of_phase).map(|spread| (phase, spread)));
        if phase == Phase::Fill {
            speed.fill_by_part = by_part(&of_phase);
        }
        let ratio = change(&of_phase, window).filter(|ratio| *ratio > CHANGE_MAX);
        speed.changed.extend(ratio.map(|ratio| (phase, ratio)));
    }
    if let Some((from, to)) = evidence.loaded().filter(|(from, to)| from < to) {
        let cpu_us: u64 = within((from, to)).iter().map(|slice| slice.parts.total_us()).sum();
        speed.own_cpu_share = cpu_us as f64 / (to - from) as f64;
    }
    Some(speed)
}

/// Returns what a verdict has to say about the host; `None` if it kept its speed, as far as is known.
pub fn told(speed: &HostSpeed) -> Option<String> {
    let (phase, ratio) = speed.changed.iter().max_by(|a, b| a.1.total_cmp(b.1))?;
    Some(format!(
        "the host's speed changed by a factor of {ratio:.2} within the {} (more than {CHANGE_MAX}), so its figures of \
         CPU and time are uncertain",
        phase.name()
    ))
}

fn spread(slices: &[&SpeedSlice]) -> Option<IndexSpread> {
    let index: Vec<f64> = slices.iter().filter_map(|slice| slice.parts.index()).collect();
    let Spread { n, median, min, max, .. } = Spread::of(&index).filter(|spread| spread.n >= SLICES_MIN)?;
    Some(IndexSpread { slices: n as u64, median, min, max })
}

fn by_part(slices: &[&SpeedSlice]) -> BTreeMap<String, f64> {
    let mut parts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (part, index) in slices.iter().flat_map(|slice| slice.parts.index_by_part()) {
        parts.entry(part).or_default().push(index);
    }
    let median = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        stats::median(&values)
    };
    let enough = parts.into_iter().filter(|(_, values)| values.len() >= SLICES_MIN);
    enough.map(|(part, values)| (part.to_owned(), median(values))).collect()
}

/// Returns the ratio of the fastest to the slowest quarter of a window, each as the median of its slices; `None` if
/// there are too few slices.
fn change(slices: &[&SpeedSlice], (from, to): (u64, u64)) -> Option<f64> {
    let quarter = |n: u64| {
        let at = |n: u64| from + (to - from) * n / QUARTERS;
        let in_it = slices.iter().copied().filter(|s| (at(n)..at(n + 1)).contains(&s.at_us));
        spread(&in_it.collect::<Vec<_>>()).map(|spread| spread.median)
    };
    let medians: Vec<f64> = (0..QUARTERS).map(quarter).collect::<Option<_>>()?;
    let of_all = Spread::of(&medians)?;
    Some(of_all.max / of_all.min)
}
