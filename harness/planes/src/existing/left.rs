//! Descriptions of what is left of a run: which objects, since when they are being removed, and what holds them.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How many objects are named.
pub(super) const NAMED: usize = 10;

/// An object that is not gone yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Left {
    /// Names of the finalizers that are still set.
    finalizers: Vec<String>,
    kind: String,
    /// With its namespace, if it has one.
    name: String,
    uid: Option<String>,
    /// Since when it is being removed, by the apiserver's clock; `None` if it is not.
    since: Option<String>,
}

impl Left {
    /// Describes an object by its metadata.
    pub(super) fn of(kind: &str, metadata: &ObjectMeta) -> Self {
        let name = metadata.name.as_deref().unwrap_or_default();
        let since = metadata.deletion_timestamp.as_ref();
        Self {
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            kind: kind.to_owned(),
            name: metadata.namespace.as_ref().map_or(name.to_owned(), |space| format!("{space}/{name}")),
            uid: metadata.uid.clone(),
            since: since.map(|time| time.0.to_string()),
        }
    }

    /// Describes something that is not an object.
    pub(super) fn named(kind: &str, name: &str) -> Self {
        Self { finalizers: Vec::new(), kind: kind.to_owned(), name: name.to_owned(), uid: None, since: None }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        match (&self.since, &self.finalizers[..]) {
            (None, _) => Ok(()),
            (Some(since), []) => write!(f, " (being deleted since {since})"),
            (Some(since), held) => {
                write!(f, " (being deleted since {since}, held by the finalizers {})", held.join(", "))
            }
        }
    }
}

/// Describes the first ones, held objects before all others, and returns how many more there are.
pub(super) fn told(left: &[Left]) -> (Vec<String>, u64) {
    let (held, others): (BTreeSet<&Left>, BTreeSet<&Left>) =
        left.iter().partition(|one| one.since.is_some() && !one.finalizers.is_empty());
    let all: Vec<String> = held.iter().chain(&others).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(NAMED);
    (all.into_iter().take(NAMED).collect(), more as u64)
}

/// Formats the same as one line.
pub(super) fn line(left: &[Left]) -> String {
    let (named, more) = told(left);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", named.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn left(name: &str, rest: serde_json::Value) -> Left {
        let mut metadata = rest;
        (metadata["name"], metadata["uid"]) = (json!(name), json!(name));
        Left::of("Node", &serde_json::from_value(metadata).unwrap())
    }

    #[test]
    fn what_holds_an_object_is_named_and_comes_first() {
        let since = "2026-11-30T10:00:00Z";
        let held = left("z", json!({"deletionTimestamp": since, "finalizers": ["example.com/hold", "b"]}));
        let going = left("y", json!({"deletionTimestamp": since}));
        let space = left("x", json!({"namespace": "default"}));
        assert_eq!(
            line(&[space, going, held]),
            "Node z (being deleted since 2026-11-30T10:00:00Z, held by the finalizers example.com/hold, b); \
             Node default/x; Node y (being deleted since 2026-11-30T10:00:00Z)"
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let many: Vec<Left> = (0..NAMED + 2).map(|n| left(&format!("n{n:02}"), json!({}))).collect();
        let (named, more) = told(&many);
        assert_eq!((named.len(), more), (NAMED, 2));
        assert!(line(&many).ends_with("Node n09 and 2 more"), "{}", line(&many));
    }
}
