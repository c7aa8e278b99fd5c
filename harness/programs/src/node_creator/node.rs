//! What node-creator does, without doing it: which action a machine needs, and what its Node looks like.

use std::collections::BTreeMap;

use api::upcoming_node::{UpcomingNode, UpcomingNodePhase};
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Value of the created-by label.
pub const MARK: &str = "node-creator";
/// Pods a Node holds when its machine does not say: ten times the slack over density 100. A Node without
/// any fits nothing ("Too many pods").
const DEFAULT_PODS: &str = "1100";

/// What is known of a machine's UpcomingNode.
#[derive(Clone, Debug, PartialEq)]
pub struct Upcoming {
    /// Its uid: a recreated object of the same name is another machine's life.
    pub uid: String,
    /// Whether its phase is Ready.
    pub ready: bool,
}

/// What is known of a Node that carries our mark.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The Node's own uid.
    pub uid: String,
    /// uid of the UpcomingNode it was made for.
    pub upcoming_uid: Option<String>,
    /// Whether its deletion has been asked for.
    pub deleting: bool,
}

/// What a machine needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make its Node.
    Create,
    /// Delete the Node; the UpcomingNode is gone.
    Delete,
    /// Delete the Node, which stands for an earlier UpcomingNode of that name; making the new one follows.
    Replace,
    /// Nothing, its Node is there.
    Exists,
    /// Nothing, the machine is not Ready (or no longer: a draining machine keeps its Node until it is empty).
    NotReady,
    /// Nothing, both are gone.
    Gone,
    /// Nothing before the Node's deletion is through.
    Wait,
}

/// The action for a machine's UpcomingNode and its Node.
pub fn decide(upcoming: Option<&Upcoming>, node: Option<&Made>) -> Action {
    match (upcoming, node) {
        (_, Some(node)) if node.deleting => Action::Wait,
        (None, Some(_)) => Action::Delete,
        (None, None) => Action::Gone,
        (Some(u), Some(node)) if node.upcoming_uid.as_deref() != Some(&u.uid) => Action::Replace,
        (Some(u), _) if !u.ready => Action::NotReady,
        (Some(_), Some(_)) => Action::Exists,
        (Some(_), None) => Action::Create,
    }
}

/// Whether the UpcomingNode says that its machine is there.
pub fn is_ready(upcoming: &UpcomingNode) -> bool {
    upcoming.status.as_ref().is_some_and(|s| s.phase == UpcomingNodePhase::Ready)
}

/// The Node of a machine: labels and taints as the UpcomingNode has them, capacity = allocatable = its
/// resources (ADR-0022: density is the fleet's business), Ready from birth, kept alive by kwok.
pub fn build(upcoming: &UpcomingNode, node_name: &str) -> Node {
    let spec = &upcoming.spec;
    let mut resources = spec.resources.clone();
    resources.entry("pods".into()).or_insert_with(|| Quantity(DEFAULT_PODS.into()));
    let mut labels = spec.labels.clone();
    labels.insert(api::names::CREATED_BY.into(), MARK.into());
    let uid = upcoming.metadata.uid.clone().unwrap_or_default();
    let annotations = BTreeMap::from([
        (api::names::KWOK_NODE.to_owned(), api::names::KWOK_FAKE.to_owned()),
        (api::names::UPCOMING_UID.to_owned(), uid),
    ]);
    Node {
        metadata: ObjectMeta {
            name: Some(node_name.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!spec.taints.is_empty()).then(|| spec.taints.clone()),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            capacity: Some(resources.clone()),
            allocatable: Some(resources),
            conditions: Some(vec![NodeCondition {
                type_: "Ready".into(),
                status: "True".into(),
                reason: Some("KubeletReady".into()),
                message: Some("node-creator made this Node for an UpcomingNode".into()),
                ..NodeCondition::default()
            }]),
            ..NodeStatus::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use api::upcoming_node::{UpcomingNodeSpec, UpcomingNodeStatus};
    use k8s_openapi::api::core::v1::Taint;

    use super::*;

    fn upcoming(uid: &str, ready: bool) -> Upcoming {
        Upcoming { uid: uid.into(), ready }
    }

    fn made(for_uid: &str, deleting: bool) -> Made {
        Made { uid: "n".into(), upcoming_uid: Some(for_uid.into()), deleting }
    }

    #[test]
    fn every_state_has_its_action() {
        let cases = [
            (None, None, Action::Gone),
            (None, Some(made("u", false)), Action::Delete),
            (None, Some(made("u", true)), Action::Wait),
            (Some(upcoming("u", false)), None, Action::NotReady),
            (Some(upcoming("u", true)), None, Action::Create),
            (Some(upcoming("u", true)), Some(made("u", false)), Action::Exists),
            // Draining: the Node stays until the operator has emptied it.
            (Some(upcoming("u", false)), Some(made("u", false)), Action::NotReady),
            // un-<id> deleted and recreated between two looks: the old Node is still cordoned.
            (Some(upcoming("v", true)), Some(made("u", false)), Action::Replace),
            (Some(upcoming("v", false)), Some(made("u", false)), Action::Replace),
            (Some(upcoming("v", true)), Some(made("u", true)), Action::Wait),
        ];
        for (u, n, expected) in cases {
            assert_eq!(decide(u.as_ref(), n.as_ref()), expected, "{u:?} {n:?}");
        }
        let unmarked = Made { uid: "n".into(), upcoming_uid: None, deleting: false };
        assert_eq!(decide(Some(&upcoming("u", true)), Some(&unmarked)), Action::Replace);
    }

    fn machine(resources: &[(&str, &str)]) -> UpcomingNode {
        let mut upcoming = UpcomingNode::new(
            "un-idle-3",
            UpcomingNodeSpec {
                labels: BTreeMap::from([("topology.kubernetes.io/zone".into(), "zone-a".into())]),
                resources: resources.iter().map(|(k, v)| ((*k).into(), Quantity((*v).into()))).collect(),
                taints: vec![Taint { key: "gpu".into(), effect: "NoSchedule".into(), ..Taint::default() }],
            },
        );
        upcoming.metadata.uid = Some("uid-1".into());
        upcoming.status = Some(UpcomingNodeStatus {
            phase: UpcomingNodePhase::Ready,
            node_ref: None,
            provider_id: None,
            provisioning_start_time: None,
            last_error: None,
        });
        upcoming
    }

    #[test]
    fn a_node_copies_its_machine() {
        let node =
            serde_json::to_value(build(&machine(&[("cpu", "40"), ("memory", "50000Mi")]), "idle-3")).unwrap();
        let expected = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "annotations": {
                    "kwok.x-k8s.io/node": "fake",
                    "scaletest.bigfleet/upcoming-node-uid": "uid-1"
                },
                "labels": {
                    "scaletest.bigfleet/created-by": "node-creator",
                    "topology.kubernetes.io/zone": "zone-a"
                },
                "name": "idle-3"
            },
            "spec": {"taints": [{"effect": "NoSchedule", "key": "gpu"}]},
            "status": {
                "allocatable": {"cpu": "40", "memory": "50000Mi", "pods": "1100"},
                "capacity": {"cpu": "40", "memory": "50000Mi", "pods": "1100"},
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "KubeletReady",
                    "message": "node-creator made this Node for an UpcomingNode"
                }]
            }
        });
        assert_eq!(node, expected);
    }

    #[test]
    fn a_machine_that_says_its_pods_is_believed() {
        let node = build(&machine(&[("cpu", "40"), ("pods", "7")]), "idle-3");
        assert_eq!(node.status.unwrap().allocatable.unwrap()["pods"], Quantity("7".into()));
    }
}
