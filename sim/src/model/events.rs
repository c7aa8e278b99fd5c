//! What happens to a fleet from outside: scaling, churn, lost machines, blind operators, and the load-driver.

use rand::RngExt;

use super::Simulation;
use super::machines::MachineIdx;
use crate::setup::{RemoveMachines, Scale};

impl Simulation {
    pub(super) fn apply_events(&mut self) {
        for event in self.events.remove(&self.now.cycle).unwrap_or_default() {
            let meant: Vec<usize> = match event.clusters.is_empty() {
                true => (0..self.clusters.len()).collect(),
                false => event.clusters.iter().filter_map(|c| self.cluster_by_name.get(c).copied()).collect(),
            };
            if let Some(remove) = &event.remove_machines {
                for id in &remove.ids {
                    if let Some(machine) = self.machines.index(id) {
                        self.lose(machine);
                    }
                }
            }
            for cluster in meant {
                if let Some(scale) = &event.scale {
                    self.scale(cluster, scale);
                }
                if let Some(remove) = &event.remove_machines {
                    self.lose_configured(cluster, remove);
                }
                if let Some(rollups) = event.blind_rollups {
                    self.clusters[cluster].blind_until = self.now.cycle + rollups;
                }
            }
        }
    }

    fn scale(&mut self, cluster: usize, scale: &Scale) {
        for idx in self.clusters[cluster].workloads.clone() {
            let w = &mut self.workloads[idx];
            if w.name != scale.workload {
                continue;
            }
            w.target = scale.replicas;
            let Some(surplus) = w.live().checked_sub(scale.replicas) else {
                w.pending += scale.replicas - w.live();
                continue;
            };
            // As a ReplicaSet does: what is not running goes first. Pods of a machine that drains go anyway.
            let unbound = surplus.min(w.pending);
            w.pending -= unbound;
            for (machine, pods) in w.take_crowded(surplus - unbound) {
                self.machines.unplace(machine, &self.workloads[idx].unit, pods);
                self.delete_pods(idx, pods);
            }
        }
    }

    /// A fault: the provider does not know these machines any more, and their Pods are gone.
    fn lose_configured(&mut self, cluster: usize, remove: &RemoveMachines) {
        let is_meant = |&&m: &&MachineIdx| {
            let kind = self.machines.get(m).map(|machine| &machine.instance_type);
            remove.instance_type.is_none() || remove.instance_type.as_ref() == kind
        };
        let machines = self.clusters[cluster].machines.iter().filter(is_meant);
        let lost: Vec<MachineIdx> = machines.take(remove.configured as usize).copied().collect();
        for machine in lost {
            self.lose(machine);
        }
    }

    fn lose(&mut self, machine: MachineIdx) {
        if self.machines.remove(machine).is_none() {
            return;
        }
        let owner = (0..self.clusters.len()).find(|&c| self.clusters[c].machines.remove(&machine));
        if let Some(cluster) = owner {
            for w in self.clusters[cluster].workloads.clone() {
                let pods = self.workloads[w].take_all(machine);
                self.evicted(w, pods);
            }
        }
        // Pods that were leaving it have no machine to leave any more.
        for leaving in self.leaving.iter_mut().filter(|l| l.machine == machine) {
            leaving.due_ms = 0;
        }
        self.end_evictions();
    }

    /// Deletes and replaces a share of the bound Pods, as load-driver and ageing do.
    pub(super) fn churn(&mut self) {
        for idx in 0..self.workloads.len() {
            let w = &mut self.workloads[idx];
            if w.churn_per_cycle == 0.0 {
                continue;
            }
            w.churn_owed += f64::from(w.bound) * w.churn_per_cycle;
            let pods = w.churn_owed.floor();
            w.churn_owed -= pods;
            let taken = w.take_random(pods as u32, &mut self.rng);
            for (machine, pods) in taken {
                self.machines.unplace(machine, &self.workloads[idx].unit, pods);
                self.delete_pods(idx, pods);
                if self.switches.controller_managed {
                    self.workloads[idx].pending += pods;
                } else {
                    self.draw_pods(self.workloads[idx].cluster, pods);
                }
            }
        }
    }

    /// Load-driver makes up for bare Pods that were lost.
    pub(super) fn top_up(&mut self) {
        let now_ms = self.clock.now_ms;
        let (due, later) = self.owed.drain(..).partition::<Vec<_>, _>(|(due_ms, _, _)| *due_ms <= now_ms);
        self.owed = later;
        for (_, cluster, pods) in due {
            self.draw_pods(cluster, pods);
        }
    }

    /// Fresh draws: load-driver has no memory of what a Pod that went was. Gangs are not drawn.
    fn draw_pods(&mut self, cluster: usize, pods: u32) {
        let plain = |idx: &usize| self.workloads[*idx].gang.is_none();
        let candidates: Vec<usize> = self.clusters[cluster].workloads.clone().filter(plain).collect();
        let total: u32 = candidates.iter().map(|&w| self.workloads[w].target).sum();
        if total == 0 {
            return;
        }
        for _ in 0..pods {
            let mut ticket = self.rng.random_range(0..total);
            let drawn = candidates.iter().find(|&&w| match ticket.checked_sub(self.workloads[w].target) {
                Some(rest) => {
                    ticket = rest;
                    false
                }
                None => true,
            });
            if let Some(&w) = drawn {
                self.workloads[w].pending += 1;
            }
        }
    }

    /// Pods whose machine is gone or being emptied: replaced if somebody owns them.
    pub(super) fn evicted(&mut self, w: usize, pods: u32) {
        if pods == 0 {
            return;
        }
        self.now.evicted += u64::from(pods);
        self.delete_pods(w, pods);
        if self.switches.controller_managed {
            // Who was scaled down meanwhile does not want them all back.
            let w = &mut self.workloads[w];
            w.pending += pods.min(w.target.saturating_sub(w.live()));
            return;
        }
        self.now.lost += u64::from(pods);
        if self.switches.top_up {
            self.owed.push((self.clock.now_ms + self.clock.top_up_ms, self.workloads[w].cluster, pods));
        }
    }

    /// Their objects stay for the termination's length.
    fn delete_pods(&mut self, w: usize, pods: u32) {
        if self.clock.termination_ms > 0 && pods > 0 {
            self.workloads[w].terminating += pods;
            self.terminating.push((self.clock.now_ms + self.clock.termination_ms, w, pods));
        }
    }

    pub(super) fn end_terminations(&mut self) {
        let now_ms = self.clock.now_ms;
        self.terminating.retain(|&(due_ms, w, pods)| {
            let is_due = due_ms <= now_ms;
            if is_due {
                self.workloads[w].terminating -= pods;
            }
            !is_due
        });
    }
}
