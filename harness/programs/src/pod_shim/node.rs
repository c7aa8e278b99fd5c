//! Job 1 without doing it: what an UpcomingNode asks for, and what its Node looks like.
//!
//! Written after the legacy algorithm and on purpose not shared with [`crate::node_creator`]: the suite
//! `node_creator_parity` compares the two, which only says something about two implementations.

use std::collections::BTreeMap;

use api::upcoming_node::{UpcomingNode, UpcomingNodePhase};
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What an UpcomingNode of some name needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Delete the Node of its name, if there is one: the UpcomingNode is gone.
    Delete,
    /// Nothing, it is not Ready (or no longer: its Node stays as it is).
    Wait,
    /// Nothing, a Node of that name is there; labels or resources that changed later are not brought over.
    Keep,
    /// Make the Node.
    Create,
}

/// The action for an UpcomingNode, `None` if it is gone. Whose Node `node_exists` speaks of does not matter.
pub fn decide(upcoming: Option<&UpcomingNode>, node_exists: bool) -> Action {
    let Some(upcoming) = upcoming else { return Action::Delete };
    let phase = upcoming.status.as_ref().map(|status| status.phase);
    match (phase, node_exists) {
        (Some(UpcomingNodePhase::Ready), true) => Action::Keep,
        (Some(UpcomingNodePhase::Ready), false) => Action::Create,
        _ => Action::Wait,
    }
}

/// The name of an UpcomingNode's Node. An UpcomingNode without `un-` keeps its whole name.
pub fn node_name(prefix: &str, upcoming_name: &str) -> String {
    format!("{prefix}{}", upcoming_name.strip_prefix("un-").unwrap_or(upcoming_name))
}

/// The Node of an UpcomingNode: labels and taints copied, capacity = allocatable = its resources and nothing
/// added (a real scheduler would place no Pod there, for want of `pods`), Ready from birth.
pub fn fake(upcoming: &UpcomingNode, name: &str, kwok_annotation: bool) -> Node {
    let wanted = &upcoming.spec;
    let annotation = (api::names::KWOK_NODE.to_owned(), api::names::KWOK_FAKE.to_owned());
    let ready = NodeCondition {
        type_: "Ready".into(),
        status: "True".into(),
        reason: Some("KubeletReady".into()),
        message: Some("pod-shim made this Node for an UpcomingNode".into()),
        ..NodeCondition::default()
    };
    Node {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(wanted.labels.clone()).filter(|labels| !labels.is_empty()),
            annotations: kwok_annotation.then(|| BTreeMap::from([annotation])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(wanted.taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            allocatable: Some(wanted.resources.clone()),
            capacity: Some(wanted.resources.clone()),
            conditions: Some(vec![ready]),
            ..NodeStatus::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn upcoming(phase: Option<&str>) -> UpcomingNode {
        let mut object = json!({
            "apiVersion": "bigfleet.lucy.sh/v1alpha1", "kind": "UpcomingNode",
            "metadata": {"name": "un-idle-3", "uid": "u"},
            "spec": {
                "labels": {(api::names::ZONE): "zone-a"},
                "resources": {"cpu": "40", "memory": "50000Mi"},
                "taints": [{"key": "gpu", "effect": "NoSchedule"}],
            },
        });
        if let Some(phase) = phase {
            object["status"] = json!({"phase": phase});
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_a_ready_upcoming_node_without_a_node_is_made_one() {
        let cases = [
            (None, false, Action::Delete),
            (None, true, Action::Delete),
            (Some(upcoming(None)), false, Action::Wait),
            (Some(upcoming(Some("Provisioning"))), false, Action::Wait),
            (Some(upcoming(Some("Registered"))), false, Action::Wait),
            (Some(upcoming(Some("Ready"))), false, Action::Create),
            (Some(upcoming(Some("Ready"))), true, Action::Keep),
            (Some(upcoming(Some("Draining"))), true, Action::Wait),
            (Some(upcoming(Some("Failed"))), true, Action::Wait),
        ];
        for (upcoming, exists, expected) in cases {
            assert_eq!(decide(upcoming.as_ref(), exists), expected, "{upcoming:?}, Node: {exists}");
        }
    }

    #[test]
    fn names_change_their_prefix() {
        let cases = [
            ("fake-", "un-idle-12", "fake-idle-12"),
            ("fake-", "un-un-1", "fake-un-1"),
            ("fake-", "idle-12", "fake-idle-12"),
            ("", "un-idle-12", "idle-12"),
        ];
        for (prefix, upcoming, expected) in cases {
            assert_eq!(node_name(prefix, upcoming), expected);
        }
    }

    #[test]
    fn a_node_is_its_machine_and_nothing_more() {
        let node = fake(&upcoming(Some("Ready")), "fake-idle-3", false);
        let expected = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"labels": {(api::names::ZONE): "zone-a"}, "name": "fake-idle-3"},
            "spec": {"taints": [{"effect": "NoSchedule", "key": "gpu"}]},
            "status": {
                "allocatable": {"cpu": "40", "memory": "50000Mi"},
                "capacity": {"cpu": "40", "memory": "50000Mi"},
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "KubeletReady",
                    "message": "pod-shim made this Node for an UpcomingNode",
                }],
            },
        });
        assert_eq!(serde_json::to_value(node).unwrap(), expected);
    }

    #[test]
    fn what_is_empty_is_left_out_and_the_annotation_is_only_for_the_asking() {
        let mut bare = upcoming(Some("Ready"));
        bare.spec.labels.clear();
        bare.spec.taints.clear();
        let node = fake(&bare, "fake-idle-3", true);
        assert_eq!((node.metadata.labels, node.spec.unwrap().taints), (None, None));
        assert_eq!(node.metadata.annotations.unwrap()[api::names::KWOK_NODE], api::names::KWOK_FAKE);
    }
}
