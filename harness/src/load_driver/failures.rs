//! What load-driver could not do, kept until somebody asks: without its load a run measures nothing.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many are kept. The first ones tell why, the rest repeat it.
const KEPT_MAX: usize = 20;

/// Load that was not made, and will not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadFailure {
    /// What could not be done, after "cannot": `create Deployment tiny-0`.
    pub what: String,
    /// Why, in the words of the apiserver or of a controller.
    pub message: String,
}

impl LoadFailure {
    /// The failures in what load-driver says of itself.
    ///
    /// # Errors
    /// When it does not say whether there were any.
    pub fn in_status(status: &Value) -> Result<Vec<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Status {
            failures: Vec<LoadFailure>,
        }
        Ok(Status::deserialize(status)?.failures)
    }
}

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

    #[test]
    fn a_status_that_does_not_say_what_failed_is_no_status_without_failures() {
        let one = LoadFailure { what: "create".into(), message: "no".into() };
        let status = serde_json::json!({"phase": "failed", "failures": [one]});
        assert_eq!(LoadFailure::in_status(&status).unwrap(), [one]);
        assert!(LoadFailure::in_status(&serde_json::json!({"phase": "filled"})).is_err());
    }
}
