//! What a shard knows: machines, demand, sessions, and what it is waiting for.
//!
//! One mutex guards all of it. It is held for microseconds, or for one engine step, and never across an
//! await.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use api::session::{ClusterCapacityNeeds, ShardMessage};
use metrics::{counter, gauge};
use tokio::sync::{Notify, oneshot};

use crate::shard::args::Args;
use crate::shard::audit::Audit;
use crate::shard::frames;
use crate::shard::metrics::Gauges;
use crate::shard::provider::Provider;
use crate::shard::sessions::Session;
use fleet_engine::rails::{RollupGuard, Verdict};
use fleet_engine::{Action, Inventory, Memory, Need, NeedReport, need};

/// A shard.
#[derive(Debug)]
pub struct Shard {
    pub(crate) args: Args,
    pub(crate) epoch: u64,
    pub(crate) provider: Provider,
    pub(crate) audit: Audit,
    pub(crate) gauges: Gauges,
    pub(crate) started: Instant,
    /// Asks for a cycle; requests coalesce.
    pub(crate) wake: Notify,
    state: Mutex<State>,
}

/// Whether decided actions are carried out (ADR-0046's kill switch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Actuation {
    #[default]
    Running,
    Paused,
    /// Paused until the next roll-up: what is known of demand may be as old as the pause.
    ResumesWithRollup,
}

/// The guarded part.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) actuation: Actuation,
    pub(crate) inventory: Inventory,
    pub(crate) demand: BTreeMap<String, Demand>,
    pub(crate) reported: BTreeSet<String>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) drains: BTreeMap<String, Drain>,
    pub(crate) blobs: HashMap<String, PendingBlob>,
    pub(crate) memory: Memory,
    pub(crate) cycle: u64,
    /// Counts sessions, instructions and requests, so that their ids are unique.
    pub(crate) serial: u64,
    pub(crate) last_needs: Vec<NeedReport>,
    pub(crate) shortfalls_max: usize,
}

/// A cluster's accepted demand.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    pub(crate) needs: Vec<Need>,
    guard: RollupGuard,
    /// When a fingerprint first appeared; taken by its first machine.
    pub(crate) waiting_since: BTreeMap<String, Option<Instant>>,
}

/// A machine whose Node the operator is emptying.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) job: Job,
    pub(crate) acks: u32,
}

/// A decided action, on its way.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) action: Action,
    pub(crate) cycle: u64,
    pub(crate) started: Instant,
    pub(crate) started_unix_nanos: u64,
}

/// Somebody waits for a bootstrap blob; the sender's end means that the session ended.
#[derive(Debug)]
pub(crate) struct PendingBlob {
    pub(crate) session: u64,
    pub(crate) answer: oneshot::Sender<Result<(), String>>,
}

impl Shard {
    /// A shard over a seed.
    pub fn new(args: Args, epoch: u64, inventory: Inventory, audit: Audit) -> Self {
        let actuation = if args.actuation_paused { Actuation::Paused } else { Actuation::Running };
        Self {
            provider: Provider::new(&args),
            epoch,
            audit,
            gauges: Gauges::default(),
            started: Instant::now(),
            wake: Notify::new(),
            state: Mutex::new(State { actuation, inventory, ..State::default() }),
            args,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state as consistent as any point between two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the start: the engine's clock.
    pub(crate) fn now_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Takes in a roll-up as a whole, or refuses it as a whole.
    ///
    /// # Errors
    /// What is wrong with it; the last good demand stays.
    pub(crate) fn accept_rollup(
        &self,
        cluster: &str,
        rollup: &ClusterCapacityNeeds,
    ) -> Result<Verdict, need::Error> {
        let needs = need::from_rollup(cluster, rollup).inspect_err(|_| {
            counter!("bigfleet_shard_rollups_rejected_total", "cluster" => cluster.to_owned()).increment(1);
        })?;
        let mut state = self.lock();
        state.reported.insert(cluster.to_owned());
        let demand = state.demand.entry(cluster.to_owned()).or_default();
        let verdict = match self.args.empty_rollup_guard {
            true => demand.guard.judge(needs.len()),
            false => Verdict::Accept,
        };
        gauge!("bigfleet_shard_rollup_quarantined", "cluster" => cluster.to_owned())
            .set(if verdict == Verdict::Hold { 1.0 } else { 0.0 });
        if verdict == Verdict::Accept {
            let mut waiting = std::mem::take(&mut demand.waiting_since);
            for need in &needs {
                let fingerprint = need.key.fingerprint.clone();
                let since = waiting.remove(&fingerprint).unwrap_or_else(|| Some(Instant::now()));
                demand.waiting_since.insert(fingerprint, since);
            }
            demand.needs = needs;
        }
        if state.actuation == Actuation::ResumesWithRollup {
            tracing::info!(cluster, "actions are carried out from here on");
            state.set_actuation(Actuation::Running);
        }
        drop(state);
        self.wake.notify_one();
        Ok(verdict)
    }
}

impl State {
    /// Pauses or resumes, and shows it.
    pub(crate) fn set_actuation(&mut self, to: Actuation) {
        self.actuation = to;
        gauge!("bigfleet_shard_actuation_paused").set(if self.is_paused() { 1.0 } else { 0.0 });
    }

    /// Whether decided actions stay undone.
    pub(crate) fn is_paused(&self) -> bool {
        self.actuation != Actuation::Running
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Sends a frame to a cluster's operator; false without a session.
    pub(crate) fn send(&self, cluster: &str, frame: ShardMessage) -> bool {
        self.sessions.get(cluster).is_some_and(|s| s.outbox.send(Ok(frame)).is_ok())
    }

    /// Tells a cluster how a machine stands.
    pub(crate) fn tell(&self, cluster: &str, machine: &str) {
        if let Some(machine) = self.inventory.get(machine) {
            self.send(cluster, frames::node_state_update(cluster, machine));
        }
    }
}
