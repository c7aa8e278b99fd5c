//! The decision loop.

use std::sync::Arc;
use std::time::Instant;

use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::shard::audit::unix_nanos;
use crate::shard::metrics as shard_metrics;
use crate::shard::metrics::Timing;
use crate::shard::state::{Job, Shard, State};
use crate::shard::workers;
use fleet_engine::{Action, Decisions, Inputs, Need, step_observed};

/// Runs cycles until stopped: one per interval, and one after each accepted roll-up.
pub(crate) async fn run(shard: Arc<Shard>, stop: CancellationToken) {
    let queue = workers::start(&shard);
    let mut ticker = tokio::time::interval(shard.args.cycle_interval);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticker.tick() => {}
            () = shard.wake.notified() => {}
        }
        cycle(&shard, &queue);
    }
}

/// One cycle: decide, then hand the actions over.
fn cycle(shard: &Shard, queue: &mpsc::Sender<Job>) {
    let begin = Instant::now();
    let mut timing = Timing::default();
    let mut guard = shard.lock();
    let state = &mut *guard;
    state.cycle += 1;
    let needs: Vec<Need> = state.demand.values().flat_map(|d| d.needs.iter().cloned()).collect();
    let mut phase_begin = begin;
    let decisions = step_observed(
        Inputs {
            inventory: &state.inventory,
            needs: &needs,
            reported: &state.reported,
            now_s: shard.now_s(),
            policy: &shard.args.policy(),
        },
        &mut state.memory,
        &mut |phase| {
            timing.phases.push((shard_metrics::phase_label(phase), phase_begin.elapsed()));
            phase_begin = Instant::now();
        },
    );
    shard_metrics::decisions(&decisions);
    let Decisions { actions, needs, .. } = decisions;
    let count = actions.len();
    hand_over(shard, state, queue, actions);
    timing.phases.push(("execute", phase_begin.elapsed()));
    shard.gauges.update(&state.inventory, &needs);
    timing.total = begin.elapsed();
    let shortfalls = needs.iter().filter(|n| n.unmet.is_some()).count();
    if state.cycle > shard.args.metrics_warmup_cycles {
        state.shortfalls_max = state.shortfalls_max.max(shortfalls);
        shard_metrics::cycle(&timing, shortfalls, state.shortfalls_max);
    }
    if count > 0 || shortfalls > 0 {
        tracing::info!(
            cycle = state.cycle,
            actions = count,
            shortfalls,
            ms = timing.total.as_millis() as u64,
            "cycle"
        );
    }
    state.last_needs = needs;
}

/// Queues actions. From here on their machines count as taken; what finds the queue full is dropped and
/// decided again in a later cycle.
fn hand_over(shard: &Shard, state: &mut State, queue: &mpsc::Sender<Job>, actions: Vec<Action>) {
    if state.is_paused() || shard.args.dry_run {
        let name = match state.is_paused() {
            true => "bigfleet_shard_actions_suppressed_total",
            false => "bigfleet_shard_actions_dryrun_total",
        };
        for action in &actions {
            counter!(name, "kind" => action.kind.name()).increment(1);
        }
        return;
    }
    for action in actions {
        let Ok(slot) = queue.try_reserve() else {
            counter!("bigfleet_shard_actions_dropped_total").increment(1);
            continue;
        };
        if let Err(error) = state.inventory.begin(&action) {
            counter!("bigfleet_shard_actions_deduped_total").increment(1);
            tracing::warn!(%error, kind = action.kind.name(), "action no longer fits");
            continue;
        }
        slot.send(Job {
            action,
            cycle: state.cycle,
            started: Instant::now(),
            started_unix_nanos: unix_nanos(),
        });
    }
    gauge!("bigfleet_shard_action_queue_depth").set((queue.max_capacity() - queue.capacity()) as f64);
}
