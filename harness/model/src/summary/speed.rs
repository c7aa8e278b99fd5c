//! How fast the host was, as a summary has it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Phase;

/// How fast the host was during a run, and what follows from it. 1 is the reference machine, 2 a host twice as fast.
/// Values of two index versions are never compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostSpeed {
    /// Version of the work that the index is made of.
    pub index_version: u32,
    /// The reference machine, and when it was measured.
    pub reference: String,
    /// Before anything of the run was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_start: Option<IndexSpread>,
    /// While the run loaded the host, by phase: fill and soak.
    pub under_load: BTreeMap<Phase, IndexSpread>,
    /// The index of each part of the work alone, medians over the fill.
    pub fill_by_part: BTreeMap<String, f64>,
    /// Phases within which the host's speed changed so much that their figures say little: the ratio of its fastest
    /// quarter to its slowest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<Phase, f64>,
    /// Share of one core that measuring this took, 0..=1, from the start of the fill to the end of the soak. It is part
    /// of what `e2e-scenario` used.
    pub own_cpu_share: f64,
    /// Metrics at reference speed, in their own unit.
    pub normalised: BTreeMap<String, f64>,
}

/// How the index lies over the slices of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexSpread {
    /// Number of slices.
    pub slices: u64,
    /// The middle one.
    pub median: f64,
    /// The slowest.
    pub min: f64,
    /// The fastest.
    pub max: f64,
}

impl HostSpeed {
    /// The index over the fill, if it was measured.
    pub fn fill(&self) -> Option<IndexSpread> {
        self.under_load.get(&Phase::Fill).copied()
    }
}
