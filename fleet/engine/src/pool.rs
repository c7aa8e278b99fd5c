//! The machines of one step, in the orders in which they are offered, and who claimed what.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::free::{Free, Offers, in_total_order};
use crate::inventory::Inventory;
use crate::looks::{Domains, Kind, Looks};
use crate::machine::{Machine, State};
use crate::need::{Need, NeedKey};
use crate::resources::Resources;
use crate::step::is_alive;

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
    /// Machines that are being emptied, in id order.
    pub(crate) draining: Vec<usize>,
    looks: &'a Looks,
    /// A machine of each look that is not Failed.
    samples: Vec<usize>,
    /// Configured, then Configuring, each in keep order, by cluster.
    bound: BTreeMap<&'a str, Bound>,
    /// Creating, by what they are for: cluster, fingerprint and group.
    creating: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    idle: Free,
    /// Idle machines, cheapest first.
    idle_by_price: Vec<usize>,
    speculative: Free,
    /// By kind, the looks of free machines that will do.
    free_looks: RefCell<HashMap<usize, Rc<[usize]>>>,
    /// By kind, whether any machine that is not Failed will do.
    has_supply: RefCell<HashMap<usize, bool>>,
    configured: OnceCell<Prey>,
}

/// One cluster's machines.
#[derive(Default)]
struct Bound {
    machines: Vec<usize>,
    /// Those that will do, by kind.
    by_kind: RefCell<HashMap<usize, Rc<Own>>>,
}

/// A cluster's machines that will do for one kind of demand.
pub(crate) struct Own {
    /// In keep order.
    pub(crate) machines: Vec<usize>,
    /// The same by domain of a label, domains in order; for the last label asked about.
    by_domain: RefCell<Option<(String, Rc<OwnByDomain>)>>,
}

/// Machines by domain: domains in order, in keep order within each.
pub(crate) struct OwnByDomain {
    domains: Vec<(u32, Vec<usize>)>,
    /// How many domains at the head have nothing left; claims of a step are never undone.
    spent: Cell<usize>,
}

impl OwnByDomain {
    /// The domains with a machine that nobody has claimed, and all their machines.
    pub(crate) fn with_some_left(&self, claimed: &[bool]) -> impl Iterator<Item = (u32, &[usize])> {
        let is_spent = |place: usize| self.domains[place].1.iter().all(|&i| claimed[i]);
        let first = (self.spent.get()..self.domains.len()).find(|&place| !is_spent(place));
        let first = first.unwrap_or(self.domains.len());
        self.spent.set(first);
        let left = (first..self.domains.len()).filter(move |&place| !is_spent(place));
        left.map(|place| (self.domains[place].0, self.domains[place].1.as_slice()))
    }
}

/// Configured machines by look, for those who look for somebody to preempt.
struct Prey {
    machines: Free,
    /// By look, the lowest priority that a machine is held for.
    lowest: Vec<Option<i32>>,
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
        let looks = inventory.looks();
        looks.begin_step();
        let machines: Vec<&Machine> = inventory.iter().collect();
        let mut samples = vec![usize::MAX; looks.len()];
        let mut clusters = HashMap::<&str, usize>::new();
        let mut bound = Vec::<(&str, Vec<usize>)>::new();
        let mut creating = HashMap::<_, Vec<usize>>::new();
        let (mut idle, mut speculative, mut draining) = (Vec::new(), Vec::new(), Vec::new());
        // Ids of one cluster's machines tend to lie side by side.
        let mut last = usize::MAX;
        for (i, m) in machines.iter().enumerate() {
            let sample = &mut samples[m.look as usize];
            if *sample == usize::MAX && is_alive(m.state) {
                *sample = i;
            }
            match (m.state, m.cluster.as_deref()) {
                (State::Configured | State::Configuring, Some(cluster)) => {
                    if bound.get(last).is_none_or(|(name, _)| *name != cluster) {
                        last = *clusters.entry(cluster).or_insert(bound.len());
                        if last == bound.len() {
                            bound.push((cluster, Vec::new()));
                        }
                    }
                    bound[last].1.push(i);
                }
                (State::Creating, _) => {
                    if let Some(a) = &m.assigned {
                        let of = (a.cluster.as_str(), a.fingerprint.as_str(), a.group.as_str());
                        creating.entry(of).or_default().push(i);
                    }
                }
                (State::Idle, _) => idle.push(i),
                (State::Speculative, _) => speculative.push(i),
                (State::Draining, _) => draining.push(i),
                _ => {}
            }
        }
        let look_of = |i: usize| machines[i].look as usize;
        let free = |members: &[usize]| Free::new(looks.len(), members, look_of);
        let (idle_free, speculative) = (free(&idle), free(&speculative));
        idle.sort_by_key(|&i| (in_total_order(machines[i].price_per_hour), i));
        Self {
            claimed: vec![false; machines.len()],
            draining,
            looks,
            samples,
            bound: bound.into_iter().map(|(name, list)| (name, in_keep_order(list, &machines))).collect(),
            creating,
            idle: idle_free,
            idle_by_price: idle,
            speculative,
            free_looks: RefCell::default(),
            has_supply: RefCell::default(),
            configured: OnceCell::new(),
            machines,
        }
    }

    /// What a Need asks of one machine.
    pub(crate) fn kind(&self, need: &Need) -> Arc<Kind> {
        self.looks.kind(need)
    }

    /// The domains of a label, by look.
    pub(crate) fn domains(&self, key: &str) -> Arc<Domains> {
        // A look without a sample has only Failed machines, and these never come back.
        let samples = self.samples.iter().filter(|&&i| i != usize::MAX);
        self.looks.domains(key, samples.map(|&i| self.machines[i]))
    }

    /// Whether any machine that is not Failed will do, whosever it is.
    pub(crate) fn has_supply(&self, need: &Need, kind: &Kind) -> bool {
        *self.has_supply.borrow_mut().entry(kind.id).or_insert_with(|| {
            let mut samples = self.samples.iter().filter(|&&i| i != usize::MAX);
            samples.any(|&i| kind.suits(self.machines[i], need))
        })
    }

    /// The cluster's Configured and Configuring machines that will do, claimed ones too.
    pub(crate) fn own(&self, need: &Need, kind: &Kind) -> Rc<Own> {
        let none = || Rc::new(Own { machines: Vec::new(), by_domain: RefCell::default() });
        let Some(bound) = self.bound.get(need.key.cluster.as_str()) else { return none() };
        let mut by_kind = bound.by_kind.borrow_mut();
        let own = by_kind.entry(kind.id).or_insert_with(|| {
            let all = bound.machines.iter().copied();
            let machines = all.filter(|&i| kind.suits(self.machines[i], need)).collect();
            Rc::new(Own { machines, by_domain: RefCell::default() })
        });
        Rc::clone(own)
    }

    /// The same by domain.
    pub(crate) fn own_by_domain(&self, own: &Own, key: &str, domains: &Domains) -> Rc<OwnByDomain> {
        let mut known = own.by_domain.borrow_mut();
        if let Some((_, grouped)) = known.as_ref().filter(|(of, _)| of == key) {
            return Rc::clone(grouped);
        }
        let mut grouped = BTreeMap::<u32, Vec<usize>>::new();
        for &i in &own.machines {
            if let Some(domain) = domains.of(self.machines[i]) {
                grouped.entry(domain).or_default().push(i);
            }
        }
        let domains = grouped.into_iter().collect();
        let grouped = Rc::new(OwnByDomain { domains, spent: Cell::new(0) });
        *known = Some((key.to_owned(), Rc::clone(&grouped)));
        grouped
    }

    /// Unclaimed machines that are being created for a Need and will do (ADR-0052).
    pub(crate) fn coming(&self, need: &Need, kind: &Kind) -> Vec<usize> {
        let NeedKey { cluster, fingerprint, group } = &need.key;
        let coming = self.creating.get(&(cluster.as_str(), fingerprint.as_str(), group.as_str()));
        let coming = coming.into_iter().flatten().copied();
        coming.filter(|&i| !self.claimed[i] && kind.suits(self.machines[i], need)).collect()
    }

    /// Machines that are leaving the Need's own cluster and will do.
    pub(crate) fn returning(&self, need: &Need, kind: &Kind) -> Vec<usize> {
        let is_own = |i: &usize| self.machines[*i].cluster.as_deref() == Some(need.key.cluster.as_str());
        let draining = self.draining.iter().copied().filter(is_own);
        draining.filter(|&i| kind.suits(self.machines[i], need)).collect()
    }

    /// The looks of free machines that will do; those of which all are claimed, too.
    pub(crate) fn free_looks(&self, need: &Need, kind: &Kind) -> Rc<[usize]> {
        let mut known = self.free_looks.borrow_mut();
        let looks = known.entry(kind.id).or_insert_with(|| {
            let mut looks: Vec<usize> =
                self.idle.looks.iter().chain(&self.speculative.looks).copied().collect();
            looks.sort_unstable();
            looks.dedup();
            looks.retain(|&look| {
                let sample = self.samples[look];
                sample != usize::MAX && kind.suits(self.machines[sample], need)
            });
            looks.into()
        });
        Rc::clone(looks)
    }

    /// Unclaimed Idle and Speculative machines of a look.
    pub(crate) fn free_left(&self, look: usize) -> usize {
        self.idle.left(look) + self.speculative.left(look)
    }

    /// Unclaimed Idle machines of some looks, cheapest first.
    pub(crate) fn idle(&self, looks: &[usize]) -> Offers<'_> {
        Offers::new(&self.idle, &self.claimed, &self.machines, looks.iter().copied(), |m| m.price_per_hour)
    }

    /// Unclaimed Speculative machines of some looks, cheapest first for this Need.
    pub(crate) fn speculative(&self, need: &Need, looks: &[usize]) -> Offers<'_> {
        let cost = |m: &Machine| effective_cost(m, need.profile.interruption_bucket);
        Offers::new(&self.speculative, &self.claimed, &self.machines, looks.iter().copied(), cost)
    }

    /// Idle machines, whoever they would do for.
    pub(crate) fn all_idle(&self) -> impl Iterator<Item = usize> + '_ {
        self.idle_by_price.iter().copied()
    }

    /// Configured machines of one cluster in keep order.
    pub(crate) fn configured<'s>(&'s self, cluster: &str) -> impl Iterator<Item = usize> + 's {
        let list = self.bound.get(cluster).into_iter().flat_map(|b| &b.machines).copied();
        list.filter(|&i| self.machines[i].state == State::Configured)
    }

    /// Configured machines, of any cluster, that will do and are held for a lower priority.
    pub(crate) fn held_for_less(&self, need: &Need, kind: &Kind) -> Vec<usize> {
        let priority = need.profile.priority;
        let prey = self.configured.get_or_init(|| Prey::new(self));
        let is_lower = |lowest: Option<i32>| lowest.is_some_and(|lowest| lowest < priority);
        let looks = prey.machines.looks.iter().filter(|&&look| is_lower(prey.lowest[look]));
        let mut held = Vec::new();
        for &look in looks {
            let group = prey.machines.group(look);
            if !kind.suits(self.machines[group[0]], need) {
                continue;
            }
            let priority_of = |i: usize| self.machines[i].assigned.as_ref().map(|a| a.priority);
            held.extend(group.iter().copied().filter(|&i| is_lower(priority_of(i))));
        }
        held
    }

    /// Takes machines one after another until the residual is zero, without claiming them yet: own, then coming,
    /// then, where allowed, free ones of the looks given.
    pub(crate) fn take(
        &self,
        need: &Need,
        residual: &mut Resources,
        own: &[usize],
        coming: &[usize],
        free_looks: Option<&[usize]>,
    ) -> Taken {
        let mut taken = Taken::new();
        let mut offer = |i: usize, tier: Tier, residual: &mut Resources| -> bool {
            let machine = self.machines[i];
            if residual.is_served_by(&machine.allocatable) {
                residual.subtract(&machine.allocatable);
                taken.push((i, tier));
            }
            residual.is_zero()
        };
        let mut credited = own.iter().filter(|&&i| !self.claimed[i]).chain(coming);
        if residual.is_zero() || credited.any(|&i| offer(i, Tier::Credited, residual)) {
            return taken;
        }
        if let Some(looks) = free_looks
            && !self.idle(looks).any(|i| offer(i, Tier::Idle, residual))
        {
            self.speculative(need, looks).any(|i| offer(i, Tier::Speculative, residual));
        }
        taken
    }

    pub(crate) fn claim(&mut self, taken: &Taken) {
        for &(i, tier) in taken {
            self.claimed[i] = true;
            let look = self.machines[i].look as usize;
            match tier {
                Tier::Credited => {}
                Tier::Idle => self.idle.claim(look),
                Tier::Speculative => self.speculative.claim(look),
            }
        }
    }
}

/// Configured before Configuring; then cheap first, then what is dear to take away, then by id.
fn in_keep_order(list: Vec<usize>, machines: &[&Machine]) -> Bound {
    let key = |i: usize| {
        let m = machines[i];
        let price = in_total_order(m.price_per_hour);
        (m.state == State::Configuring, price, std::cmp::Reverse(m.reclamation_bucket()), i)
    };
    let mut keyed: Vec<_> = list.into_iter().map(key).collect();
    keyed.sort_unstable();
    Bound { machines: keyed.into_iter().map(|(_, _, _, i)| i).collect(), by_kind: RefCell::default() }
}

impl Prey {
    fn new(pool: &Pool<'_>) -> Self {
        let is_prey = |&i: &usize| pool.machines[i].state == State::Configured;
        let members: Vec<usize> = (0..pool.machines.len()).filter(is_prey).collect();
        let mut lowest = vec![None; pool.looks.len()];
        for &i in &members {
            let m = pool.machines[i];
            if let Some(assigned) = &m.assigned {
                let known: &mut Option<i32> = &mut lowest[m.look as usize];
                *known = Some(known.map_or(assigned.priority, |known| known.min(assigned.priority)));
            }
        }
        let look_of = |i: usize| pool.machines[i].look as usize;
        Self { machines: Free::new(pool.looks.len(), &members, look_of), lowest }
    }
}
