//! Load that was not created.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Load that was not created and will not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadFailure {
    /// What could not be done, worded to follow "cannot": `create Deployment tiny-0`.
    pub what: String,
    /// Why, in the words of the apiserver or a controller.
    pub message: String,
}

impl LoadFailure {
    /// Returns the failures in the status that load-driver reports.
    ///
    /// # Errors
    /// When the status does not say whether there were any.
    pub fn in_status(status: &Value) -> Result<Vec<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Status {
            failures: Vec<LoadFailure>,
        }
        Ok(Status::deserialize(status)?.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_does_not_say_what_failed_is_no_status_without_failures() {
        let one = LoadFailure { what: "create".into(), message: "no".into() };
        let status = serde_json::json!({"phase": "failed", "failures": [one]});
        assert_eq!(LoadFailure::in_status(&status).unwrap(), [one]);
        assert!(LoadFailure::in_status(&serde_json::json!({"phase": "filled"})).is_err());
    }
}
