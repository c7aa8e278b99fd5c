//! UpcomingNode objects: made from frames, and read back. No I/O.

use std::time::SystemTime;

use api::UpcomingNode;
use api::names;
use api::session::NodeStateUpdate;
use api::upcoming_node::{UpcomingNodePhase as Phase, UpcomingNodeSpec, UpcomingNodeStatus};
use k8s_openapi::api::core::v1::{ObjectReference, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// The spec a frame asks for.
pub fn spec(frame: &NodeStateUpdate) -> UpcomingNodeSpec {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    UpcomingNodeSpec {
        labels: frame.labels.clone().into_iter().collect(),
        resources: frame.amounts().map(|(k, v)| (k.clone(), Quantity(v.clone()))).collect(),
        taints: frame
            .taints
            .iter()
            .map(|t| Taint {
                key: t.key.clone(),
                value: some(&t.value),
                effect: t.effect.clone(),
                time_added: None,
            })
            .collect(),
    }
}

/// A merge patch from one spec to another: what is no longer there is set to null.
pub fn spec_patch(from: &UpcomingNodeSpec, to: &UpcomingNodeSpec) -> Value {
    let mut labels = json!(to.labels);
    for key in from.labels.keys().filter(|key| !to.labels.contains_key(*key)) {
        labels[key] = Value::Null;
    }
    let mut resources = json!(to.resources);
    for name in from.resources.keys().filter(|name| !to.resources.contains_key(*name)) {
        resources[name] = Value::Null;
    }
    json!({"spec": {"labels": labels, "resources": resources, "taints": to.taints}})
}

/// The status a frame asks for. What it does not say is kept.
pub fn status(
    frame: &NodeStateUpdate,
    phase: Phase,
    known: Option<&UpcomingNodeStatus>,
) -> UpcomingNodeStatus {
    let mut status = UpcomingNodeStatus { phase, ..status_or_new(known) };
    if !frame.node_name.is_empty() {
        status.node_ref = Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(frame.node_name.clone()),
            ..ObjectReference::default()
        });
    }
    if !frame.provider_id.is_empty() {
        status.provider_id = Some(frame.provider_id.clone());
    }
    let told = phase == Phase::Failed && known.is_some_and(|k| k.phase == phase && k.last_error.is_some());
    if told {
        // The operator said why its drain failed; the shard only gives back that it did.
    } else if !frame.last_error.is_empty() {
        status.last_error = Some(frame.last_error.clone());
    } else if phase != Phase::Failed {
        status.last_error = None;
    }
    status
}

/// The known status, or the first one: provisioning starts when the operator first writes.
pub fn status_or_new(known: Option<&UpcomingNodeStatus>) -> UpcomingNodeStatus {
    known.cloned().unwrap_or_else(|| UpcomingNodeStatus {
        phase: Phase::Provisioning,
        node_ref: None,
        provider_id: None,
        provisioning_start_time: Some(Time(Timestamp::now())),
        last_error: None,
    })
}

/// The phase, once a status was written.
pub fn phase(object: &UpcomingNode) -> Option<Phase> {
    object.status.as_ref().map(|status| status.phase)
}

/// The name of the Node, once it is known.
pub fn node_name(object: &UpcomingNode) -> Option<&str> {
    object.status.as_ref()?.node_ref.as_ref()?.name.as_deref()
}

/// Instruction and deadline of a drain that was begun and has not ended.
pub fn unfinished_drain(object: &UpcomingNode) -> Option<(String, SystemTime)> {
    if phase(object) == Some(Phase::Failed) {
        return None;
    }
    let annotations = object.metadata.annotations.as_ref()?;
    let deadline: Timestamp = annotations.get(names::DRAIN_DEADLINE)?.parse().ok()?;
    Some((annotations.get(names::DRAIN_INSTRUCTION)?.clone(), deadline.into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn frame() -> NodeStateUpdate {
        NodeStateUpdate {
            machine_id: "idle-1".into(),
            node_name: "idle-1".into(),
            provider_id: "fake:///idle-1".into(),
            labels: map(&[(names::ZONE, "zone-a"), (names::INSTANCE_TYPE, "shape-a")]),
            resources: Some(map(&[("cpu", "100"), ("memory", "400Gi")]).into()),
            ..NodeStateUpdate::default()
        }
    }

    #[test]
    fn a_frame_becomes_spec_and_status() {
        assert_eq!(
            serde_json::to_value(spec(&frame())).unwrap(),
            json!({
                "labels": {(names::INSTANCE_TYPE): "shape-a", (names::ZONE): "zone-a"},
                "resources": {"cpu": "100", "memory": "400Gi"},
            })
        );
        let status = status(&frame(), Phase::Ready, None);
        assert_eq!(status.node_ref.unwrap().name.as_deref(), Some("idle-1"));
        assert_eq!(status.provider_id.as_deref(), Some("fake:///idle-1"));
        assert!(status.provisioning_start_time.is_some());
    }

    #[test]
    fn a_frame_that_says_less_takes_nothing_away_but_a_mended_error() {
        let mut known = status(&frame(), Phase::Ready, None);
        known.last_error = Some("slow".into());
        let bare = NodeStateUpdate::default();
        let failed = status(&bare, Phase::Failed, Some(&known));
        assert_eq!((&failed.node_ref, failed.last_error.as_deref()), (&known.node_ref, Some("slow")));
        assert_eq!(status(&bare, Phase::Ready, Some(&failed)).last_error, None);
    }

    #[test]
    fn why_a_drain_failed_is_not_written_over() {
        let mut known = status(&frame(), Phase::Failed, None);
        known.last_error = Some("a budget keeps db-0".into());
        let given_back = NodeStateUpdate { last_error: "not drained".into(), ..frame() };
        let failed = status(&given_back, Phase::Failed, Some(&known));
        assert_eq!(failed.last_error.as_deref(), Some("a budget keeps db-0"));
        known.phase = Phase::Ready;
        let failed = status(&given_back, Phase::Failed, Some(&known));
        assert_eq!(failed.last_error.as_deref(), Some("not drained"));
    }

    #[test]
    fn a_spec_patch_removes_what_is_gone() {
        let mut less = frame();
        less.labels.remove(names::ZONE);
        let patch = spec_patch(&spec(&frame()), &spec(&less));
        assert_eq!(patch["spec"]["labels"][names::ZONE], Value::Null);
        assert_eq!(patch["spec"]["labels"][names::INSTANCE_TYPE], "shape-a");
    }

    #[test]
    fn a_begun_drain_is_found_again_with_its_deadline() {
        let deadline = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
        let text = Timestamp::try_from(deadline).unwrap().to_string();
        let mut object = UpcomingNode::new("un-a", spec(&frame()));
        assert_eq!(unfinished_drain(&object), None);
        object.metadata.annotations = Some(
            [
                (names::DRAIN_DEADLINE.to_owned(), text),
                (names::DRAIN_INSTRUCTION.to_owned(), "i-1".to_owned()),
            ]
            .into(),
        );
        object.status = Some(status(&frame(), Phase::Ready, None));
        assert_eq!(unfinished_drain(&object), Some(("i-1".to_owned(), deadline)));
        object.status = Some(status(&frame(), Phase::Failed, None));
        assert_eq!(unfinished_drain(&object), None, "it has ended");
    }
}
