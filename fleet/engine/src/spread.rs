//! DoNotSchedule spread: machine counts per domain stay within the skew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::free::Offers;
use crate::looks::{Domains, Kind};
use crate::need::Need;
use crate::pool::{Pool, Taken, Tier};
use crate::resources::Resources;

/// Machine counts per domain of one spread term.
struct Term {
    max_skew: usize,
    counts: BTreeMap<u32, usize>,
}

/// What is on offer in one domain of each term, in the order of offers.
#[derive(Default)]
struct Group<'p> {
    /// Places in the list of credited machines; the next one last.
    credited: Vec<usize>,
    looks: Vec<usize>,
    idle: Option<Offers<'p>>,
    speculative: Option<Offers<'p>>,
}

/// Groups with the domains they are in.
type Groups<'p> = Vec<(Vec<u32>, Group<'p>)>;

/// Where an offer stands: tier, then place or cost, then machine.
type Standing = (u8, i64, usize);

/// The offers of one Need.
struct Market<'p> {
    need: &'p Need,
    pool: &'p Pool<'p>,
    /// The cluster's own and those that come, and whether they are taken.
    credited: Vec<(usize, bool)>,
    groups: Groups<'p>,
}

/// Takes machines until the residual is zero: always the first on offer (own, then Idle, then
/// Speculative) whose domain is not ahead of the emptiest by more than the skew.
///
/// Domains are the values that machines on offer carry. Own machines that the skew keeps from being
/// counted are claimed all the same while the Need is short: giving away what fits would not help it.
pub(crate) fn take(need: &Need, kind: &Kind, residual: &mut Resources, pool: &Pool<'_>) -> Taken {
    let mut market = Market::open(need, kind, pool);
    let mut terms: Vec<Term> = need
        .profile
        .spread
        .iter()
        .enumerate()
        .map(|(t, s)| Term {
            max_skew: s.max_skew as usize,
            counts: market.groups.iter().map(|(domains, _)| (domains[t], 0)).collect(),
        })
        .collect();

    let mut taken = Taken::new();
    while !residual.is_zero() {
        let limits: Vec<usize> =
            terms.iter().map(|t| t.counts.values().min().copied().unwrap_or(0) + t.max_skew).collect();
        let is_within = |domains: &[u32]| {
            domains.iter().zip(&terms).zip(&limits).all(|((d, t), &limit)| t.counts[d] < limit)
        };
        let Some((group, machine, tier)) = market.next(residual, is_within) else { break };
        for (domain, term) in market.groups[group].0.iter().zip(&mut terms) {
            *term.counts.entry(*domain).or_default() += 1;
        }
        residual.subtract(&pool.machines[machine].allocatable);
        taken.push((machine, tier));
    }
    let mut uncounted = residual.clone();
    for &(machine, _) in market.credited.iter().filter(|(_, is_taken)| !is_taken) {
        if uncounted.is_zero() {
            break;
        }
        uncounted.subtract(&pool.machines[machine].allocatable);
        taken.push((machine, Tier::Credited));
    }
    taken
}

impl<'p> Market<'p> {
    /// Groups all that is on offer by domains. A machine outside all domains cannot take a Pod of this Need.
    fn open(need: &'p Need, kind: &Kind, pool: &'p Pool<'_>) -> Self {
        let domains: Vec<Arc<Domains>> = need.profile.spread.iter().map(|s| pool.domains(&s.key)).collect();
        let of_look = |look: usize| -> Option<Vec<u32>> { domains.iter().map(|d| d.of_look(look)).collect() };
        let mut places = HashMap::<Vec<u32>, usize>::new();
        let mut groups = Groups::new();
        let mut group_of = |groups: &mut Groups<'p>, domains: Vec<u32>| {
            *places.entry(domains.clone()).or_insert_with(|| {
                groups.push((domains, Group::default()));
                groups.len() - 1
            })
        };
        let mut credited = Vec::new();
        let own = pool.own(need, kind);
        let own = own.machines.iter().copied().filter(|&i| !pool.claimed[i]);
        for machine in own.chain(pool.coming(need, kind)) {
            if let Some(domains) = of_look(pool.machines[machine].look as usize) {
                let group = group_of(&mut groups, domains);
                groups[group].1.credited.push(credited.len());
                credited.push((machine, false));
            }
        }
        for &look in pool.free_looks(need, kind).iter().filter(|&&look| pool.free_left(look) > 0) {
            if let Some(domains) = of_look(look) {
                let group = group_of(&mut groups, domains);
                groups[group].1.looks.push(look);
            }
        }
        groups.iter_mut().for_each(|(_, group)| group.credited.reverse());
        Self { need, pool, credited, groups }
    }

    /// Takes the first offer that helps, among the groups whose domains are within their limits.
    fn next(
        &mut self,
        residual: &Resources,
        is_within: impl Fn(&[u32]) -> bool,
    ) -> Option<(usize, usize, Tier)> {
        let mut best: Option<(Standing, usize)> = None;
        for group in 0..self.groups.len() {
            if !is_within(&self.groups[group].0) {
                continue;
            }
            if let Some(standing) = self.peek(group, residual)
                && best.is_none_or(|(known, _)| standing < known)
            {
                best = Some((standing, group));
            }
        }
        let ((tier, _, machine), group) = best?;
        let tier = self.remove(group, tier);
        Some((group, machine, tier))
    }

    /// The first offer of a group that helps. What does not help is dropped: it never will, for a residual only
    /// shrinks.
    fn peek(&mut self, group: usize, residual: &Resources) -> Option<Standing> {
        let (need, pool) = (self.need, self.pool);
        let helps = |machine: usize| residual.is_served_by(&pool.machines[machine].allocatable);
        let group = &mut self.groups[group].1;
        while let Some(&place) = group.credited.last() {
            let (machine, _) = self.credited[place];
            if helps(machine) {
                return Some((0, place as i64, machine));
            }
            group.credited.pop();
        }
        let looks = &group.looks;
        let idle = group.idle.get_or_insert_with(|| pool.idle(looks));
        while let Some((cost, machine)) = idle.peek() {
            if helps(machine) {
                return Some((1, cost, machine));
            }
            idle.next();
        }
        let speculative = group.speculative.get_or_insert_with(|| pool.speculative(need, looks));
        while let Some((cost, machine)) = speculative.peek() {
            if helps(machine) {
                return Some((2, cost, machine));
            }
            speculative.next();
        }
        None
    }

    /// Removes the offer that [`Self::peek`] has just shown.
    fn remove(&mut self, group: usize, tier: u8) -> Tier {
        let group = &mut self.groups[group].1;
        match tier {
            0 => {
                if let Some(place) = group.credited.pop() {
                    self.credited[place].1 = true;
                }
                Tier::Credited
            }
            1 => {
                group.idle.as_mut().and_then(Iterator::next);
                Tier::Idle
            }
            _ => {
                group.speculative.as_mut().and_then(Iterator::next);
                Tier::Speculative
            }
        }
    }
}
