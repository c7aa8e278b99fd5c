//! Phase 1: claims machines for Needs, most important Need first.
//!
//! Each machine serves one Need per step. What a cluster has is credited before anything is acquired.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gang;
use crate::looks::Kind;
use crate::need::Need;
use crate::pool::{Pool, Taken, Tier};
use crate::resources::Resources;
use crate::spread;
use crate::step::Memory;

/// A Need and what Phase 1 did for it.
pub(crate) struct Served {
    pub(crate) need: Need,
    /// What it asks of one machine.
    pub(crate) kind: Arc<Kind>,
    pub(crate) residual: Resources,
    pub(crate) taken: Taken,
    /// The domain a `Same` Need is confined to in this step.
    pub(crate) domain: Option<String>,
    pub(crate) parked: bool,
    /// Whether Phase 2 found machines to preempt for it, but not enough.
    pub(crate) preempting: bool,
}

/// Serves the Needs in the order given.
pub(crate) fn assign(needs: Vec<Need>, pool: &mut Pool<'_>, memory: &mut Memory) -> Vec<Served> {
    let mut patience = std::mem::take(&mut memory.gangs);
    let mut served = Vec::with_capacity(needs.len());
    for need in needs {
        let mut s = Served {
            residual: need.aggregate.clone(),
            taken: Taken::new(),
            domain: None,
            parked: false,
            preempting: false,
            kind: pool.kind(&need),
            need,
        };
        if let Some(key) = s.need.profile.same_key().map(str::to_owned) {
            let mut past = patience.remove(&s.need.key).unwrap_or_default();
            s.parked = past.is_parked();
            let short_for_good = serve_same(&mut s, &key, pool);
            if past.look(&short_for_good, &s.need.aggregate) == gang::Outlook::Waiting {
                memory.gangs.insert(s.need.key.clone(), past);
            }
        } else if s.need.profile.spread.is_empty() {
            serve_plain(&mut s, pool);
        } else {
            s.taken = spread::take(&s.need, &s.kind, &mut s.residual, pool);
        }
        pool.claim(&s.taken);
        served.push(s);
    }
    served
}

fn serve_plain(s: &mut Served, pool: &Pool<'_>) {
    let own = pool.own(&s.need, &s.kind);
    let coming = pool.coming(&s.need, &s.kind);
    s.taken = pool.take(&s.need, &mut s.residual, &own.machines, &coming, None);
    // Looks of free machines are only searched by those who want one.
    if !s.residual.is_zero() {
        let looks = pool.free_looks(&s.need, &s.kind);
        s.taken.extend(pool.take(&s.need, &mut s.residual, &[], &[], Some(&looks)));
    }
}

/// What a domain has to offer to a gang.
#[derive(Default)]
struct Offer<'p> {
    own: &'p [usize],
    coming: Vec<usize>,
    returning: Vec<usize>,
    free_looks: Vec<usize>,
}

/// Chooses the one domain that covers the Need with the fewest, then cheapest, new machines; without one
/// that covers it, the one that leaves least. Domains come in order of their names, and of equals the first stays.
///
/// What the cluster itself is draining in a domain counts as if it were free there already, since it soon is: else a
/// gang that was one Pod short for the length of one roll-up would find its rack short, and be moved to another whole
/// one while the rest of it runs. They are not taken before they are free. Returns what will be left uncovered then.
fn serve_same(s: &mut Served, key: &str, pool: &Pool<'_>) -> Resources {
    let need = &s.need;
    let domains = pool.domains(key);
    let own = pool.own(need, &s.kind);
    let by_domain = pool.own_by_domain(&own, key, &domains);
    let coming = pool.coming(need, &s.kind);
    let have_some = || by_domain.with_some_left(&pool.claimed);
    // Whoever is covered without a new machine is not beaten. Nearly all are, in nearly every step.
    if coming.is_empty() {
        for (domain, own) in have_some() {
            let mut residual = need.aggregate.clone();
            let taken = pool.take(need, &mut residual, own, &[], None);
            if residual.is_zero() {
                (s.domain, s.residual, s.taken) = (Some(domains.name(domain)), residual, taken);
                return Resources::default();
            }
        }
    }
    let mut offers: BTreeMap<u32, Offer<'_>> =
        have_some().map(|(domain, own)| (domain, Offer { own, ..Offer::default() })).collect();
    for i in coming {
        if let Some(domain) = domains.of(pool.machines[i]) {
            offers.entry(domain).or_default().coming.push(i);
        }
    }
    for i in pool.returning(need, &s.kind) {
        // Where nothing of the gang is left, nothing holds it: a domain that is free now is better.
        if let Some(offer) = domains.of(pool.machines[i]).and_then(|domain| offers.get_mut(&domain)) {
            offer.returning.push(i);
        }
    }
    if !s.parked {
        for &look in pool.free_looks(need, &s.kind).iter().filter(|&&look| pool.free_left(look) > 0) {
            if let Some(domain) = domains.of_look(look) {
                offers.entry(domain).or_default().free_looks.push(look);
            }
        }
    }
    let best = offers
        .into_iter()
        .map(|(domain, offer)| {
            let mut residual = need.aggregate.clone();
            let looks = Some(offer.free_looks.as_slice());
            let taken = pool.take(need, &mut residual, offer.own, &offer.coming, looks);
            let (awaited, left) = await_own(&residual, &offer.returning, pool);
            let new = taken.iter().filter(|(_, tier)| *tier != Tier::Credited).map(|&(i, _)| i);
            let new = new.chain(awaited.iter().copied());
            let cost: f64 = new.clone().map(|i| pool.machines[i].price_per_hour).sum();
            let rank = (left.permille_of(&need.aggregate), new.count());
            (rank, cost, domain, residual, taken, left)
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let Some((_, _, domain, residual, taken, left)) = best else { return s.residual.clone() };
    (s.domain, s.residual, s.taken) = (Some(domains.name(domain)), residual, taken);
    left
}

/// The machines on their way back that a residual will need, and what is left of it then.
fn await_own(residual: &Resources, returning: &[usize], pool: &Pool<'_>) -> (Vec<usize>, Resources) {
    let mut left = residual.clone();
    let mut awaited = Vec::new();
    for &i in returning {
        let allocatable = &pool.machines[i].allocatable;
        if !left.is_zero() && left.is_served_by(allocatable) {
            left.subtract(allocatable);
            awaited.push(i);
        }
    }
    (awaited, left)
}
