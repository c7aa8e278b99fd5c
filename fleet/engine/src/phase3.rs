//! Phase 3: gives back what nobody claims.

use std::collections::BTreeSet;

use api::inventory::CapacityType;

use crate::action::{Action, Kind};
use crate::machine::{Machine, MachineId, State};
use crate::phase1::Served;
use crate::pool::Pool;
use crate::step::{Attribution, Inputs};

/// Reclaims of all reported clusters, each in keep order, uncapped. Machines that are being preempted
/// already are left out.
pub(crate) fn reclaims(
    inputs: &Inputs<'_>,
    pool: &Pool<'_>,
    served: &[Served],
    preempts: &[Action],
) -> Vec<Action> {
    let own_walk = match inputs.policy.attribution {
        Attribution::Single => None,
        Attribution::TwoWalk => Some(second_walk(pool, served)),
    };
    let claimed = own_walk.as_ref().unwrap_or(&pool.claimed);
    let preempted: BTreeSet<&MachineId> = preempts.iter().map(|a| &a.machine).collect();
    let mut actions = Vec::new();
    for cluster in inputs.reported {
        for i in pool.configured(cluster) {
            let machine = pool.machines[i];
            if !claimed[i] && !preempted.contains(&machine.id) {
                actions.push(Action {
                    kind: Kind::Reclaim,
                    machine: machine.id.clone(),
                    cluster: cluster.clone(),
                    assignment: None,
                    requirements: Vec::new(),
                    reason: "phase3.excess",
                    grace_s: inputs.policy.reclaim_grace_s,
                    preemptor_priority: 0,
                });
            }
        }
    }
    actions
}

/// The book that Phase 3 kept for itself before ADR-0045: Configured machines alone, without topology.
fn second_walk(pool: &Pool<'_>, served: &[Served]) -> Vec<bool> {
    let mut claimed = vec![false; pool.machines.len()];
    for s in served {
        let mut residual = s.need.aggregate.clone();
        for i in pool.configured(&s.need.key.cluster) {
            let machine = pool.machines[i];
            if residual.is_zero() {
                break;
            }
            if !claimed[i] && s.kind.suits(machine, &s.need) && residual.is_served_by(&machine.allocatable) {
                residual.subtract(&machine.allocatable);
                claimed[i] = true;
            }
        }
    }
    claimed
}

/// Idle machines that have cost money for longer than their kind is held (ADR-0049).
pub(crate) fn releases(inputs: &Inputs<'_>, pool: &Pool<'_>) -> Vec<Action> {
    pool.all_idle()
        .filter(|&i| !pool.claimed[i] && is_over_hold(pool.machines[i], inputs.now_s))
        .map(|i| Action {
            kind: Kind::Delete,
            machine: pool.machines[i].id.clone(),
            cluster: String::new(),
            assignment: None,
            requirements: Vec::new(),
            reason: "phase3.release",
            grace_s: 0,
            preemptor_priority: 0,
        })
        .collect()
}

fn is_over_hold(machine: &Machine, now_s: u64) -> bool {
    debug_assert_eq!(machine.state, State::Idle);
    let hold_s = match machine.capacity_type {
        CapacityType::OnDemand => 600,
        CapacityType::Spot => 60,
        CapacityType::BareMetal | CapacityType::Reserved => return false,
    };
    now_s.saturating_sub(machine.idle_since_s) > hold_s
}
