//! Rails (ADR-0046): bounds on how fast wrong or sudden input can do harm.

use std::collections::BTreeMap;

use crate::action::Action;
use crate::pool::Pool;

/// Keeps the head of each cluster's reclaims: at most `max(1, floor(fraction * Configured))`. Returns how
/// many were held back. A fraction of 0 lifts the cap.
pub(crate) fn cap_reclaims(reclaims: &mut Vec<Action>, pool: &Pool<'_>, fraction: f64) -> usize {
    if fraction <= 0.0 {
        return 0;
    }
    let before = reclaims.len();
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    reclaims.retain(|action| {
        let left = left.entry(action.cluster.clone()).or_insert_with(|| {
            let configured = pool.configured(&action.cluster).count();
            ((configured as f64 * fraction).floor() as usize).max(1)
        });
        let allowed = *left > 0;
        *left = left.saturating_sub(1);
        allowed
    });
    before - reclaims.len()
}

/// Baselines smaller than this many rows are never protected.
const GUARDED_ROWS: usize = 10;
/// So many collapsed roll-ups in a row are believed.
const AGREEING_ROLLUPS: u32 = 3;

/// Holds a cluster's roll-up back when nearly all of its rows vanish at once.
#[derive(Clone, Debug, Default)]
pub struct RollupGuard {
    baseline_rows: usize,
    held: u32,
}

/// What to do with a roll-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it as the cluster's demand.
    Accept,
    /// Keep the last accepted demand for now.
    Hold,
}

impl RollupGuard {
    /// Judges a roll-up by its rows: with a baseline of 10 or more, one that keeps fewer than a tenth is
    /// held until the third in a row says so.
    pub fn judge(&mut self, rows: usize) -> Verdict {
        let collapsed = self.baseline_rows >= GUARDED_ROWS && rows * 10 < self.baseline_rows;
        if collapsed && self.held + 1 < AGREEING_ROLLUPS {
            self.held += 1;
            return Verdict::Hold;
        }
        self.held = 0;
        self.baseline_rows = rows;
        Verdict::Accept
    }

    /// Whether the last roll-up is being held.
    pub fn is_holding(&self) -> bool {
        self.held > 0
    }
}
