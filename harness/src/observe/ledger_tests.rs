//! How the ledger records watch events.

use serde_json::json;

use super::*;

fn pod(uid: &str, node: Option<&str>, phase: &str) -> Pod {
    let ready = if phase == "Running" { "True" } else { "False" };
    serde_json::from_value(json!({
        "metadata": {"uid": uid, "name": uid, "labels": {(api::names::WORKLOAD): "w-0"}},
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

fn unschedulable(uid: &str, message: &str) -> Pod {
    let mut pod = pod(uid, None, "Pending");
    pod.status.conditions.push(component::slim::Condition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some("Unschedulable".into()),
        message: Some(message.into()),
    });
    pod
}

fn request(uid: &str, phase: &str) -> Request {
    serde_json::from_value(json!({
        "metadata": {"name": format!("cr-{uid}"), "labels": {(api::names::OWNED_BY_POD): uid}},
        "status": {"phase": phase},
    }))
    .unwrap()
}

#[test]
fn a_pod_is_followed_from_birth_to_end() {
    let mut ledger = Ledger::new("c");
    ledger.pod_applied(1, 0, &unschedulable("a", "0/1 nodes"), false);
    ledger.pod_applied(2, 0, &unschedulable("a", "0/1 nodes"), false);
    ledger.pod_applied(3, 0, &unschedulable("a", "0/2 nodes"), false);
    ledger.request_applied(4, &request("a", "Pending"));
    ledger.request_applied(5, &request("a", "Acknowledged"));
    ledger.pod_applied(6, 0, &pod("a", Some("n1"), "Pending"), false);
    ledger.pod_applied(7, 0, &pod("a", Some("n1"), "Running"), false);
    let past = Counts { created: 1, ever_bound: 1, marks: 2, ..Counts::default() };
    assert_eq!(ledger.counts(), Counts { live: 1, bound: 1, running: 1, requests: 1, ..past });
    let mut dying = pod("a", Some("n1"), "Running");
    dying.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
    ledger.pod_applied(8, 0, &dying, false);
    assert_eq!(
        (ledger.counts().live, ledger.counts().terminating, ledger.counts().stale_requests),
        (0, 1, 1)
    );
    ledger.pod_deleted(9, "a", Some(41));
    ledger.request_deleted(10, "cr-a");
    assert_eq!(ledger.counts(), past, "what happened stays counted");
    let record = ledger.pods().next().unwrap();
    let stamps = [record.marked_us, record.request_us, record.acked_us, record.bound_us, record.running_us];
    assert_eq!(stamps, [Some(1), Some(4), Some(5), Some(6), Some(7)]);
    assert_eq!((record.marks, record.deleting_us, record.gone_us), (2, Some(8), Some(9)));
}

#[test]
fn a_request_seen_before_its_pod_is_kept() {
    let mut ledger = Ledger::new("c");
    ledger.request_applied(1, &request("a", "Acknowledged"));
    ledger.pod_applied(2, 0, &pod("a", None, "Pending"), false);
    assert_eq!(ledger.counts().requests, 1);
    assert_eq!(ledger.pods().next().unwrap().acked_us, Some(1));
}

#[test]
fn what_a_second_list_does_not_name_is_gone() {
    let mut ledger = Ledger::new("c");
    ledger.pod_applied(1, 0, &pod("a", None, "Pending"), false);
    ledger.pod_applied(1, 0, &pod("b", None, "Pending"), false);
    ledger.list_started(Kind::Pod);
    ledger.pod_applied(2, 0, &pod("b", None, "Pending"), false);
    ledger.list_done(3, Kind::Pod);
    assert_eq!(ledger.counts().live, 1);
    assert_eq!(ledger.live_by_workload()["w-0"], 1);
}

#[test]
fn a_machine_that_a_second_list_does_not_name_is_gone() {
    let node = |name: &str| -> Node { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    let upcoming = |machine: &str| -> UpcomingNode {
        let name = api::names::upcoming_node_name(machine);
        serde_json::from_value(json!({
            "apiVersion": "bigfleet.lucy.sh/v1alpha1", "kind": "UpcomingNode",
            "metadata": {"name": name}, "spec": {"labels": {}, "resources": {}},
        }))
        .unwrap()
    };
    let mut ledger = Ledger::new("c");
    for machine in ["a", "b"] {
        ledger.upcoming_applied(1, &upcoming(machine));
        ledger.node_applied(2, &node(machine));
    }
    ledger.list_started(Kind::UpcomingNode);
    ledger.upcoming_applied(3, &upcoming("b"));
    ledger.list_done(4, Kind::UpcomingNode);
    ledger.list_started(Kind::Node);
    ledger.node_applied(5, &node("b"));
    ledger.list_done(6, Kind::Node);
    let ends: Vec<_> = ledger.nodes().map(|n| (n.name.as_str(), n.upcoming_gone_us, n.gone_us)).collect();
    assert_eq!(ends, [("a", Some(4), Some(6)), ("b", None, None)]);
}

#[test]
fn who_waits_longest_is_neither_bound_nor_gone() {
    let mut ledger = Ledger::new("c");
    assert_eq!(ledger.longest_unbound_since(), None);
    for (at_us, uid) in [(1, "a"), (2, "b"), (3, "c")] {
        ledger.pod_applied(at_us, 0, &pod(uid, None, "Pending"), false);
    }
    assert_eq!(ledger.longest_unbound_since(), Some(1));
    ledger.pod_applied(4, 0, &pod("b", Some("n"), "Pending"), false);
    ledger.pod_deleted(5, "a", None);
    assert_eq!(ledger.longest_unbound_since(), Some(3));
    ledger.pod_applied(6, 0, &pod("c", Some("n"), "Pending"), false);
    assert_eq!(ledger.longest_unbound_since(), None);
}

#[test]
fn a_machine_that_comes_back_is_a_new_record() {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "m"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .unwrap();
    let mut ledger = Ledger::new("c");
    assert!(!ledger.node_applied(1, &node));
    assert_eq!(ledger.node_counts(), (1, 0));
    ledger.node_deleted(2, "m", Some(42));
    ledger.node_applied(3, &node);
    let created: Vec<_> = ledger.nodes().map(|n| (n.created_us, n.gone_us)).collect();
    assert_eq!(created, [(Some(1), Some(2)), (Some(3), None)]);
}

#[test]
fn a_node_that_leaves_ready_is_reported() {
    let node = |status: &str| -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "m"},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        }))
        .unwrap()
    };
    let mut ledger = Ledger::new("c");
    assert!(!ledger.node_applied(1, &node("True")));
    assert!(ledger.node_applied(2, &node("False")));
}
