//! The outcome digest: what is exact about a run, in one line.
//!
//! Two runs of one plan give the same digest. It contains nothing that depends on timing: no latency, no count of
//! events, no Pod name, no machine id.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::judge::Evidence;
use harness_model::record::Event;
use harness_model::summary::Summary;

/// Returns the digest over plan, declared and live replicas, machines per Need, and the set of verdicts.
pub fn outcome(summary: &Summary, evidence: &Evidence) -> String {
    hex(&Sha256::digest(exact(summary, evidence).to_string()))
}

/// Returns what the digest covers.
pub fn exact(summary: &Summary, evidence: &Evidence) -> serde_json::Value {
    let mut live: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for pod in evidence.pods.iter().filter(|p| p.is_live()) {
        *live.entry(&pod.cluster).or_default().entry(&pod.workload).or_default() += 1;
    }
    let mut declared: BTreeMap<&str, &BTreeMap<String, u64>> = BTreeMap::new();
    for stamped in &evidence.events {
        if let Event::Declared { cluster, workloads } = &stamped.event {
            declared.insert(cluster, workloads);
        }
    }
    let machines: BTreeMap<String, u64> =
        summary.packing.iter().map(|p| (format!("{}/{}", p.cluster, p.archetype), p.nodes)).collect();
    let gates: BTreeMap<&str, _> = summary.gates.iter().map(|g| (g.metric.as_str(), g.outcome)).collect();
    let validity: BTreeMap<&str, bool> = summary.validity.iter().map(|f| (f.rule.as_str(), f.ok)).collect();
    json!({
        "plan": summary.plan_digest,
        "declared": declared,
        "live": live,
        "machines": machines,
        "verdict": summary.verdict,
        "gates": gates,
        "validity": validity,
    })
}

/// Formats bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
