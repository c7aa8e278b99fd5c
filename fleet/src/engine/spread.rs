//! DoNotSchedule spread: machine counts per domain stay within the skew.

use std::collections::BTreeMap;

use crate::engine::need::Need;
use crate::engine::pool::{Pool, Taken, Tier};
use crate::engine::resources::Resources;

/// Machine counts per domain of one spread term.
struct Term {
    max_skew: usize,
    counts: Vec<usize>,
}

struct Candidate {
    machine: usize,
    tier: Tier,
    /// Domain per term.
    domains: Vec<usize>,
    used: bool,
}

/// Takes machines until the residual is zero: always the first on offer (own, then Idle, then
/// Speculative) whose domain is not ahead of the emptiest by more than the skew.
///
/// Domains are the values that machines on offer carry. Own machines that the skew keeps from being
/// counted are claimed all the same while the Need is short: giving away what fits would not help it.
pub(crate) fn take(need: &Need, residual: &mut Resources, pool: &Pool<'_>) -> Taken {
    let offers = pool
        .creditable(need)
        .map(|i| (i, Tier::Credited))
        .chain(pool.idle(need).map(|i| (i, Tier::Idle)))
        .chain(pool.speculative(need).into_iter().map(|i| (i, Tier::Speculative)));
    let mut names: Vec<BTreeMap<&str, usize>> = vec![BTreeMap::new(); need.profile.spread.len()];
    let mut candidates = Vec::new();
    for (machine, tier) in offers {
        let labels: Option<Vec<&str>> =
            need.profile.spread.iter().map(|s| pool.machines[machine].label(&s.key)).collect();
        // A machine outside all domains cannot take a Pod of this Need.
        let Some(labels) = labels else { continue };
        let domains = labels
            .into_iter()
            .zip(&mut names)
            .map(|(label, names)| {
                let next = names.len();
                *names.entry(label).or_insert(next)
            })
            .collect();
        candidates.push(Candidate { machine, tier, domains, used: false });
    }
    let mut terms: Vec<Term> = need
        .profile
        .spread
        .iter()
        .zip(&names)
        .map(|(s, names)| Term { max_skew: s.max_skew as usize, counts: vec![0; names.len()] })
        .collect();

    let mut taken = Taken::new();
    while !residual.is_zero() {
        let limits: Vec<usize> =
            terms.iter().map(|t| t.counts.iter().min().copied().unwrap_or(0) + t.max_skew).collect();
        let next = candidates.iter_mut().find(|c| {
            !c.used
                && c.domains.iter().zip(&terms).zip(&limits).all(|((&d, t), &limit)| t.counts[d] < limit)
                && residual.is_served_by(&pool.machines[c.machine].allocatable)
        });
        let Some(candidate) = next else { break };
        candidate.used = true;
        for (&domain, term) in candidate.domains.iter().zip(&mut terms) {
            term.counts[domain] += 1;
        }
        residual.subtract(&pool.machines[candidate.machine].allocatable);
        taken.push((candidate.machine, candidate.tier));
    }
    let mut uncounted = residual.clone();
    for c in candidates.iter().filter(|c| !c.used && c.tier == Tier::Credited) {
        if uncounted.is_zero() {
            break;
        }
        uncounted.subtract(&pool.machines[c.machine].allocatable);
        taken.push((c.machine, c.tier));
    }
    taken
}
