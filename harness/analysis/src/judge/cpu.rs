//! CPU and memory by component.

use std::collections::BTreeMap;

use crate::judge::latency::born_in;
use crate::judge::{Evidence, MEASURED};
use harness_model::record::{Phase, ProcessSample};
use harness_model::summary::{CpuAccount, MemoryAccount};

/// Components of the harness itself.
pub const HARNESS: [&str; 5] = ["node-creator", "load-driver", "pod-shim", "e2e-scenario", "e2e-supervisor"];
/// Components of the autoscaler under test.
pub const FLEET: [&str; 3] = ["shard", "operator", "unschedulable-pod-controller"];

/// Returns the CPU seconds by component from the start of the fill to the end of the soak.
pub fn account(evidence: &Evidence) -> CpuAccount {
    let mut account = CpuAccount::default();
    let Some(window) = evidence.loaded() else { return account };
    let used = used_ms(evidence, window);
    let total_ms: u64 = used.values().sum();
    account.total_s = total_ms as f64 / 1e3;
    if total_ms == 0 {
        return account;
    }
    account.share = used.iter().map(|(name, ms)| (name.clone(), *ms as f64 / total_ms as f64)).collect();
    let ours = |name: &&String| HARNESS.contains(&name.as_str()) || FLEET.contains(&name.as_str());
    account.harness_and_fleet_share = account.share.keys().filter(ours).map(|name| account.share[name]).sum();
    if let Some(window) = evidence.window(Phase::Fill) {
        let bound = born_in(evidence, Phase::Fill).filter(|pod| pod.bound_us.is_some()).count().max(1) as f64;
        let per_pod = used_ms(evidence, window).into_iter().map(|(name, ms)| (name, ms as f64 / bound));
        account.fill_ms_per_pod = per_pod.collect();
    }
    for phase in MEASURED {
        let Some(window) = evidence.window(phase) else { continue };
        if let Some((name, _)) = used_ms(evidence, window).into_iter().max_by_key(|(_, ms)| *ms) {
            account.bottleneck.insert(phase, name);
        }
    }
    account
}

/// Returns the largest resident memory.
pub fn memory(evidence: &Evidence) -> MemoryAccount {
    let mut account = MemoryAccount::default();
    for sample in &evidence.samples {
        let mut by_component: BTreeMap<&str, u64> = BTreeMap::new();
        sample.processes.iter().for_each(|p| *by_component.entry(&p.name).or_default() += p.rss_mib);
        account.peak = account.peak.max(by_component.values().sum());
        for (name, mib) in by_component {
            let peak = account.by_component.entry(name.to_owned()).or_default();
            *peak = (*peak).max(mib);
        }
    }
    account
}

/// Returns the CPU milliseconds by component in a window.
pub fn used_ms(evidence: &Evidence, window: (u64, u64)) -> BTreeMap<String, u64> {
    let mut used: BTreeMap<String, u64> = BTreeMap::new();
    each_use(evidence, |(_, at_us), name, ms| {
        // Phases begin and end on a sample.
        if window.0 < at_us && at_us <= window.1 {
            *used.entry(name.to_owned()).or_default() += ms;
        }
    });
    used
}

/// Calls `see` with what each process used between two samples: from when to when, component, CPU milliseconds. A
/// restarted process counts from zero again.
pub fn each_use<'a>(evidence: &'a Evidence, mut see: impl FnMut((u64, u64), &'a str, u64)) {
    let mut last: BTreeMap<(&str, Option<&str>, u32), u64> = BTreeMap::new();
    let mut since_us = 0;
    for sample in &evidence.samples {
        for process in &sample.processes {
            // A process that did not exist before was at zero.
            let before = last.insert(key(process), process.cpu_ms).unwrap_or(0);
            see((since_us, sample.at_us), &process.name, process.cpu_ms.saturating_sub(before));
        }
        since_us = sample.at_us;
    }
}

fn key(process: &ProcessSample) -> (&str, Option<&str>, u32) {
    (&process.name, process.cluster.as_deref(), process.pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::record::Sample;

    #[test]
    fn cpu_is_a_difference_and_survives_a_restart() {
        let sample = |at_us, pid, cpu_ms| Sample {
            at_us,
            processes: vec![ProcessSample { name: "shard".into(), pid, cpu_ms, ..ProcessSample::default() }],
            ..Sample::default()
        };
        let samples = vec![sample(0, 1, 100), sample(10, 1, 150), sample(20, 2, 30), sample(30, 2, 90)];
        let evidence = Evidence { samples, ..Evidence::default() };
        assert_eq!(used_ms(&evidence, (0, 20))["shard"], 80);
        assert_eq!(used_ms(&evidence, (20, 30))["shard"], 60);
    }
}
