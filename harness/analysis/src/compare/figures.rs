//! The numbers of a summary, as one list.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use harness_model::summary::Summary;

/// Section of the summary that contains a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// `metrics`.
    Metrics,
    /// `host_speed`: the index, and metrics at reference speed.
    Speed,
    /// `phases_s`.
    Phases,
    /// `stages`: median and 99th percentile of each stage of the chain.
    Stages,
    /// `pods`.
    Pods,
    /// `packing`: Nodes of each Need.
    Machines,
    /// `cpu`.
    Cpu,
    /// `memory_mib`.
    Memory,
}

impl Group {
    /// Returns the title as shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Speed => "host speed, and metrics at reference speed",
            Self::Phases => "phases",
            Self::Stages => "stages of the chain",
            Self::Pods => "Pods when it ended",
            Self::Machines => "machines when quiet",
            Self::Cpu => "CPU",
            Self::Memory => "memory",
        }
    }
}

/// A measured value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The value, or the largest that could be measured.
    pub value: f64,
    /// Whether the true value is larger, by an unknown amount.
    pub saturated: bool,
}

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Section of the summary.
    pub group: Group,
    /// Its name, unique within the group.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Value in the first run, if it was measured there.
    pub a: Option<Reading>,
    /// Value in the second run, if it was measured there.
    pub b: Option<Reading>,
    /// `b` minus `a`; absent if one of them is unmeasured or saturated.
    pub difference: Option<f64>,
    /// The difference in percent of `a`; absent in the same cases, and if `a` is 0.
    pub percent: Option<f64>,
}

/// The figures of one run: unit and reading, by section and name.
pub(super) type Readings = BTreeMap<(Group, String), (String, Option<Reading>)>;

/// Returns every figure that either summary has.
pub fn all(a: &Summary, b: &Summary) -> Vec<Figure> {
    let (a, b) = (readings(a), readings(b));
    let keys: BTreeSet<&(Group, String)> = a.keys().chain(b.keys()).collect();
    let figure = |key: &(Group, String)| {
        let (of_a, of_b) = (a.get(key), b.get(key));
        let unit = of_a.or(of_b).map_or_else(String::new, |(unit, _)| unit.clone());
        build(key.0, &key.1, unit, of_a.and_then(|r| r.1), of_b.and_then(|r| r.1))
    };
    keys.into_iter().map(figure).collect()
}

fn build(group: Group, name: &str, unit: String, a: Option<Reading>, b: Option<Reading>) -> Figure {
    let exact = |r: Option<Reading>| r.filter(|r| !r.saturated).map(|r| r.value);
    let pair = exact(a).zip(exact(b));
    let difference = pair.map(|(a, b)| b - a);
    let percent = pair.filter(|(a, _)| *a != 0.0).map(|(a, b)| (b - a) / a.abs() * 100.0);
    Figure { group, name: name.to_owned(), unit, a, b, difference, percent }
}

/// Returns every figure of a summary.
pub(super) fn readings(summary: &Summary) -> Readings {
    let mut all = BTreeMap::new();
    for (name, metric) in &summary.metrics {
        let reading = metric.value.map(|value| Reading { value, saturated: metric.saturated });
        all.insert((Group::Metrics, name.clone()), (metric.unit.clone(), reading));
    }
    let mut put = |group, name: String, unit: &str, value: f64| {
        all.insert((group, name), (unit.to_owned(), Some(Reading { value, saturated: false })));
    };
    speed(summary, &mut put);
    for (phase, length_s) in &summary.phases_s {
        put(Group::Phases, phase.name().to_owned(), "s", *length_s);
    }
    for (phase, stages) in &summary.stages {
        for (stage, latency) in stages.iter().filter(|(_, latency)| latency.count > 0) {
            put(Group::Stages, format!("{} {stage} p50", phase.name()), "ms", latency.ms_p50);
            put(Group::Stages, format!("{} {stage} p99", phase.name()), "ms", latency.ms_p99);
        }
    }
    for (cluster, pods) in &summary.pods {
        let states = [
            ("created", pods.created),
            ("bound", pods.bound),
            ("pending", pods.pending),
            ("deleted", pods.deleted),
        ];
        for (state, count) in states {
            put(Group::Pods, format!("{cluster} {state}"), "Pods", count as f64);
        }
    }
    for need in &summary.packing {
        put(Group::Machines, format!("{} {}", need.cluster, need.archetype), "machines", need.nodes as f64);
    }
    put(Group::Cpu, "all processes".to_owned(), "s", summary.cpu.total_s);
    for (component, share) in &summary.cpu.share {
        put(Group::Cpu, component.clone(), "share", *share);
    }
    put(Group::Memory, "all processes, peak".to_owned(), "MiB", summary.memory_mib.peak as f64);
    for (component, mib) in &summary.memory_mib.by_component {
        put(Group::Memory, component.clone(), "MiB", *mib as f64);
    }
    all
}

/// Adds the index and the metrics at reference speed. The version is part of the names, so a figure that the other run
/// lacks, or has by another version, stands alone.
fn speed(summary: &Summary, put: &mut impl FnMut(Group, String, &str, f64)) {
    let Some(speed) = &summary.host_speed else { return };
    let version = speed.index_version;
    for (phase, index) in &speed.under_load {
        put(Group::Speed, format!("host speed of the {} (index {version})", phase.name()), "x", index.median);
    }
    for (metric, value) in &speed.normalised {
        let unit = summary.metrics.get(metric).map_or("", |metric| metric.unit.as_str());
        put(Group::Speed, format!("{metric} (index {version})"), unit, *value);
    }
}
