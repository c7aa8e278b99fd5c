//! Carrying out actions: the provider's operations, and Pods that leave a machine.

use fleet_engine::{Action, Assignment, Change, Kind, State};
use rand::RngExt;

use super::Simulation;
use super::machines::MachineIdx;

/// What the provider is about to be done with.
pub(super) enum Operation {
    Created(MachineIdx, Assignment),
    Configured(MachineIdx),
    Drained(MachineIdx),
    Deleted(MachineIdx),
}

/// Pods of one machine that is being emptied.
pub(super) struct Leaving {
    pub(super) due_ms: u64,
    pub(super) machine: MachineIdx,
    /// Workload and Pods.
    pods: Vec<(usize, u32)>,
}

impl Simulation {
    /// Begins an action: from here on the machine counts as taken.
    pub(super) fn begin(&mut self, action: &Action) {
        let Some(machine) = self.machines.index(&action.machine) else { return };
        if !self.machines.begin(action) {
            return;
        }
        let clock = &self.clock;
        match (action.kind, &action.assignment) {
            (Kind::Bootstrap, _) => self.after(clock.configure_ms, Operation::Configured(machine)),
            (Kind::Provision, Some(assignment)) => {
                self.after(clock.create_ms, Operation::Created(machine, assignment.clone()));
            }
            (Kind::Provision, None) => {}
            (Kind::Reclaim | Kind::Preempt, _) => {
                let emptied_ms = clock.eviction_ms + clock.termination_ms;
                let first_ms = if self.switches.wait_for_eviction { emptied_ms } else { 0 };
                let drained_ms = first_ms + clock.drain_ms;
                self.evict(machine, &action.cluster);
                self.after(drained_ms, Operation::Drained(machine));
            }
            (Kind::Delete, _) => self.after(0, Operation::Deleted(machine)),
        }
    }

    /// Ends an operation after a while; one that takes no time, at once.
    fn after(&mut self, wait_ms: u64, operation: Operation) {
        if wait_ms == 0 {
            self.end(operation);
        } else {
            self.operations.entry(self.clock.now_ms + wait_ms).or_default().push(operation);
        }
    }

    pub(super) fn end_operations(&mut self) {
        let later = self.operations.split_off(&(self.clock.now_ms + 1));
        let due = std::mem::replace(&mut self.operations, later);
        for operation in due.into_values().flatten() {
            self.end(operation);
        }
    }

    fn end(&mut self, operation: Operation) {
        let free = Change::Free { now_s: self.clock.now_s() };
        match operation {
            Operation::Created(machine, assignment) => {
                if self.fails(self.failure_rate.create) {
                    self.machines
                        .apply(machine, Change::Fail { error: "the provider failed to create it".into() });
                } else if self.machines.apply(machine, free)
                    && self.machines.apply(machine, Change::Bind(assignment))
                {
                    self.after(self.clock.configure_ms, Operation::Configured(machine));
                }
            }
            Operation::Configured(machine) => {
                if self.fails(self.failure_rate.configure) {
                    let error = "the provider failed to configure it".into();
                    self.machines.apply(machine, Change::Fail { error });
                } else if self.machines.apply(machine, Change::Configured) {
                    self.machines.clear(machine);
                    let cluster = self.machines.get(machine).and_then(|m| m.cluster.as_ref());
                    if let Some(&cluster) = cluster.and_then(|name| self.cluster_by_name.get(name)) {
                        self.clusters[cluster].machines.insert(machine);
                    }
                }
            }
            Operation::Drained(machine) => {
                self.machines.apply(machine, free);
            }
            Operation::Deleted(machine) => {
                self.machines.apply(machine, Change::Gone);
            }
        }
    }

    fn fails(&mut self, rate: f64) -> bool {
        let fails = rate > 0.0 && self.rng.random_bool(rate);
        self.now.failures += u32::from(fails);
        fails
    }

    /// Cordons a machine; its Pods will be gone after the eviction's length.
    fn evict(&mut self, machine: MachineIdx, cluster: &str) {
        let Some(&cluster) = self.cluster_by_name.get(cluster) else { return };
        let cluster = &mut self.clusters[cluster];
        cluster.machines.remove(&machine);
        let mut pods = Vec::new();
        for w in cluster.workloads.clone() {
            let count = self.workloads[w].take_all(machine);
            if count > 0 {
                self.workloads[w].leaving += count;
                pods.push((w, count));
            }
        }
        if !pods.is_empty() {
            self.leaving.push(Leaving { due_ms: self.clock.now_ms + self.clock.eviction_ms, machine, pods });
        }
    }

    /// Deletes the Pods whose eviction is due.
    pub(super) fn end_evictions(&mut self) {
        let now_ms = self.clock.now_ms;
        let (due, later) = self.leaving.drain(..).partition::<Vec<_>, _>(|l| l.due_ms <= now_ms);
        self.leaving = later;
        for (w, count) in due.into_iter().flat_map(|l| l.pods) {
            self.workloads[w].leaving -= count;
            self.evicted(w, count);
        }
    }

    /// Pods on machines that the shard holds for free, or for somebody else, already.
    pub(super) fn stray_pods(&self) -> u64 {
        let is_stray = |machine| self.machines.get(machine).is_none_or(|m| m.state != State::Draining);
        let stray = self.leaving.iter().filter(|l| is_stray(l.machine));
        stray.flat_map(|l| &l.pods).map(|&(_, count)| u64::from(count)).sum()
    }
}
