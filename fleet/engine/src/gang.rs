//! Gangs: Needs whose machines must share a domain.

use crate::need::{Need, Operator};
use crate::pool::Pool;
use crate::resources::Resources;

/// Steps in a row without progress after which a gang's acquisition rests (ADR-0042).
const PARK_AFTER_STEPS: u32 = 8;
/// A parked gang tries again in every so-manieth step.
const RETRY_EVERY_STEPS: u32 = 32;

/// A gang that fits one machine is a plain Need for a machine of that size (ADR-0041); others are
/// returned as they are.
pub(crate) fn fold(need: &Need, pool: &Pool<'_>) -> Need {
    if need.profile.same_key().is_none() {
        return need.clone();
    }
    let mut folded = need.clone();
    folded.profile.requirements.retain(|r| r.operator != Operator::Same);
    folded.min_unit.raise_to(&need.aggregate);
    if pool.has_supply(&folded, &pool.kind(&folded)) { folded } else { need.clone() }
}

/// How long a gang has been waiting in vain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience {
    stuck_steps: u32,
    best_residual_permille: Option<i128>,
}

/// Whether there is anything to remember about a gang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    Covered,
    Waiting,
}

impl Patience {
    pub(crate) fn is_parked(&self) -> bool {
        self.stuck_steps >= PARK_AFTER_STEPS && !self.stuck_steps.is_multiple_of(RETRY_EVERY_STEPS)
    }

    /// Notes what a step left uncovered.
    pub(crate) fn look(&mut self, residual: &Resources, aggregate: &Resources) -> Outlook {
        if residual.is_zero() {
            return Outlook::Covered;
        }
        let left = residual.permille_of(aggregate);
        if self.best_residual_permille.is_none_or(|best| left < best) {
            self.best_residual_permille = Some(left);
            self.stuck_steps = 0;
        } else {
            self.stuck_steps += 1;
        }
        Outlook::Waiting
    }
}
