//! Pods, counted: those of one workload on one machine are a number.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use fleet_engine::Resources;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::machines::{Amounts, MachineIdx};
use crate::setup::{GangSetup, SpreadSetup};

/// Pods that are alike.
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) cluster: usize,
    /// Requests of one Pod.
    pub(crate) unit: Amounts,
    pub(crate) unit_resources: Resources,
    /// By machine shape, whether its Pods may run there.
    pub(crate) suited: std::rc::Rc<Vec<bool>>,
    pub(crate) gang: Option<GangSetup>,
    pub(crate) spread: Option<SpreadSetup>,
    /// Pods its owner wants.
    pub(crate) target: u32,
    pub(crate) pending: u32,
    /// Bound Pods by machine.
    pub(crate) on: BTreeMap<MachineIdx, u32>,
    /// Sum over `on`.
    pub(crate) bound: u32,
    /// On a machine that is being emptied, not deleted yet.
    pub(crate) leaving: u32,
    /// Deleted, but their objects, and so perhaps their requests, are still there.
    pub(crate) terminating: u32,
    /// Share of the bound Pods that is deleted and made anew per cycle.
    pub(crate) churn_per_cycle: f64,
    /// The fraction of a Pod that churn owes.
    pub(crate) churn_owed: f64,
}

impl Workload {
    pub(crate) fn live(&self) -> u32 {
        self.pending + self.bound + self.leaving
    }

    /// Takes `pods` of the bound ones, any with equal chance; tells from where.
    pub(crate) fn take_random(&mut self, pods: u32, rng: &mut ChaCha8Rng) -> Vec<(MachineIdx, u32)> {
        let pods = pods.min(self.bound);
        // Floyd's way of drawing a set: each subset has the same chance.
        let mut chosen = BTreeSet::new();
        for most in self.bound - pods..self.bound {
            let drawn = rng.random_range(0..=most);
            if !chosen.insert(drawn) {
                chosen.insert(most);
            }
        }
        let mut taken = Vec::new();
        let mut chosen = chosen.into_iter().peekable();
        let mut end = 0;
        for (&machine, &count) in &self.on {
            end += count;
            let mut here = 0;
            while chosen.next_if(|&position| position < end).is_some() {
                here += 1;
            }
            if here > 0 {
                taken.push((machine, here));
            }
        }
        for &(machine, here) in &taken {
            self.unbind(machine, here);
        }
        taken
    }

    /// Takes `pods` of the bound ones where most are, as a ReplicaSet that shrinks does; tells from where.
    pub(crate) fn take_crowded(&mut self, pods: u32) -> Vec<(MachineIdx, u32)> {
        let mut heap: BinaryHeap<(u32, MachineIdx)> = self.on.iter().map(|(&m, &n)| (n, m)).collect();
        let mut taken = BTreeMap::new();
        for _ in 0..pods.min(self.bound) {
            let Some((count, machine)) = heap.pop() else { break };
            *taken.entry(machine).or_default() += 1;
            if count > 1 {
                heap.push((count - 1, machine));
            }
        }
        for (&machine, &here) in &taken {
            self.unbind(machine, here);
        }
        taken.into_iter().collect()
    }

    /// Notes Pods as bound.
    pub(crate) fn bind(&mut self, machine: MachineIdx, pods: u32) {
        *self.on.entry(machine).or_default() += pods;
        self.bound += pods;
        self.pending -= pods;
    }

    fn unbind(&mut self, machine: MachineIdx, pods: u32) {
        let left = self.on.get_mut(&machine).expect("Pods can only be taken where they are");
        *left -= pods;
        if *left == 0 {
            self.on.remove(&machine);
        }
        self.bound -= pods;
    }

    /// Takes all Pods off a machine; tells how many there were.
    pub(crate) fn take_all(&mut self, machine: MachineIdx) -> u32 {
        let pods = self.on.remove(&machine).unwrap_or(0);
        self.bound -= pods;
        pods
    }
}

#[cfg(test)]
mod tests {
    use harness_model::plan::rng;

    use super::*;

    fn workload(on: &[(MachineIdx, u32)]) -> Workload {
        Workload {
            name: "w".into(),
            cluster: 0,
            unit: vec![1],
            unit_resources: Resources::default(),
            suited: std::rc::Rc::default(),
            gang: None,
            spread: None,
            target: on.iter().map(|(_, n)| n).sum(),
            pending: 0,
            on: on.iter().copied().collect(),
            bound: on.iter().map(|(_, n)| n).sum(),
            leaving: 0,
            terminating: 0,
            churn_per_cycle: 0.0,
            churn_owed: 0.0,
        }
    }

    #[test]
    fn what_is_taken_is_what_is_missing() {
        let mut rng = rng(1, "test");
        for pods in 0..=30 {
            let mut w = workload(&[(1, 10), (2, 5), (9, 15)]);
            let taken = w.take_random(pods, &mut rng);
            assert_eq!(taken.iter().map(|(_, n)| n).sum::<u32>(), pods);
            assert_eq!(w.bound, 30 - pods);
            assert_eq!(w.on.values().sum::<u32>(), w.bound);
        }
    }

    #[test]
    fn a_shrinking_workload_leaves_the_fullest_first() {
        let mut w = workload(&[(1, 3), (2, 5), (3, 4)]);
        assert_eq!(w.take_crowded(3), [(2, 2), (3, 1)]);
        assert_eq!(w.on.values().copied().collect::<Vec<_>>(), [3, 3, 3]);
    }
}
