//! Which runs may be put together.

use harness_model::summary::{Summary, machine};

/// What runs have in common whose figures are put together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// What was run: the profile, and whose autoscaler if it was not the reference.
    pub subject: String,
    /// The class of the machine.
    pub class: String,
    /// sha256 of the plan.
    pub plan_digest: String,
}

impl Kind {
    /// Of a run, whatever came of it; `None` if its machine was not recorded: that is like no other.
    pub fn of(summary: &Summary) -> Option<Self> {
        let class = machine::class(&summary.host)?;
        Some(Self { subject: subject(summary), class, plan_digest: summary.plan_digest.clone() })
    }
}

/// What was run, in words.
pub(super) fn subject(summary: &Summary) -> String {
    let whose = summary.autoscaler().map_or_else(String::new, |name| format!(" (autoscaler {name})"));
    format!("{}{whose}", summary.profile)
}
