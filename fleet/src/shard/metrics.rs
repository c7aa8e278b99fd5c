//! The shard's metrics: names, labels and buckets are upstream's, but for those marked as ours.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use component::metrics::Buckets;
use metrics::{counter, gauge, histogram};

use fleet_engine::{Action, Decisions, Inventory, Kind, NeedReport, Phase, State};

const fn buckets(name: &'static str, start: f64, count: u32) -> Buckets {
    Buckets { name, start, factor: 2.0, count }
}

/// Explicit buckets of all histograms.
pub const BUCKETS: [Buckets; 6] = [
    buckets("bigfleet_shard_cycle_duration_seconds", 0.001, 14),
    buckets("bigfleet_shard_cycle_phase_duration_seconds", 0.001, 14),
    buckets("bigfleet_shard_provisioning_latency_seconds", 0.01, 16),
    buckets("bigfleet_shard_configure_phase_seconds", 0.01, 16),
    buckets("bigfleet_shard_request_bootstrap_seconds", 0.01, 16),
    buckets("bigfleet_shard_drain_phase_seconds", 0.01, 16),
];

/// Ages of shortfalls in cycles: label and highest age.
const AGES: [(&str, u64); 4] = [("1-9", 9), ("10-59", 59), ("60-299", 299), ("300+", u64::MAX)];

/// Gauge series seen so far, so that those that vanish are set to zero.
#[derive(Debug, Default)]
pub struct Gauges {
    inventory: Mutex<BTreeMap<(State, String, i32), u32>>,
    demand: Mutex<BTreeMap<i32, u32>>,
}

/// What a reader must find at zero rather than not at all.
pub fn start_at_zero() {
    for name in [
        "bigfleet_shard_cycle_duration_seconds",
        "bigfleet_shard_provisioning_latency_seconds",
        "bigfleet_shard_configure_phase_seconds",
        "bigfleet_shard_request_bootstrap_seconds",
        "bigfleet_shard_drain_phase_seconds",
    ] {
        let _ = histogram!(name);
    }
    for kind in Kind::ALL {
        counter!("bigfleet_shard_actions_total", "kind" => kind.name()).absolute(0);
        counter!("bigfleet_shard_action_execute_outcomes_total", "kind" => kind.name(), "outcome" => "success")
            .absolute(0);
    }
    for name in [
        "bigfleet_shard_actions_deferred_total",
        "bigfleet_shard_actions_dropped_total",
        "bigfleet_shard_actions_deduped_total",
        "bigfleet_shard_reclaims_capped_total",
        "bigfleet_shard_idle_releases_total",
        "bigfleet_shard_session_identity_rejected_total",
        CYCLES_WITH_SHORTFALLS,
        CYCLES,
    ] {
        counter!(name).absolute(0);
    }
    for name in [
        "bigfleet_shard_active_sessions",
        "bigfleet_shard_shortfalls",
        SHORTFALLS_MAX,
        "bigfleet_shard_execute_inflight",
        "bigfleet_shard_action_queue_depth",
    ] {
        gauge!(name).set(0.0);
    }
}

/// Ours: counted cycles (after the warm-up) that left at least one Need short.
const CYCLES_WITH_SHORTFALLS: &str = "bigfleet_shard_cycles_with_shortfalls_total";
/// Ours: counted cycles.
const CYCLES: &str = "bigfleet_shard_cycles_total";
/// Ours: most Needs that one counted cycle left short.
const SHORTFALLS_MAX: &str = "bigfleet_shard_shortfalls_max";

/// Times of one cycle.
#[derive(Debug, Default)]
pub struct Timing {
    /// Whole cycle.
    pub total: Duration,
    /// Parts of it, by upstream's label.
    pub phases: Vec<(&'static str, Duration)>,
}

/// Upstream's label of a phase of the engine.
pub fn phase_label(phase: Phase) -> &'static str {
    match phase {
        Phase::Read => "snapread",
        Phase::Phase1 => "phase1",
        Phase::Phase2 => "phase2",
        Phase::Phase3 => "phase3",
        Phase::Emit => "emit",
    }
}

/// Notes one cycle's times and shortfalls; the shortfall counters tell about every cycle, where a gauge
/// tells about the last one only. `shortfalls_max` is the highest so far, this cycle included.
pub fn cycle(timing: &Timing, shortfalls: usize, shortfalls_max: usize) {
    histogram!("bigfleet_shard_cycle_duration_seconds").record(timing.total.as_secs_f64());
    for (phase, time) in &timing.phases {
        histogram!("bigfleet_shard_cycle_phase_duration_seconds", "phase" => *phase)
            .record(time.as_secs_f64());
    }
    counter!(CYCLES).increment(1);
    counter!(CYCLES_WITH_SHORTFALLS).increment(u64::from(shortfalls > 0));
    gauge!(SHORTFALLS_MAX).set(shortfalls_max as f64);
}

/// Notes what a cycle decided.
pub fn decisions(decisions: &Decisions) {
    for action in &decisions.actions {
        counter!("bigfleet_shard_actions_total", "kind" => action.kind.name()).increment(1);
    }
    counter!("bigfleet_shard_reclaims_capped_total").increment(decisions.reclaims_capped as u64);
    let short: Vec<&NeedReport> = decisions.shortfalls().collect();
    gauge!("bigfleet_shard_shortfalls").set(short.len() as f64);
    let mut from = 0;
    for (label, to) in AGES {
        let n = short.iter().filter(|s| s.unmet_cycles > from && s.unmet_cycles <= to).count();
        gauge!("bigfleet_shard_shortfalls_aged", "bucket" => label).set(n as f64);
        from = to;
    }
}

/// Notes how an action ended.
pub fn outcome(action: &Action, outcome: &str) {
    counter!(
        "bigfleet_shard_action_execute_outcomes_total",
        "kind" => action.kind.name(), "outcome" => outcome.to_owned()
    )
    .increment(1);
    if action.kind == Kind::Delete && outcome == "success" {
        counter!("bigfleet_shard_idle_releases_total").increment(1);
    }
}

impl Gauges {
    /// Sets the gauges of machines and demand; series that no longer occur become zero.
    pub fn update(&self, inventory: &Inventory, needs: &[NeedReport]) {
        let mut machines = self.inventory.lock().unwrap_or_else(PoisonError::into_inner);
        machines.values_mut().for_each(|n| *n = 0);
        for m in inventory.iter() {
            let key = (m.state, format!("{:?}", m.capacity_type), m.interruption_bucket());
            *machines.entry(key).or_default() += 1;
        }
        for ((state, capacity_type, bucket), n) in machines.iter() {
            gauge!(
                "bigfleet_shard_inventory_machines",
                "state" => state.name(),
                "capacity_type" => capacity_type.clone(),
                "interruption_penalty_bucket" => bucket.to_string()
            )
            .set(f64::from(*n));
        }
        let mut demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        demand.values_mut().for_each(|n| *n = 0);
        for need in needs {
            *demand.entry(need.interruption_bucket).or_default() += 1;
        }
        for (bucket, n) in demand.iter() {
            gauge!("bigfleet_shard_demand_machines", "interruption_penalty_bucket" => bucket.to_string())
                .set(f64::from(*n));
        }
    }
}
