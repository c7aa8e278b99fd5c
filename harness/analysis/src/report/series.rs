//! The figures behind the pictures, step by step.

use std::collections::BTreeMap;

use crate::judge::Evidence;
use crate::judge::cpu::each_use;
use crate::judge::eviction::ended_us;
use crate::judge::evidence::Timeline;
use crate::report::steps::{Means, Steps};
use harness_model::families::{APISERVER_REQUESTS, Family, SCHEDULE_ATTEMPTS};
use harness_model::prometheus::{label, of};
use harness_model::record::PodRecord;

/// Most series in one picture: more cannot be told apart. The others are combined into one.
const SHOWN_MAX: usize = 7;
/// Verbs that change something.
const WRITES: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// One line of a picture: a value per step.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// A value per step.
    pub values: Vec<f64>,
}

fn series(name: &str, values: Vec<f64>) -> Series {
    Series { name: name.to_owned(), values }
}

/// Returns the live Pods, those of them that are bound, and those that run, of one cluster or of all.
pub fn pods(evidence: &Evidence, steps: &Steps, cluster: Option<&str>) -> Vec<Series> {
    let open = |from: fn(&PodRecord) -> Option<u64>| {
        let mine = evidence.pods.iter().filter(|p| cluster.is_none_or(|name| p.cluster == name));
        steps.open(mine.filter_map(|p| {
            let (from, to) = (from(p)?, ended_us(p));
            to.is_none_or(|to| from < to).then_some((from, to))
        }))
    };
    vec![
        series("created", open(|p| Some(p.created_us))),
        series("bound", open(|p| p.bound_us)),
        series("running", open(|p| p.running_us)),
    ]
}

/// Returns the machines by what they are doing, as reported by the watches of UpcomingNodes and Nodes.
pub fn machines(evidence: &Evidence, steps: &Steps) -> Vec<Series> {
    let earliest = |times: &[Option<u64>]| times.iter().copied().flatten().min();
    let nodes = || evidence.nodes.iter();
    let serving = nodes().filter_map(|n| {
        Some((n.ready_us?, earliest(&[n.draining_us, n.failed_us, n.gone_us, n.upcoming_gone_us])))
    });
    let coming = nodes().filter_map(|n| {
        let from = earliest(&[n.upcoming_us, n.created_us])?;
        Some((from, earliest(&[n.ready_us, n.draining_us, n.failed_us, n.gone_us, n.upcoming_gone_us])))
    });
    let draining = nodes()
        .filter_map(|n| Some((n.draining_us?, earliest(&[n.failed_us, n.gone_us, n.upcoming_gone_us]))));
    let failed = nodes().filter_map(|n| Some((n.failed_us?, earliest(&[n.gone_us, n.upcoming_gone_us]))));
    vec![
        series("serving", steps.open(serving)),
        series("on their way", steps.open(coming)),
        series("draining", steps.open(draining)),
        series("failed", steps.open(failed)),
    ]
}

/// Returns the actions that the shard began, per second.
pub fn actions(evidence: &Evidence, steps: &Steps) -> Vec<Series> {
    let kinds = ["Bootstrap", "Provision", "Reclaim", "Preempt", "Delete"];
    let of_kind =
        |kind: &str| steps.rate(evidence.actions.iter().filter(|a| a.kind == kind).map(|a| a.started_us));
    let all = kinds.map(|kind| series(kind, of_kind(kind)));
    all.into_iter().filter(|s| s.values.iter().any(|v| *v > 0.0)).collect()
}

/// Returns the cores in use by component.
pub fn cpu(evidence: &Evidence, steps: &Steps) -> Vec<Series> {
    let mut means = Means::over(steps);
    let first = evidence.samples.first().map_or(0, |sample| sample.at_us);
    evidence.samples.windows(2).for_each(|pair| means.looked((pair[0].at_us, pair[1].at_us)));
    each_use(evidence, |span, name, ms| {
        // The pace of the use before the first sample is not known.
        if first < span.1 {
            means.add(name, span, ms as f64 / 1e3);
        }
    });
    largest(means.per_s())
}

/// Returns the resident memory by component, MiB, as of the last sample before the end of each step.
pub fn memory(evidence: &Evidence, steps: &Steps) -> Vec<Series> {
    let mut by_name: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut samples = evidence.samples.iter().peekable();
    let mut last = None;
    for (place, end_us) in steps.ends().enumerate() {
        while let Some(sample) = samples.next_if(|sample| sample.at_us <= end_us) {
            last = Some(sample);
        }
        for process in last.iter().flat_map(|sample| &sample.processes) {
            let values = by_name.entry(process.name.clone()).or_insert_with(|| vec![0.0; steps.count()]);
            values[place] += process.rss_mib as f64;
        }
    }
    largest(by_name)
}

/// Returns the writes per second that the apiservers answered, by verb and resource.
pub fn writes(evidence: &Evidence, steps: &Steps) -> Vec<Series> {
    let name = |key: &str| {
        let verb = label(key, "verb").filter(|verb| WRITES.contains(verb))?;
        let resource = label(key, "resource").filter(|resource| !resource.is_empty())?;
        let sub = label(key, "subresource").filter(|sub| !sub.is_empty());
        Some(format!("{verb} {resource}{}", sub.map(|sub| format!("/{sub}")).unwrap_or_default()))
    };
    largest(rates(evidence, steps, &APISERVER_REQUESTS, name))
}

/// Returns the scheduling attempts per second by their result.
pub fn attempts(evidence: &Evidence, steps: &Steps) -> Vec<Series> {
    let result = |key: &str| label(key, "result").map(str::to_owned);
    largest(rates(evidence, steps, &SCHEDULE_ATTEMPTS, result))
}

/// Returns the growth per second of a counter over all its targets, summed by the names that `name` derives from its
/// labels. The growth between two scrapes is spread evenly over the time between them.
fn rates(
    evidence: &Evidence,
    steps: &Steps,
    family: &Family,
    name: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, Vec<f64>> {
    let mut rates: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (_, timeline) in family.targets.iter().flat_map(|target| evidence.timelines(target)) {
        // Each target is scraped at its own times.
        for (name, values) in growth(timeline, steps, family, &name) {
            let sums = rates.entry(name).or_insert_with(|| vec![0.0; steps.count()]);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    rates
}

fn growth(
    timeline: &Timeline,
    steps: &Steps,
    family: &Family,
    name: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, Vec<f64>> {
    let mut means = Means::over(steps);
    let times_us: Vec<u64> = timeline.times((0, u64::MAX)).collect();
    let mut before: Option<(u64, BTreeMap<String, f64>)> = None;
    timeline.walk(times_us.iter().copied(), |n, state| {
        let mut now: BTreeMap<String, f64> = BTreeMap::new();
        for (key, value) in of(state, family.name) {
            if let Some(name) = name(key) {
                *now.entry(name).or_default() += value;
            }
        }
        if let Some((since_us, before)) = &before {
            let span = (*since_us, times_us[n]);
            means.looked(span);
            for (name, value) in &now {
                let grown = value - before.get(name).copied().unwrap_or(0.0);
                // A target that restarted counts from zero again.
                means.add(name, span, if grown < 0.0 { *value } else { grown });
            }
        }
        before = Some((times_us[n], now));
    });
    means.per_s()
}

/// Returns the largest series by their sums, and the others as one.
fn largest(all: BTreeMap<String, Vec<f64>>) -> Vec<Series> {
    let mut all: Vec<Series> = all.into_iter().map(|(name, values)| Series { name, values }).collect();
    all.retain(|s| s.values.iter().any(|v| *v > 0.0));
    let sum = |s: &Series| s.values.iter().sum::<f64>();
    all.sort_by(|a, b| sum(b).total_cmp(&sum(a)));
    if all.len() > SHOWN_MAX + 1 {
        let rest = all.split_off(SHOWN_MAX);
        let mut values = vec![0.0; rest[0].values.len()];
        for other in &rest {
            values.iter_mut().zip(&other.values).for_each(|(sum, v)| *sum += v);
        }
        all.push(Series { name: format!("{} others", rest.len()), values });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::record::{NodeRecord, ProcessSample, Sample, Scrape};

    /// Length of a step, microseconds.
    const S: u64 = 5_000_000;

    #[test]
    fn pods_and_machines_are_counted_while_they_are_what_they_are() {
        let pod = PodRecord {
            created_us: 0,
            bound_us: Some(S + 1),
            running_us: Some(2 * S + 1),
            deleting_us: Some(3 * S + 1),
            ..PodRecord::default()
        };
        let node = NodeRecord {
            upcoming_us: Some(0),
            ready_us: Some(S + 1),
            draining_us: Some(2 * S + 1),
            gone_us: Some(3 * S + 1),
            ..NodeRecord::default()
        };
        let evidence = Evidence { end_us: 4 * S, pods: vec![pod], nodes: vec![node], ..Evidence::default() };
        let steps = Steps::of(&evidence);
        let values = |all: Vec<Series>| all.into_iter().map(|s| s.values).collect::<Vec<_>>();
        assert_eq!(
            values(pods(&evidence, &steps, None)),
            [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
        );
        assert_eq!(values(pods(&evidence, &steps, Some("other")))[0], [0.0; 4]);
        assert_eq!(
            values(machines(&evidence, &steps)),
            [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0; 4]]
        );
    }

    #[test]
    fn counters_grow_from_their_first_scrape_and_cpu_from_the_first_sample() {
        let name = APISERVER_REQUESTS.name;
        let key = |verb: &str| format!("{name}{{verb=\"{verb}\",resource=\"pods\",subresource=\"\"}}");
        let mut evidence = Evidence { end_us: 3 * S, ..Evidence::default() };
        let timeline = evidence.scrapes.entry(("kube-apiserver".into(), None)).or_default();
        for (at_us, writes) in [(S / 2, 100.0), (S + S / 2, 110.0), (3 * S, 125.0)] {
            let series = BTreeMap::from([(key("POST"), writes), (key("LIST"), writes)]);
            timeline.push(Scrape { at_us, series, ..Scrape::default() });
        }
        let sample = |at_us, cpu_ms| {
            let process = ProcessSample { name: "shard".into(), pid: 1, cpu_ms, ..ProcessSample::default() };
            Sample { at_us, processes: vec![process], ..Sample::default() }
        };
        evidence.samples = vec![sample(S, 500), sample(3 * S, 1500)];
        let steps = Steps::of(&evidence);
        assert_eq!(writes(&evidence, &steps), [series("POST pods", vec![2.0, 2.0, 2.0])]);
        assert_eq!(cpu(&evidence, &steps), [series("shard", vec![0.0, 0.1, 0.1])]);
    }

    #[test]
    fn a_constant_load_comes_out_flat() {
        // As in dev-50: samples about every two seconds, steps of five; both cores full at 1.98 throughout.
        let at_us = |n: u64| n * 2_000_000 + (n * 7919 % 17) * 20_000;
        let sample = |n: u64| {
            let used_ms = at_us(n) / 1000 * 99 / 100;
            let process = |name: &str, pid| ProcessSample {
                name: name.into(),
                pid,
                cpu_ms: used_ms,
                rss_mib: 100,
                ..ProcessSample::default()
            };
            let processes = vec![process("kube-apiserver", 1), process("etcd", 2)];
            Sample { at_us: at_us(n), processes, ..Sample::default() }
        };
        let samples: Vec<Sample> = (0..=60).map(sample).collect();
        let end_us = samples[60].at_us;
        let evidence = Evidence { end_us, samples, ..Evidence::default() };
        let steps = Steps::of(&evidence);
        for (all, flat) in [(cpu(&evidence, &steps), 0.99), (memory(&evidence, &steps), 100.0)] {
            assert_eq!(all.len(), 2);
            for one in all {
                assert!(one.values.iter().all(|v| (v - flat).abs() < 0.01 * flat), "{one:?}");
            }
        }
    }

    #[test]
    fn memory_that_nobody_looked_at_is_that_of_the_last_look() {
        let process = ProcessSample { name: "etcd".into(), rss_mib: 7, ..ProcessSample::default() };
        let sample = Sample { at_us: S, processes: vec![process], ..Sample::default() };
        let evidence = Evidence { end_us: 3 * S, samples: vec![sample], ..Evidence::default() };
        assert_eq!(memory(&evidence, &Steps::of(&evidence)), [series("etcd", vec![7.0; 3])]);
    }

    #[test]
    fn many_series_become_as_many_as_can_be_told_apart() {
        let all = (0..12).map(|n| (format!("s{n}"), vec![f64::from(n)])).collect();
        let shown = largest(all);
        assert_eq!(shown.len(), SHOWN_MAX + 1);
        assert_eq!(shown[0], series("s11", vec![11.0]));
        assert_eq!(shown[SHOWN_MAX], series("4 others", vec![10.0]));
    }
}
