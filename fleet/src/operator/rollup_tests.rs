//! Requests in, needs out.

use std::time::Instant;

use serde_json::{Value, json};

use super::*;

fn spec(value: Value) -> CapacityRequestSpec {
    serde_json::from_value(value).unwrap()
}

fn plain(cpu: &str, memory: &str) -> CapacityRequestSpec {
    spec(json!({
        "priority": 100, "resources": {"cpu": cpu, "memory": memory},
        "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["a"]}],
    }))
}

fn resources(map: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

#[test]
fn one_profile_is_summed_exactly_and_its_unit_is_the_largest_per_dimension() {
    let mut book = Book::default();
    for _ in 0..1000 {
        book.add(&plain("100m", "256Mi")).unwrap();
    }
    book.add(&plain("2", "128Mi")).unwrap();
    let needs = book.needs();
    assert_eq!(needs.len(), 1);
    assert_eq!(resources(&needs[0].aggregate_resources), [("cpu", "102"), ("memory", "256128Mi")]);
    assert_eq!(resources(&needs[0].min_unit), [("cpu", "2"), ("memory", "256Mi")]);
}

#[test]
fn what_is_removed_leaves_no_trace() {
    let mut book = Book::default();
    let small = book.add(&plain("1", "1Gi")).unwrap();
    let large = book.add(&plain("4", "1Gi")).unwrap();
    book.remove(&large);
    assert_eq!(resources(&book.needs()[0].min_unit), [("cpu", "1"), ("memory", "1Gi")]);
    book.remove(&small);
    assert!(book.needs().is_empty());
}

#[test]
fn the_fingerprint_is_sorted_and_knows_no_resources() {
    let need = template(&spec(json!({
        "priority": 1000, "resources": {"cpu": "1"},
        "requirements": [
            {"key": "zone", "operator": "NotIn", "values": ["c", "a"]},
            {"key": "gpu", "operator": "DoesNotExist"},
            {"key": "disk", "operator": "Exists"},
            {"key": "zone", "operator": "In", "values": ["b"]},
        ],
        "topologySpread": [
            {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"maxSkew": 1, "topologyKey": "any", "whenUnsatisfiable": "ScheduleAnyway"},
        ],
        "interruptionPenalty": "32", "reclamationPenalty": "0",
    })))
    .unwrap();
    assert_eq!(fingerprint(&need), "p=1000|ipb=8|rpb=1|reqs=disk:3:;gpu:4:;zone:1:b;zone:2:a,c|spr=zone:2:1");
    assert_eq!(
        fingerprint(&template(&plain("1", "1")).unwrap()),
        fingerprint(&template(&plain("9", "9")).unwrap())
    );
}

#[test]
fn no_penalty_and_a_penalty_of_nothing_are_two_profiles() {
    let mut book = Book::default();
    book.add(&spec(json!({"priority": 0, "resources": {"cpu": "1"}}))).unwrap();
    book.add(&spec(json!({"priority": 0, "resources": {"cpu": "1"}, "interruptionPenalty": "0"}))).unwrap();
    assert_eq!(book.needs().len(), 2);
}

#[test]
fn each_gang_is_a_need_of_its_own_with_a_same_requirement() {
    let gang = |name: &str| {
        spec(json!({
            "priority": 5000, "resources": {"nvidia.com/gpu": "8"},
            "coLocation": {"topologyKey": "rack", "labelSelector": {
                "matchLabels": {"gang": name},
                "matchExpressions": [{"key": "b", "operator": "In", "values": ["2", "1"]}, {"key": "a", "operator": "Exists"}],
            }},
        }))
    };
    let mut book = Book::default();
    for name in ["g-1", "g-2", "g-1"] {
        book.add(&gang(name)).unwrap();
    }
    let needs = book.needs();
    let groups: Vec<_> = needs.iter().map(|need| need.group.as_str()).collect();
    assert_eq!(groups, ["rack\0gang=g-1,a Exists (),b In (1,2)", "rack\0gang=g-2,a Exists (),b In (1,2)"]);
    assert_eq!(needs[0].requirements[0].operator, Operator::Same as i32);
    assert_eq!(resources(&needs[0].aggregate_resources), [("nvidia.com/gpu", "16")]);
}

#[test]
fn what_the_shard_cannot_understand_is_refused_with_its_place() {
    let mut book = Book::default();
    let gt = spec(
        json!({"priority": 0, "resources": {"cpu": "1"}, "requirements": [{"key": "n", "operator": "Gt", "values": ["1"]}]}),
    );
    assert!(book.add(&gt).unwrap_err().to_string().contains("on n has operator Gt"));
    let bad = spec(json!({"priority": 0, "resources": {"cpu": "many"}}));
    assert!(book.add(&bad).unwrap_err().to_string().contains("resources.cpu"));
    assert!(book.needs().is_empty());
}

#[test]
fn ten_thousand_requests_are_rolled_up_within_the_budget() {
    let mut book = Book::default();
    for i in 0..10_000 {
        let mut one = plain("250m", "512Mi");
        one.priority = i % 60;
        book.add(&one).unwrap();
    }
    let start = Instant::now();
    assert_eq!(book.needs().len(), 60);
    // Single-digit milliseconds is the budget; the bound is loose because test machines are busy.
    assert!(start.elapsed().as_millis() < 100, "{:?}", start.elapsed());
}
