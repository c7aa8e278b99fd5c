//! The translation, as a table of Pods and what becomes of them.

use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "default", "uid": "u-1"},
        "spec": spec,
    }))
    .unwrap()
}

fn spec_of(pod_spec: Value) -> Value {
    let request = capacity_request(&pod(pod_spec), &PenaltyDefaults::default()).unwrap();
    serde_json::to_value(request.spec).unwrap()
}

fn container(cpu: &str, memory: &str) -> Value {
    json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
}

#[test]
fn identity_follows_from_the_pod() {
    let request = capacity_request(&pod(json!({"containers": []})), &PenaltyDefaults::default()).unwrap();
    assert_eq!(
        serde_json::to_value(&request.metadata).unwrap(),
        json!({
            "name": "cr-u-1", "namespace": "default",
            "labels": {"bigfleet.lucy.sh/owned-by-pod": "u-1"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "u-1", "controller": true}],
        })
    );
    assert!(request.status.is_none(), "a request without status is understood as Pending");
}

#[test]
fn a_pod_without_uid_is_refused() {
    let error = capacity_request(&Pod::default(), &PenaltyDefaults::default()).unwrap_err();
    assert!(error.to_string().contains("uid"), "{error}");
}

#[test]
fn resources_are_the_schedulers_arithmetic() {
    let sidecar =
        |cpu| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    let init = |cpu| json!({"name": "i", "resources": {"requests": {"cpu": cpu}}});
    let cases = [
        (
            json!({"containers": [container("250m", "512Mi"), container("250m", "512Mi")]}),
            json!({"cpu": "500m", "memory": "1Gi"}),
        ),
        // The init stage peaks higher than what runs afterwards.
        (
            json!({"containers": [container("1", "1Gi")], "initContainers": [init("3")]}),
            json!({"cpu": "3", "memory": "1Gi"}),
        ),
        // A sidecar counts for ever, and beside the init containers after it only.
        (
            json!({"containers": [container("1", "1Gi")], "initContainers": [sidecar("1"), init("3")]}),
            json!({"cpu": "4", "memory": "1Gi"}),
        ),
        (
            json!({"containers": [container("1", "1Gi")], "initContainers": [init("3"), sidecar("1")]}),
            json!({"cpu": "3", "memory": "1Gi"}),
        ),
        (
            json!({"containers": [container("1", "1Gi")], "initContainers": [sidecar("1"), sidecar("2")]}),
            json!({"cpu": "4", "memory": "1Gi"}),
        ),
        (
            json!({"containers": [container("1", "1Gi")], "overhead": {"cpu": "100m"}}),
            json!({"cpu": "1100m", "memory": "1Gi"}),
        ),
        (json!({"containers": [{"name": "c"}]}), json!({"cpu": "0"})),
    ];
    for (spec, expected) in cases {
        assert_eq!(spec_of(spec.clone())["resources"], expected, "{spec}");
    }
}

#[test]
fn requirements_come_from_the_first_affinity_term_and_the_selector() {
    let expression = json!({"key": "zone", "operator": "NotIn", "values": ["a"]});
    let affinity = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let any = json!([{"key": "node.kubernetes.io/instance-type", "operator": "Exists"}]);
    let cases = [
        (json!({}), any.clone()),
        (
            json!({"nodeSelector": {"b": "2", "a": "1"}}),
            json!([{"key": "a", "operator": "In", "values": ["1"]}, {"key": "b", "operator": "In", "values": ["2"]}]),
        ),
        (
            json!({"affinity": affinity(json!([{"matchExpressions": [expression]}, {"matchExpressions": []}])), "nodeSelector": {"a": "1"}}),
            json!([expression, {"key": "a", "operator": "In", "values": ["1"]}]),
        ),
        // An affinity block that asks for nothing is not "any machine": upstream leaves it empty.
        (json!({"affinity": {"nodeAffinity": {}}}), Value::Null),
        (json!({"affinity": {"podAffinity": {}}}), any),
    ];
    for (spec, expected) in cases {
        assert_eq!(spec_of(spec.clone())["requirements"], expected, "{spec}");
    }
}

#[test]
fn spread_and_co_location_are_copied_without_preferences() {
    let term = |when| json!({"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when, "labelSelector": {}});
    let selector = json!({"matchLabels": {"gang": "g-1"}});
    let spec = spec_of(json!({
        "priority": 5000,
        "topologySpreadConstraints": [term("ScheduleAnyway"), term("DoNotSchedule")],
        "affinity": {
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "topology.bigfleet/rack", "labelSelector": selector},
                    {"topologyKey": "ignored"},
                ],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "ignored"}}],
            },
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "ignored"}]},
        },
    }));
    assert_eq!(spec["priority"], 5000);
    assert_eq!(
        spec["topologySpread"],
        json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}])
    );
    assert_eq!(
        spec["coLocation"],
        json!({"topologyKey": "topology.bigfleet/rack", "labelSelector": selector})
    );
}
