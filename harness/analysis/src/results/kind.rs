//! Which runs may be combined.

use harness_model::summary::{Summary, machine};

/// What runs must have in common for their figures to be combined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// What was run: the profile, and the autoscaler if it was not the reference.
    pub subject: String,
    /// The class of the machine.
    pub class: String,
    /// sha256 of the plan.
    pub plan_digest: String,
}

impl Kind {
    /// Returns the kind of a run, whatever its verdict; `None` if its machine was not recorded, and is thus unlike any
    /// other.
    pub fn of(summary: &Summary) -> Option<Self> {
        let class = machine::class(&summary.host)?;
        Some(Self { subject: subject(summary), class, plan_digest: summary.plan_digest.clone() })
    }
}

/// Describes what was run.
pub(super) fn subject(summary: &Summary) -> String {
    let whose = summary.autoscaler().map_or_else(String::new, |name| format!(" (autoscaler {name})"));
    format!("{}{whose}", summary.profile)
}
