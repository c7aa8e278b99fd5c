//! Which components use CPU and memory right now, from the samples of a run.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::view::snapshot::{Busy, Load};
use harness_analysis::judge::cpu::{FLEET, HARNESS};
use harness_model::record::Sample;

/// How far back "right now" reaches.
const SPAN_US: u64 = 15_000_000;
/// Number of components that are named.
const NAMED_MAX: usize = 3;

/// The account of used CPU time.
#[derive(Debug, Default)]
pub struct Book {
    /// CPU milliseconds of each process at the last sample.
    last: HashMap<u32, u64>,
    /// Busy and idle CPU milliseconds of the host at the last sample.
    last_host: Option<(u64, u64)>,
    recent: VecDeque<Used>,
    memory_mib: u64,
    available_mib: u64,
    measured: Option<Measured>,
}

/// What was used between two samples, in milliseconds.
#[derive(Debug)]
struct Used {
    at_us: u64,
    by_component: BTreeMap<String, u64>,
    busy: u64,
    idle: u64,
}

/// What was used since the fill began.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    is_over: bool,
    own_ms: u64,
    all_ms: u64,
    late_ms_max: u64,
}

impl Book {
    /// Starts counting what the run is judged by.
    pub fn measure(&mut self) {
        self.measured.get_or_insert_default();
    }

    /// Stops counting.
    pub fn measured(&mut self) {
        if let Some(measured) = &mut self.measured {
            measured.is_over = true;
        }
    }

    /// Takes in a sample.
    pub fn add(&mut self, sample: &Sample) {
        let mut by_component: BTreeMap<String, u64> = BTreeMap::new();
        self.memory_mib = 0;
        self.available_mib = sample.host.available_mib;
        for process in &sample.processes {
            // Same as in the judge: a process that did not exist before was at zero.
            let before = self.last.insert(process.pid, process.cpu_ms).unwrap_or(0);
            let used = process.cpu_ms.saturating_sub(before);
            match by_component.get_mut(&process.name) {
                Some(sum) => *sum += used,
                None => drop(by_component.insert(process.name.clone(), used)),
            }
            self.memory_mib += process.rss_mib;
        }
        self.note_measured(&by_component, sample.late_ms);
        let (busy, idle) = (sample.host.busy_cpu_ms, sample.host.idle_cpu_ms + sample.host.steal_cpu_ms);
        let (busy_before, idle_before) = self.last_host.replace((busy, idle)).unwrap_or((busy, idle));
        let (busy, idle) = (busy.saturating_sub(busy_before), idle.saturating_sub(idle_before));
        self.recent.push_back(Used { at_us: sample.at_us, by_component, busy, idle });
        let edge_us = sample.at_us.saturating_sub(SPAN_US);
        while self.recent.front().is_some_and(|used| used.at_us <= edge_us) {
            self.recent.pop_front();
        }
    }

    fn note_measured(&mut self, by_component: &BTreeMap<String, u64>, late_ms: u64) {
        let Some(measured) = self.measured.as_mut().filter(|m| !m.is_over) else { return };
        let is_own = |name: &str| HARNESS.contains(&name) || FLEET.contains(&name);
        measured.all_ms += by_component.values().sum::<u64>();
        measured.own_ms +=
            by_component.iter().filter(|(name, _)| is_own(name)).map(|(_, ms)| ms).sum::<u64>();
        measured.late_ms_max = measured.late_ms_max.max(late_ms);
    }

    /// Returns the share of the run's CPU that harness and fleet have used since the fill began.
    pub fn own_share(&self) -> Option<f64> {
        let measured = self.measured.filter(|m| m.all_ms > 0)?;
        Some(measured.own_ms as f64 / measured.all_ms as f64)
    }

    /// Returns how late the sampler was at most since the fill began.
    pub fn late_ms_max(&self) -> Option<u64> {
        self.measured.map(|m| m.late_ms_max)
    }

    /// Returns which components use the machine right now; `None` before there are two samples.
    pub fn load(&self) -> Option<Load> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, ms) in self.recent.iter().flat_map(|used| &used.by_component) {
            *sums.entry(name).or_default() += ms;
        }
        let (all, busy) = (sums.values().sum::<u64>(), self.recent.iter().map(|u| u.busy).sum::<u64>());
        let host = busy + self.recent.iter().map(|u| u.idle).sum::<u64>();
        if host == 0 {
            return None;
        }
        let mut sums: Vec<_> = sums.into_iter().filter(|(_, ms)| *ms > 0).collect();
        sums.sort_by_key(|(name, ms)| (std::cmp::Reverse(*ms), *name));
        let busy_one =
            |(name, ms): (&str, u64)| Busy { component: name.to_owned(), share: ms as f64 / all as f64 };
        Some(Load {
            busiest: sums.into_iter().take(NAMED_MAX).map(busy_one).collect(),
            host_busy: busy as f64 / host as f64,
            memory_mib: self.memory_mib,
            available_mib: self.available_mib,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::record::{HostSample, ProcessSample};

    fn sample(s: u64, uses: &[(&str, u64)]) -> Sample {
        let process = |(pid, (name, cpu_ms)): (u32, &(&str, u64))| ProcessSample {
            name: (*name).to_owned(),
            pid,
            cpu_ms: *cpu_ms,
            rss_mib: 10,
            ..ProcessSample::default()
        };
        Sample {
            at_us: s * 1_000_000,
            late_ms: s,
            host: HostSample { busy_cpu_ms: s * 500, idle_cpu_ms: s * 1500, ..HostSample::default() },
            processes: (1..).zip(uses).map(process).collect(),
            ..Sample::default()
        }
    }

    #[test]
    fn the_busiest_is_that_of_the_last_moments() {
        let mut book = Book::default();
        book.add(&sample(0, &[("etcd", 90_000), ("kwok", 0)]));
        assert_eq!(book.load(), None, "one sample has no difference");
        book.add(&sample(16, &[("etcd", 90_100), ("kwok", 200)]));
        book.add(&sample(30, &[("etcd", 90_200), ("kwok", 500)]));
        let load = book.load().unwrap();
        let named: Vec<_> = load.busiest.iter().map(|b| (b.component.as_str(), b.share)).collect();
        assert_eq!(named, [("kwok", 500.0 / 700.0), ("etcd", 200.0 / 700.0)]);
        assert_eq!((load.host_busy, load.memory_mib), (0.25, 20));
    }

    #[test]
    fn what_is_judged_counts_from_the_fill_to_the_soak() {
        let mut book = Book::default();
        book.add(&sample(2, &[("etcd", 0), ("shard", 1000)]));
        assert_eq!((book.own_share(), book.late_ms_max()), (None, None));
        book.measure();
        book.add(&sample(4, &[("etcd", 300), ("shard", 1100)]));
        book.measured();
        book.add(&sample(6, &[("etcd", 300), ("shard", 9000)]));
        assert_eq!((book.own_share(), book.late_ms_max()), (Some(0.25), Some(4)));
    }
}
