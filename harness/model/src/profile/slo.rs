//! Service-level objectives of a profile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Service-level objectives: an absent one is reported and not judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Slo {
    /// Every Pod of the fill bound within the ramp budget: share, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_ratio_min: Option<f64>,
    /// Live Pods without a Node at the end of the run: 0 if absent. A profile whose machines are short on purpose says
    /// how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbound_pods_end_max: Option<u32>,
    /// Longest time a Pod may stay unbound during the soak, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbound_seconds_max: Option<f64>,
    /// Create to bound, Pods of the soak, seconds (upstream: internalBindingLatencyP99Seconds).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding_latency_seconds_p99: Option<f64>,
    /// One cycle of the shard, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_cycle_seconds_p99: Option<f64>,
    /// One roll-up of the operator, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_rollup_seconds_p99: Option<f64>,
    /// One batch of acknowledgements, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_ack_seconds_p99: Option<f64>,
    /// Unmet machines in any cycle of the soak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfalls_max: Option<u32>,
    /// Pods of the soak that had to wait for a new machine, so that their percentiles mean something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_capacity_samples_min: Option<u32>,
}
