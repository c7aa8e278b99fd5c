//! The model, cycle by cycle.
//!
//! Order within a cycle, as in upstream's closed loop: operations that are due end → events, load-driver and churn →
//! each cluster's roll-up → one engine step → actions begin → Pods leave machines that are no longer theirs, and are
//! replaced if somebody owns them → pending Pods are bound → counters.

mod bind;
mod build;
mod demand;
mod events;
mod machines;
mod provider;
mod workload;

use std::collections::{BTreeMap, BTreeSet};

use fleet_engine::rails::RollupGuard;
use fleet_engine::{Decisions, Inputs, Kind, Memory, Need, Policy, State, inventory, matching, need, step};
use rand_chacha::ChaCha8Rng;

use self::demand::Row;
use self::machines::{MachineIdx, Machines};
use self::provider::{Leaving, Operation};
use self::workload::Workload;
use crate::counters::Counters;
use crate::setup::{Event, FailureRate, Switches};

/// Why a setup cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine refuses the seed.
    #[error("the machines are refused: {0}")]
    Seed(#[from] inventory::Error),
    /// The engine refuses what a workload asks for.
    #[error("workload {workload} of {cluster} is refused: {error}")]
    Need {
        /// The cluster.
        cluster: String,
        /// The workload.
        workload: String,
        /// The engine's words; they count rows of a roll-up of one.
        error: need::Error,
    },
    /// A Configured machine of a cluster that is not there.
    #[error("machine {machine} serves {cluster}, which is no cluster of the scenario")]
    NoSuchCluster {
        /// The machine.
        machine: String,
        /// Its cluster.
        cluster: String,
    },
}

/// A fleet in virtual time.
pub struct Simulation {
    switches: Switches,
    policy: Policy,
    failure_rate: FailureRate,
    events: BTreeMap<u32, Vec<Event>>,
    clock: Clock,
    rng: ChaCha8Rng,
    machines: Machines,
    clusters: Vec<Cluster>,
    cluster_by_name: BTreeMap<String, usize>,
    workloads: Vec<Workload>,
    operations: BTreeMap<u64, Vec<Operation>>,
    leaving: Vec<Leaving>,
    /// Deleted Pods whose objects go at that time: (when, workload, how many).
    terminating: Vec<(u64, usize, u32)>,
    /// Bare Pods that load-driver owes: (from when, cluster, how many).
    owed: Vec<(u64, usize, u32)>,
    memory: Memory,
    reported: BTreeSet<String>,
    /// Accepted demand of all clusters: what the engine sees.
    needs: Vec<Need>,
    now: Counters,
}

/// Virtual time and lengths of it, in milliseconds.
struct Clock {
    now_ms: u64,
    interval_ms: u64,
    create_ms: u64,
    configure_ms: u64,
    drain_ms: u64,
    eviction_ms: u64,
    termination_ms: u64,
    top_up_ms: u64,
}

impl Clock {
    fn now_s(&self) -> u64 {
        self.now_ms / 1000
    }
}

struct Cluster {
    name: String,
    /// Configured for it.
    machines: BTreeSet<MachineIdx>,
    /// Its workloads, as a range of [`Simulation::workloads`].
    workloads: std::ops::Range<usize>,
    /// Its workloads in the order in which their Pods are bound.
    bind_order: Vec<usize>,
    rows: Vec<Row>,
    guard: RollupGuard,
    accepted: Vec<Need>,
    /// Pods by row in the accepted roll-up, to tell whether anything has changed.
    accepted_pods: Vec<u64>,
    /// The operator sees nothing before this cycle.
    blind_until: u32,
}

impl Simulation {
    /// One whole cycle.
    pub fn cycle(&mut self) -> Counters {
        self.begin_cycle();
        let decisions = self.decide();
        self.end_cycle(&decisions)
    }

    /// All that comes before the engine's step.
    pub fn begin_cycle(&mut self) {
        self.now = Counters { cycle: self.now.cycle + 1, ..Counters::default() };
        self.clock.now_ms += self.clock.interval_ms;
        self.end_operations();
        self.end_evictions();
        self.end_terminations();
        self.apply_events();
        self.top_up();
        self.churn();
        self.roll_up();
    }

    /// The engine's step: what a shard's decision cycle takes.
    pub fn decide(&mut self) -> Decisions {
        let inputs = Inputs {
            inventory: &self.machines.inventory,
            needs: &self.needs,
            reported: &self.reported,
            now_s: self.clock.now_s(),
            policy: &self.policy,
        };
        step(inputs, &mut self.memory)
    }

    /// Carries the decisions out and counts.
    pub fn end_cycle(&mut self, decisions: &Decisions) -> Counters {
        self.count(decisions);
        for action in &decisions.actions {
            self.begin(action);
        }
        self.end_evictions();
        self.bind_pending();
        let sum = |f: fn(&Workload) -> u32| self.workloads.iter().map(|w| u64::from(f(w))).sum::<u64>();
        let mut now = self.now.clone();
        now.bound = sum(|w| w.bound + w.leaving);
        now.pending = sum(|w| w.pending);
        now.live = now.bound + now.pending;
        now.stray_pods = self.stray_pods();
        now.configured = self.machines.count(State::Configured);
        now.states = self.machines.states();
        now.removed = self.machines.removed;
        now.illegal_actions = std::mem::take(&mut self.machines.illegal);
        self.now = now.clone();
        now
    }

    fn count(&mut self, decisions: &Decisions) {
        for action in &decisions.actions {
            let counter = match action.kind {
                Kind::Bootstrap => &mut self.now.bootstraps,
                Kind::Provision => &mut self.now.provisions,
                Kind::Reclaim => &mut self.now.reclaims,
                Kind::Preempt => &mut self.now.preempts,
                Kind::Delete => &mut self.now.deletes,
            };
            *counter += 1;
        }
        self.now.shortfalls = decisions.shortfalls().count() as u32;
        self.now.reclaims_capped = decisions.reclaims_capped as u32;
        self.now.reclaims_of_needed = self.reclaims_of_needed(decisions);
    }

    /// Reclaims whose machine would do for a Need of its own cluster that stays short.
    fn reclaims_of_needed(&self, decisions: &Decisions) -> u32 {
        let reclaims = || decisions.actions.iter().filter(|a| a.kind == Kind::Reclaim);
        if reclaims().next().is_none() {
            return 0;
        }
        let short: BTreeSet<_> = decisions.shortfalls().map(|report| &report.key).collect();
        let mut needs = BTreeMap::<&str, Vec<&Need>>::new();
        for need in self.needs.iter().filter(|need| short.contains(&need.key)) {
            needs.entry(&need.key.cluster).or_default().push(need);
        }
        let is_needed = |action: &&fleet_engine::Action| {
            let machine = self.machines.inventory.get(&action.machine);
            let needs = needs.get(action.cluster.as_str()).into_iter().flatten();
            machine.is_some_and(|machine| needs.into_iter().any(|need| matching::suits(machine, need)))
        };
        reclaims().filter(is_needed).count() as u32
    }

    /// How many machines the engine decides over.
    pub fn machine_count(&self) -> usize {
        self.machines.inventory.len()
    }

    /// How many Needs the engine decides over.
    pub fn need_count(&self) -> usize {
        self.needs.len()
    }

    /// What must hold at the end of any cycle of any fleet; the first thing that does not, in words.
    pub fn broken_invariant(&self) -> Option<String> {
        let machines = &self.machines;
        let (have, gone) = (machines.inventory.len(), machines.removed as usize);
        if have + gone != machines.seeded() {
            return Some(format!(
                "{} machines were seeded, {have} are there, {gone} lost",
                machines.seeded()
            ));
        }
        if self.now.illegal_actions > 0 {
            return Some(format!("{} actions did not fit their machine", self.now.illegal_actions));
        }
        let mut owner = BTreeMap::new();
        for cluster in &self.clusters {
            for &m in &cluster.machines {
                if let Some(other) = owner.insert(m, &cluster.name) {
                    return Some(format!("{} is in {other} and in {}", machines.id(m), cluster.name));
                }
                let machine = machines.get(m).filter(|machine| machine.state == State::Configured);
                if machine.and_then(|machine| machine.cluster.as_ref()) != Some(&cluster.name) {
                    return Some(format!("{} is not Configured for {}", machines.id(m), cluster.name));
                }
            }
        }
        if owner.len() != machines.count(State::Configured) as usize {
            return Some("a Configured machine belongs to no cluster".into());
        }
        self.workloads.iter().find_map(|w| self.broken_workload(w))
    }

    fn broken_workload(&self, w: &Workload) -> Option<String> {
        let cluster = &self.clusters[w.cluster];
        let place = format!("{} of {}", w.name, cluster.name);
        if w.on.values().sum::<u32>() != w.bound {
            return Some(format!("{place} has lost count of its bound Pods"));
        }
        let is_owned = self.switches.controller_managed;
        if is_owned && (w.live() < w.target || w.live() > w.target.max(w.leaving)) {
            return Some(format!("{place} has {} live Pods, its controller wants {}", w.live(), w.target));
        }
        let stray = w.on.keys().find(|m| !cluster.machines.contains(m));
        stray.map(|&m| format!("Pods of {place} are bound to {}, not its cluster's", self.machines.id(m)))
    }
}
