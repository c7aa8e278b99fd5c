//! What a drain does next. No I/O and no clock of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use component::apiserver;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Between two looks at the Node's Pods.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// An empty Node must be empty a second later, too: a bind in flight passes a cordon.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// Before the eviction of one Pod is asked for again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// After an eviction was granted, the Pod should be terminating; if not, ask again.
const GRANTED_AFTER: Duration = Duration::from_secs(5);

/// A Pod that has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Namespace.
    pub namespace: String,
    /// Name; a recreated Pod of a StatefulSet has the same.
    pub name: String,
    /// Identity; a recreated Pod has another.
    pub uid: String,
    /// Whether it is being deleted already.
    pub terminating: bool,
}

/// The answer to an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The Pod is being deleted.
    Granted,
    /// This Pod is gone; one of the same name may live elsewhere.
    Gone,
    /// A disruption budget forbids it now, or the server is busy.
    Blocked(Duration),
    /// Something else went wrong; ask again.
    Failed(String),
    /// It can never be granted.
    Never(String),
}

impl Answer {
    /// The label of the answer's metric.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Gone => "gone",
            Self::Blocked(_) => "blocked",
            Self::Failed(_) => "error",
            Self::Never(_) => "impossible",
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask for these evictions, then look again after [`POLL_INTERVAL`].
    Evict(Vec<Victim>),
    /// Look again after this long.
    Wait(Duration),
    /// The Node is empty, and stayed so.
    Empty,
    /// The drain has failed.
    GiveUp(String),
}

/// One Node's drain.
#[derive(Debug)]
pub struct Drain {
    deadline: Instant,
    not_before: HashMap<String, Instant>,
    empty_since: Option<Instant>,
    never: Option<String>,
    last_refusal: Option<String>,
}

impl Drain {
    /// A drain that must end by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self { deadline, not_before: HashMap::new(), empty_since: None, never: None, last_refusal: None }
    }

    /// Decides by what a quorum list shows.
    pub fn listed(&mut self, now: Instant, victims: &[Victim]) -> Next {
        if let Some(reason) = &self.never {
            return Next::GiveUp(reason.clone());
        }
        if victims.is_empty() {
            let empty_for = now - *self.empty_since.get_or_insert(now);
            return match CONFIRM_AFTER.checked_sub(empty_for) {
                Some(rest) if !rest.is_zero() => Next::Wait(rest),
                _ => Next::Empty,
            };
        }
        self.empty_since = None;
        if self.deadline <= now {
            return Next::GiveUp(self.late(victims));
        }
        let due: Vec<_> = victims
            .iter()
            .filter(|v| !v.terminating && self.not_before.get(&v.uid).is_none_or(|&at| at <= now))
            .cloned()
            .collect();
        if due.is_empty() { Next::Wait(POLL_INTERVAL.min(self.deadline - now)) } else { Next::Evict(due) }
    }

    /// Takes in the answer to one eviction.
    pub fn answered(&mut self, now: Instant, victim: &Victim, answer: Answer) {
        let wait = match answer {
            Answer::Granted => GRANTED_AFTER,
            // The next list will not show this uid; should it, the answer was wrong.
            Answer::Gone => GRANTED_AFTER,
            Answer::Blocked(at_least) => {
                self.last_refusal =
                    Some(format!("a disruption budget (or a busy server) keeps {}", victim.name));
                at_least.max(RETRY_AFTER)
            }
            Answer::Failed(reason) => {
                self.last_refusal = Some(reason);
                RETRY_AFTER
            }
            Answer::Never(reason) => {
                self.never = Some(format!("Pod {}/{}: {reason}", victim.namespace, victim.name));
                RETRY_AFTER
            }
        };
        self.not_before.insert(victim.uid.clone(), now + wait);
    }

    fn late(&self, victims: &[Victim]) -> String {
        let names: Vec<_> = victims.iter().take(3).map(|v| v.name.as_str()).collect();
        let refusal = self.last_refusal.as_deref().unwrap_or("no eviction was refused");
        format!(
            "{} Pods left when the grace period ended ({}, ...); {refusal}",
            victims.len(),
            names.join(", ")
        )
    }
}

/// The Pod as a victim; `None` when a drain passes it over (DaemonSet-owned and mirror Pods, as kubectl does).
pub fn victim(metadata: &ObjectMeta) -> Option<Victim> {
    let daemon = metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    let mirror =
        metadata.annotations.as_ref().is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"));
    if daemon || mirror {
        return None;
    }
    Some(Victim {
        namespace: metadata.namespace.clone()?,
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        terminating: metadata.deletion_timestamp.is_some(),
    })
}

/// Reads the apiserver's answer to an eviction.
///
/// Source: Kubernetes docs, "API-initiated eviction", and the eviction handler of kube-apiserver 1.36: a uid
/// mismatch is a 409 that names the UID in the precondition, other conflicts are races worth a retry.
pub fn answer(result: &Result<(), kube::Error>) -> Answer {
    let Err(error) = result else { return Answer::Granted };
    let message = match error {
        kube::Error::Api(status) => status.message.as_str(),
        _ => "",
    };
    match apiserver::code(error) {
        Some(404) => Answer::Gone,
        Some(409) if message.contains("UID in ") => Answer::Gone,
        Some(429) => Answer::Blocked(apiserver::retry_after(error)),
        Some(500) if message.contains("more than one PodDisruptionBudget") => Answer::Never(
            "it has more than one PodDisruptionBudget, which eviction does not support".to_owned(),
        ),
        _ => Answer::Failed(error.to_string()),
    }
}

/// The body of an eviction that only this very Pod answers to.
///
/// Written by hand: kube's own `Api::evict` sends the options as `delete_options`, which the apiserver ignores,
/// and the precondition would be lost without a word.
pub fn eviction(victim: &Victim) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": victim.name, "namespace": victim.namespace},
        "deleteOptions": {"preconditions": {"uid": victim.uid}},
    })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
