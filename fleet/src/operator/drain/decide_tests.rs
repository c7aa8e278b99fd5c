//! A drain against scripted answers.

use serde_json::json;

use super::*;

fn pod(uid: &str, terminating: bool) -> Victim {
    Victim { namespace: "default".into(), name: format!("pod-{uid}"), uid: uid.into(), terminating }
}

fn refusal(code: u16, message: &str) -> Result<(), kube::Error> {
    let status: kube::core::Status =
        serde_json::from_value(json!({"code": code, "message": message})).unwrap();
    Err(kube::Error::Api(status.boxed()))
}

struct Script {
    drain: Drain,
    start: Instant,
}

impl Script {
    fn new(grace_s: u64) -> Self {
        let start = Instant::now();
        Self { drain: Drain::new(start + Duration::from_secs(grace_s)), start }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn listed(&mut self, ms: u64, victims: &[Victim]) -> Next {
        self.drain.listed(self.at(ms), victims)
    }

    fn answered(&mut self, ms: u64, victim: &Victim, answer: Answer) {
        self.drain.answered(self.at(ms), victim, answer);
    }
}

#[test]
fn a_pod_is_evicted_once_and_waited_for_until_its_object_is_gone() {
    let mut script = Script::new(60);
    let a = pod("a", false);
    assert_eq!(script.listed(0, std::slice::from_ref(&a)), Next::Evict(vec![a.clone()]));
    script.answered(0, &a, Answer::Granted);
    assert_eq!(script.listed(500, &[pod("a", true)]), Next::Wait(POLL_INTERVAL));
    assert_eq!(script.listed(1000, &[]), Next::Wait(CONFIRM_AFTER), "one empty list is not enough");
    assert_eq!(script.listed(2000, &[]), Next::Empty);
}

#[test]
fn a_bind_in_flight_starts_over() {
    let mut script = Script::new(60);
    assert_eq!(script.listed(0, &[]), Next::Wait(CONFIRM_AFTER));
    let late = pod("late", false);
    assert_eq!(script.listed(1000, std::slice::from_ref(&late)), Next::Evict(vec![late.clone()]));
    script.answered(1000, &late, Answer::Gone);
    assert_eq!(script.listed(1500, &[]), Next::Wait(CONFIRM_AFTER));
    assert_eq!(script.listed(2500, &[]), Next::Empty);
}

#[test]
fn a_refused_eviction_is_asked_for_again_later_and_the_others_go_on() {
    let mut script = Script::new(60);
    let (a, b) = (pod("a", false), pod("b", false));
    script.answered(0, &a, Answer::Blocked(Duration::ZERO));
    assert_eq!(script.listed(500, &[a.clone(), b.clone()]), Next::Evict(vec![b.clone()]));
    script.answered(500, &b, Answer::Blocked(Duration::from_secs(10)));
    assert_eq!(script.listed(2000, &[a.clone(), b.clone()]), Next::Evict(vec![a]));
}

#[test]
fn the_grace_period_ends_a_drain_and_names_what_is_left() {
    let mut script = Script::new(10);
    let a = pod("a", false);
    script.answered(0, &a, Answer::Blocked(Duration::from_secs(60)));
    assert_eq!(script.listed(9_900, std::slice::from_ref(&a)), Next::Wait(Duration::from_millis(100)));
    let Next::GiveUp(reason) = script.listed(10_000, std::slice::from_ref(&a)) else {
        panic!("not given up")
    };
    assert!(
        reason.contains("1 Pods left") && reason.contains("pod-a") && reason.contains("budget"),
        "{reason}"
    );
}

#[test]
fn a_node_that_became_empty_in_time_may_be_confirmed_after_the_deadline() {
    let mut script = Script::new(1);
    assert_eq!(script.listed(900, &[]), Next::Wait(CONFIRM_AFTER));
    assert_eq!(script.listed(1900, &[]), Next::Empty);
}

#[test]
fn two_budgets_end_a_drain_at_once() {
    let mut script = Script::new(600);
    let a = pod("a", false);
    script.answered(0, &a, Answer::Never("two budgets".into()));
    assert_eq!(script.listed(500, &[a]), Next::GiveUp("Pod default/pod-a: two budgets".into()));
}

#[test]
fn answers_are_read_as_the_apiserver_means_them() {
    let cases = [
        (Ok(()), "granted"),
        (refusal(404, "pods \"a\" not found"), "gone"),
        (refusal(409, "the UID in the precondition (x) does not match the UID in record (y)"), "gone"),
        (refusal(409, "Precondition failed: UID in precondition: x, UID in object meta: y"), "gone"),
        (refusal(409, "the object has been modified"), "error"),
        (refusal(429, "Cannot evict pod as it would violate the pod's disruption budget."), "blocked"),
        (
            refusal(
                500,
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ),
            "impossible",
        ),
        (refusal(500, "etcdserver: leader changed"), "error"),
    ];
    for (result, expected) in cases {
        assert_eq!(answer(&result).label(), expected, "{result:?}");
    }
}

#[test]
fn daemons_and_mirrors_are_passed_over() {
    let metadata = |more: serde_json::Value| -> ObjectMeta {
        let mut all = json!({"name": "a", "namespace": "n", "uid": "u"});
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    };
    let owner = |kind| json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "o", "controller": true}]});
    assert!(victim(&metadata(owner("DaemonSet"))).is_none());
    assert!(victim(&metadata(json!({"annotations": {"kubernetes.io/config.mirror": "x"}}))).is_none());
    assert!(!victim(&metadata(owner("ReplicaSet"))).unwrap().terminating);
    assert!(victim(&metadata(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))).unwrap().terminating);
}

#[test]
fn an_eviction_names_the_very_pod() {
    assert_eq!(eviction(&pod("a", false))["deleteOptions"]["preconditions"]["uid"], "a");
}
