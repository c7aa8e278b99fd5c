//! Phase 2: takes machines from less important demand for Needs that Phase 1 left short.

use crate::action::{Action, Kind, UnmetReason};
use crate::machine::{Machine, State};
use crate::phase1::Served;
use crate::pool::Pool;

/// Decides on preemptions. A machine that is draining anyway counts first: it will be Idle soon, and a
/// drain takes many steps.
///
/// Needs with a spread do not preempt: a victim frees its own domain only, where the skew may not let it be
/// counted, so that victim and Need would trade the machine for ever.
pub(crate) fn preempt(served: &mut [Served], pool: &Pool<'_>) -> Vec<Action> {
    let may_preempt = |s: &Served| !s.residual.is_zero() && !s.parked && s.need.profile.spread.is_empty();
    if !served.iter().any(may_preempt) {
        return Vec::new();
    }
    let mut spoken_for = vec![false; pool.machines.len()];
    let mut actions = Vec::new();
    let claims = claims(served, pool);
    for s in served.iter_mut().filter(|s| may_preempt(s)) {
        let mut residual = s.residual.clone();
        for i in draining(s, pool).into_iter().chain(victims(s, pool, &claims)) {
            let machine = pool.machines[i];
            if residual.is_zero() {
                break;
            }
            if spoken_for[i] || !residual.is_served_by(&machine.allocatable) {
                continue;
            }
            spoken_for[i] = true;
            s.preempting = true;
            residual.subtract(&machine.allocatable);
            if machine.state == State::Configured {
                actions.push(action(machine, s.need.profile.priority));
            }
        }
    }
    actions
}

fn draining(s: &Served, pool: &Pool<'_>) -> Vec<usize> {
    pool.draining.iter().copied().filter(|&i| may_serve(pool.machines[i], s)).collect()
}

/// The priority that each machine was claimed with in Phase 1, by index. It may have been taken for another Need.
fn claims(served: &[Served], pool: &Pool<'_>) -> Vec<Option<i32>> {
    let mut claims = vec![None; pool.machines.len()];
    for s in served {
        s.taken.iter().for_each(|&(i, _)| claims[i] = Some(s.need.profile.priority));
    }
    claims
}

/// Configured machines of strictly lower priority, best score first: held for less, and claimed by nobody who matters as
/// much. Else a Need that is credited with a machine of less important demand would take that very machine from itself.
fn victims(s: &Served, pool: &Pool<'_>, claims: &[Option<i32>]) -> Vec<usize> {
    let priority = s.need.profile.priority;
    let mut victims = pool.held_for_less(&s.need, &s.kind);
    victims.retain(|&i| may_serve(pool.machines[i], s) && claims[i].is_none_or(|claim| claim < priority));
    victims.sort_by(|&a, &b| {
        let score = |i: usize| score(pool.machines[i], priority);
        score(b).total_cmp(&score(a)).then(a.cmp(&b))
    });
    victims
}

fn may_serve(machine: &Machine, s: &Served) -> bool {
    let same = s.need.profile.same_key();
    s.kind.suits(machine, &s.need)
        && same.is_none_or(|key| s.domain.is_none() || machine.label(key) == s.domain.as_deref())
}

fn priority_gap(machine: &Machine, priority: i32) -> i64 {
    i64::from(priority) - machine.assigned.as_ref().map_or(0, |a| i64::from(a.priority))
}

/// High for victims that matter little: far below in priority, quick to drain, cheap to interrupt.
fn score(machine: &Machine, priority: i32) -> f64 {
    let gap = priority_gap(machine, priority);
    let inverse = |bucket: i32| 0.1 / api::penalty::upper_bound(bucket).max(0.01);
    gap as f64
        + 0.1 / f64::from(grace_s(gap))
        + inverse(machine.interruption_bucket())
        + inverse(machine.reclamation_bucket())
}

/// Seconds a victim gets to leave: the wider the gap in priority, the fewer.
fn grace_s(gap: i64) -> u32 {
    match gap {
        900_001.. => 10,
        500_001.. => 30,
        100_001.. => 120,
        _ => 600,
    }
}

fn action(victim: &Machine, priority: i32) -> Action {
    Action {
        kind: Kind::Preempt,
        machine: victim.id.clone(),
        cluster: victim.cluster.clone().unwrap_or_default(),
        assignment: None,
        requirements: Vec::new(),
        reason: "phase2.priority",
        grace_s: grace_s(priority_gap(victim, priority)),
        preemptor_priority: priority,
    }
}

/// Why a Need is short.
pub(crate) fn reason(s: &Served, pool: &Pool<'_>) -> UnmetReason {
    if !pool.has_supply(&s.need, &s.kind) {
        return UnmetReason::NoMatchingSupply;
    }
    let constrained = s.need.profile.same_key().is_some() || !s.need.profile.spread.is_empty();
    let left_over = || {
        pool.free_looks(&s.need, &s.kind).iter().any(|&look| pool.free_left(look) > 0)
            || pool.own(&s.need, &s.kind).machines.iter().any(|&i| !pool.claimed[i])
    };
    if constrained && (s.parked || left_over()) {
        return UnmetReason::TopologyUnsatisfiable;
    }
    if s.preempting { UnmetReason::PreemptionExhausted } else { UnmetReason::PriorityStarved }
}
