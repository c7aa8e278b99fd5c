//! Service-level objectives of a profile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Service-level objectives. The metric of an absent objective is reported but not judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Slo {
    /// Smallest share of the fill's Pods that must be bound within the ramp budget, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_ratio_min: Option<f64>,
    /// Most live Pods that may be without a Node at the end of the run; 0 if absent. A profile that is short of
    /// machines on purpose sets the expected number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbound_pods_end_max: Option<u32>,
    /// Longest time a Pod may stay unbound during the soak, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbound_seconds_max: Option<f64>,
    /// Time from creation to binding, for Pods of the soak, seconds (upstream: internalBindingLatencyP99Seconds).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding_latency_seconds_p99: Option<f64>,
    /// Duration of one shard cycle, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_cycle_seconds_p99: Option<f64>,
    /// Duration of one operator roll-up, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_rollup_seconds_p99: Option<f64>,
    /// Duration of one batch of acknowledgements, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_ack_seconds_p99: Option<f64>,
    /// Most unmet machines in any cycle of the soak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfalls_max: Option<u32>,
    /// Fewest Pods of the soak that must have waited for a new machine, so that their percentiles are meaningful.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_capacity_samples_min: Option<u32>,
}
