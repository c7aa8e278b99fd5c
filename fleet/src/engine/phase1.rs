//! Phase 1: claims machines for Needs, most important Need first.
//!
//! Each machine serves one Need per step. What a cluster has is credited before anything is acquired.

use std::collections::BTreeSet;

use crate::engine::gang;
use crate::engine::need::Need;
use crate::engine::pool::{Pool, Taken, Tier};
use crate::engine::resources::Resources;
use crate::engine::spread;
use crate::engine::step::Memory;

/// A Need and what Phase 1 did for it.
pub(crate) struct Served {
    pub(crate) need: Need,
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
            need,
        };
        if let Some(key) = s.need.profile.same_key().map(str::to_owned) {
            let mut past = patience.remove(&s.need.key).unwrap_or_default();
            s.parked = past.is_parked();
            serve_same(&mut s, &key, pool);
            if past.look(&s.residual, &s.need.aggregate) == gang::Outlook::Waiting {
                memory.gangs.insert(s.need.key.clone(), past);
            }
        } else if s.need.profile.spread.is_empty() {
            s.taken = pool.take(&s.need, &mut s.residual, true, &|_| true);
        } else {
            s.taken = spread::take(&s.need, &mut s.residual, pool);
        }
        pool.claim(&s.taken);
        served.push(s);
    }
    served
}

/// Chooses the one domain that covers the Need with the fewest, then cheapest, new machines; without one
/// that covers it, the one that leaves least.
fn serve_same(s: &mut Served, key: &str, pool: &Pool<'_>) {
    let acquire = !s.parked;
    let need = &s.need;
    let mut domains: BTreeSet<&str> =
        pool.creditable(need).filter_map(|i| pool.machines[i].label(key)).collect();
    if acquire {
        domains.extend(pool.idle(need).filter_map(|i| pool.machines[i].label(key)));
        domains.extend(pool.speculative(need).into_iter().filter_map(|i| pool.machines[i].label(key)));
    }
    let best = domains
        .into_iter()
        .map(|domain| {
            let mut residual = need.aggregate.clone();
            let taken = pool.take(need, &mut residual, acquire, &|m| m.label(key) == Some(domain));
            let new = taken.iter().filter(|(_, tier)| *tier != Tier::Credited);
            let cost: f64 = new.clone().map(|&(i, _)| pool.machines[i].price_per_hour).sum();
            let rank = (residual.permille_of(&need.aggregate), new.count());
            (rank, cost, domain, residual, taken)
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then_with(|| a.2.cmp(b.2)));
    if let Some((_, _, domain, residual, taken)) = best {
        s.domain = Some(domain.to_owned());
        s.residual = residual;
        s.taken = taken;
    }
}
