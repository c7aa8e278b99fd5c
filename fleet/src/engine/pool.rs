//! The machines of one step, in the orders in which they are offered, and who claimed what.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::engine::inventory::Inventory;
use crate::engine::machine::{Machine, State};
use crate::engine::matching::suits;
use crate::engine::need::Need;
use crate::engine::resources::Resources;

/// Where a claimed machine comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// The cluster's own already, or on its way.
    Credited,
    /// To be bootstrapped.
    Idle,
    /// To be provisioned.
    Speculative,
}

/// Machines taken for one Need: index into [`Pool::machines`] and where from.
pub(crate) type Taken = Vec<(usize, Tier)>;

/// The machines of one step.
pub(crate) struct Pool<'a> {
    /// All machines in id order; other fields index into it.
    pub(crate) machines: Vec<&'a Machine>,
    /// Claimed by some Need in this step.
    pub(crate) claimed: Vec<bool>,
    /// Configured, then Configuring, each in keep order, by cluster.
    bound: BTreeMap<&'a str, Vec<usize>>,
    /// Creating, by the cluster they are for.
    creating: BTreeMap<&'a str, Vec<usize>>,
    idle: Vec<usize>,
    speculative: Vec<usize>,
}

/// Cheap first, then what is dear to take away, then by id.
pub(crate) fn keep_order(a: &Machine, b: &Machine) -> Ordering {
    a.price_per_hour
        .total_cmp(&b.price_per_hour)
        .then(b.reclamation_bucket().cmp(&a.reclamation_bucket()))
        .then_with(|| a.id.cmp(&b.id))
}

/// Dollars per hour, with the expected cost of an interruption.
pub(crate) fn effective_cost(machine: &Machine, interruption_bucket: i32) -> f64 {
    // Zero times a pinned (infinite) penalty is no cost.
    if machine.interruption_probability == 0.0 {
        return machine.price_per_hour;
    }
    machine.price_per_hour + machine.interruption_probability * api::penalty::upper_bound(interruption_bucket)
}

impl<'a> Pool<'a> {
    pub(crate) fn new(inventory: &'a Inventory) -> Self {
        let machines: Vec<&Machine> = inventory.iter().collect();
        let mut pool = Self {
            claimed: vec![false; machines.len()],
            bound: BTreeMap::new(),
            creating: BTreeMap::new(),
            idle: Vec::new(),
            speculative: Vec::new(),
            machines,
        };
        for (i, m) in pool.machines.iter().enumerate() {
            let assigned = m.assigned.as_ref().map(|a| a.cluster.as_str());
            match (m.state, m.cluster.as_deref()) {
                (State::Configured | State::Configuring, Some(cluster)) => {
                    pool.bound.entry(cluster).or_default().push(i);
                }
                (State::Creating, _) => {
                    if let Some(cluster) = assigned {
                        pool.creating.entry(cluster).or_default().push(i);
                    }
                }
                (State::Idle, _) => pool.idle.push(i),
                (State::Speculative, _) => pool.speculative.push(i),
                _ => {}
            }
        }
        let machines = &pool.machines;
        for list in pool.bound.values_mut() {
            list.sort_by(|&a, &b| {
                let (a, b) = (machines[a], machines[b]);
                (a.state == State::Configuring)
                    .cmp(&(b.state == State::Configuring))
                    .then_with(|| keep_order(a, b))
            });
        }
        pool.idle.sort_by(|&a, &b| {
            machines[a].price_per_hour.total_cmp(&machines[b].price_per_hour).then(a.cmp(&b))
        });
        pool
    }

    /// Unclaimed machines that count for a Need already: Configured, Configuring, then those being
    /// created for it (ADR-0052).
    pub(crate) fn creditable<'s>(&'s self, need: &'s Need) -> impl Iterator<Item = usize> + 's {
        let cluster = need.key.cluster.as_str();
        let own = self.bound.get(cluster).into_iter().flatten();
        let coming = self.creating.get(cluster).into_iter().flatten().filter(|&&i| {
            self.machines[i]
                .assigned
                .as_ref()
                .is_some_and(|a| a.fingerprint == need.key.fingerprint && a.group == need.key.group)
        });
        own.chain(coming).copied().filter(|&i| self.will_do(i, need))
    }

    /// Unclaimed Idle machines that will do, cheapest first.
    pub(crate) fn idle<'s>(&'s self, need: &'s Need) -> impl Iterator<Item = usize> + 's {
        self.idle.iter().copied().filter(|&i| self.will_do(i, need))
    }

    /// Unclaimed Speculative machines that will do, cheapest first for this Need.
    pub(crate) fn speculative(&self, need: &Need) -> Vec<usize> {
        let mut list: Vec<usize> =
            self.speculative.iter().copied().filter(|&i| self.will_do(i, need)).collect();
        let cost = |i: usize| effective_cost(self.machines[i], need.profile.interruption_bucket);
        list.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(a.cmp(&b)));
        list
    }

    /// Idle machines, whoever they would do for.
    pub(crate) fn all_idle(&self) -> impl Iterator<Item = usize> + '_ {
        self.idle.iter().copied()
    }

    /// Configured machines of one cluster in keep order.
    pub(crate) fn configured<'s>(&'s self, cluster: &str) -> impl Iterator<Item = usize> + 's {
        let list = self.bound.get(cluster).into_iter().flatten().copied();
        list.filter(|&i| self.machines[i].state == State::Configured)
    }

    fn will_do(&self, i: usize, need: &Need) -> bool {
        !self.claimed[i] && suits(self.machines[i], need)
    }

    /// Takes machines one after another until the residual is zero, without claiming them yet.
    /// `admits` confines the choice; `acquire` allows machines that are not the cluster's yet.
    pub(crate) fn take(
        &self,
        need: &Need,
        residual: &mut Resources,
        acquire: bool,
        admits: &dyn Fn(&Machine) -> bool,
    ) -> Taken {
        let mut taken = Taken::new();
        let mut offer = |i: usize, tier: Tier, residual: &mut Resources| -> bool {
            let machine = self.machines[i];
            if admits(machine) && residual.is_served_by(&machine.allocatable) {
                residual.subtract(&machine.allocatable);
                taken.push((i, tier));
            }
            residual.is_zero()
        };
        if residual.is_zero() || self.creditable(need).any(|i| offer(i, Tier::Credited, residual)) {
            return taken;
        }
        if acquire && !self.idle(need).any(|i| offer(i, Tier::Idle, residual)) {
            self.speculative(need).into_iter().any(|i| offer(i, Tier::Speculative, residual));
        }
        taken
    }

    pub(crate) fn claim(&mut self, taken: &Taken) {
        for &(i, _) in taken {
            self.claimed[i] = true;
        }
    }
}
