//! What load-driver could not do, kept until somebody asks: without its load a run measures nothing.

use std::sync::{Mutex, PoisonError};

use harness_model::record::LoadFailure;

/// How many are kept. The first ones tell why, the rest repeat it.
const KEPT_MAX: usize = 20;

/// All failures so far.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Vec<LoadFailure>>);

impl Failures {
    /// Takes in a failure. Of those about the same thing the first is kept.
    pub fn add(&self, what: impl Into<String>, message: impl Into<String>) {
        let failure = LoadFailure { what: what.into(), message: message.into() };
        tracing::error!(what = failure.what, message = failure.message, "load was not made");
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX && kept.iter().all(|known| known.what != failure.what) {
            kept.push(failure);
        }
    }

    /// All that are kept, in order.
    pub fn all(&self) -> Vec<LoadFailure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_are_kept_once_each() {
        let failures = Failures::default();
        failures.add("delete Pod a", "forbidden");
        failures.add("delete Pod a", "still forbidden");
        (0..100).for_each(|n| failures.add(format!("delete Pod {n}"), "forbidden"));
        let all = failures.all();
        assert_eq!(all.len(), KEPT_MAX);
        assert_eq!(all[0], LoadFailure { what: "delete Pod a".into(), message: "forbidden".into() });
    }
}
