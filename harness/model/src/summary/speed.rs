//! Speed of the host, as recorded in a summary.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Phase;

/// Speed of the host during a run, and what follows from it. 1 is the reference machine, 2 is a host twice as fast.
/// Values of two index versions are never compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostSpeed {
    /// Version of the work that the index consists of.
    pub index_version: u32,
    /// The reference machine, and when it was measured.
    pub reference: String,
    /// Index before anything of the run was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_start: Option<IndexSpread>,
    /// Index while the run loaded the host, by phase: fill and soak.
    pub under_load: BTreeMap<Phase, IndexSpread>,
    /// Index of each part of the work alone, as medians over the fill.
    pub fill_by_part: BTreeMap<String, f64>,
    /// Phases in which the host's speed changed so much that their figures say little: the ratio of its fastest quarter
    /// to its slowest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<Phase, f64>,
    /// Share of one core that this measurement took, 0..=1, from the start of the fill to the end of the soak. It is
    /// part of the CPU use of `e2e-scenario`.
    pub own_cpu_share: f64,
    /// Metrics at reference speed, in their own unit.
    pub normalised: BTreeMap<String, f64>,
}

/// Distribution of the index over the slices of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexSpread {
    /// Number of slices.
    pub slices: u64,
    /// Index of the middle slice.
    pub median: f64,
    /// Index of the slowest slice.
    pub min: f64,
    /// Index of the fastest slice.
    pub max: f64,
}

impl HostSpeed {
    /// Returns the index over the fill, if it was measured.
    pub fn fill(&self) -> Option<IndexSpread> {
        self.under_load.get(&Phase::Fill).copied()
    }
}
