//! Figures at reference speed.

use std::collections::BTreeMap;

use crate::judge::{Evidence, Expect};
use harness_model::record::Phase;
use harness_model::summary::screen::{bound_text, number};
use harness_model::summary::{Bound, Gate, HostSpeed, Metric, Outcome};

/// The metrics that are normalised, all of them of the fill. Latencies of the soak are not: they depend on periods
/// (roll-up, cycle) that no host shortens, and where they depend on the host, they are not proportional to its speed.
pub const NORMALISED: [&str; 3] = ["cpu_ms_per_pod", "fill_s", "fill_rate_pods_per_s"];

/// Returns what the metrics would be on a host of reference speed.
pub fn normalise(
    speed: &HostSpeed,
    evidence: &Evidence,
    metrics: &BTreeMap<String, Metric>,
) -> BTreeMap<String, f64> {
    let exact = |name: &str| metrics.get(name).and_then(Metric::exact);
    let Some(index) = speed.fill().map(|fill| fill.median) else { return BTreeMap::new() };
    let factor = busy_share(evidence, Phase::Fill).map(|busy| time_factor(index, busy));
    let all = [
        ("cpu_ms_per_pod", exact("cpu_ms_per_pod").map(|ms| ms * index)),
        ("fill_s", exact("fill_s").zip(factor).map(|(s, factor)| s * factor)),
        (
            "fill_rate_pods_per_s",
            exact("fill_rate_pods_per_s").zip(factor).map(|(rate, factor)| rate / factor),
        ),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Returns the share of a time that remains at reference speed: a time depends on the speed of cores only while they
/// are busy. A fill with full cores scales with the index, a fill that mostly waits for periods hardly does.
pub(super) fn time_factor(index: f64, busy_share: f64) -> f64 {
    1.0 - busy_share + busy_share * index
}

/// Returns the share of all cores' time in a phase that was not idle, 0..=1. Time that other guests took counts,
/// because something waited for it.
pub(super) fn busy_share(evidence: &Evidence, phase: Phase) -> Option<f64> {
    let (from, to) = evidence.window(phase)?;
    let before = evidence.samples.iter().rev().find(|s| s.at_us <= from);
    let first = before.or_else(|| evidence.samples.first())?.host;
    let last = evidence.samples.iter().rev().find(|s| s.at_us <= to)?.host;
    let busy = (last.busy_cpu_ms + last.steal_cpu_ms).checked_sub(first.busy_cpu_ms + first.steal_cpu_ms)?;
    let idle = last.idle_cpu_ms.checked_sub(first.idle_cpu_ms)?;
    (busy + idle > 0).then(|| busy as f64 / (busy + idle) as f64)
}

/// Returns what is expected on a host of this speed: bounds at reference speed become bounds of the plain values. A
/// bound that cannot be converted, because the run was not measured by that version of the index, is removed;
/// [`note_gates`] makes sure that its gate does not pass.
pub fn at_this_speed(
    expect: &Expect,
    speed: Option<&HostSpeed>,
    metrics: &BTreeMap<String, Metric>,
) -> Expect {
    let mut here = expect.clone();
    for (name, version) in &expect.normalised_ranges {
        let factor = factor(speed, *version, name, metrics);
        match here.ranges.get_mut(name).zip(factor) {
            Some((bound, factor)) => {
                *bound = Bound { min: bound.min.map(|v| v / factor), max: bound.max.map(|v| v / factor) };
            }
            None => drop(here.ranges.remove(name)),
        }
    }
    here
}

/// Adds a note to each gate with a range at reference speed that says what the range is. Without an index, the range
/// cannot be applied, and the gate counts as not measured.
pub fn note_gates(
    gates: &mut [Gate],
    expect: &Expect,
    speed: Option<&HostSpeed>,
    metrics: &BTreeMap<String, Metric>,
) {
    for gate in gates.iter_mut().filter(|gate| gate.outcome != Outcome::NotApplicable) {
        let Some(version) = expect.normalised_ranges.get(&gate.metric) else { continue };
        let range = expect.ranges.get(&gate.metric).copied().map(bound_text).unwrap_or_default();
        match factor(speed, *version, &gate.metric, metrics) {
            Some(factor) => {
                let value =
                    gate.value.map_or_else(String::new, |value| format!("{} ", number(value * factor)));
                gate.note = format!("at reference speed {value}{}, range {range}", gate.unit);
            }
            None => {
                gate.outcome = Outcome::Unmeasured;
                gate.note = format!(
                    "its range, {range}, holds at reference speed (index version {version}), but the host's speed was \
                     not measured with it"
                );
            }
        }
    }
}

/// Returns the ratio of the value at reference speed to the plain value.
fn factor(
    speed: Option<&HostSpeed>,
    version: u32,
    name: &str,
    metrics: &BTreeMap<String, Metric>,
) -> Option<f64> {
    let speed = speed.filter(|speed| speed.index_version == version)?;
    let plain = metrics.get(name)?.exact().filter(|value| *value != 0.0)?;
    speed.normalised.get(name).map(|value| value / plain)
}
