use serde_json::json;

use super::*;

fn key(name: &str) -> PodKey {
    PodKey { namespace: "default".into(), name: name.into() }
}

/// A Pod that asks for 1 CPU in a zone.
fn pod(zone: &str, node: Option<&str>) -> Seen {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "1"},
        "spec": {
            "nodeName": node,
            "nodeSelector": {"zone": zone},
            "containers": [{"resources": {"requests": {"cpu": "1"}}}],
        },
    });
    Seen::of(&serde_json::from_value(pod).unwrap())
}

fn marked(pod: Seen) -> Seen {
    Seen { is_marked: true, ..pod }
}

/// A Node of 2 CPUs in a zone.
fn host(zone: &str) -> Host {
    let node = json!({
        "metadata": {"name": "n", "labels": {"zone": zone}},
        "status": {"allocatable": {"cpu": "2"}},
    });
    Host::of(&serde_json::from_value(node).unwrap())
}

/// Where the Pod would be bound, or why nowhere.
fn found(world: &World, name: &str, after: Option<&str>) -> String {
    match world.look(&key(name), after) {
        Look::Settled => "settled".into(),
        Look::Fits { node, .. } => node,
        Look::Misfit { misfits, .. } => misfits.to_string(),
        Look::Marked => "marked".into(),
    }
}

#[test]
fn the_first_node_by_name_that_fits_is_taken() {
    let world = World::new("fake-");
    let see = |name: &str, zone: &str| drop(world.lock().node_seen(name, Some(host(zone))));
    see("fake-2", "a");
    see("fake-1", "a");
    see("fake-0", "b");
    see("another", "a");
    world.lock().pod_seen(&key("p"), Some(pod("a", None)));
    assert_eq!(found(&world, "p", None), "fake-1");
    assert_eq!(found(&world, "p", Some("fake-1")), "fake-2");
    assert_eq!(found(&world, "p", Some("fake-2")), "pod-shim: none of 0 Nodes fits");
    for on_it in ["q", "r"] {
        world.lock().pod_seen(&key(on_it), Some(pod("a", Some("fake-1"))));
    }
    assert_eq!(found(&world, "p", None), "fake-2");
    assert_eq!(found(&world, "q", None), "settled");
    assert_eq!(found(&world, "nobody", None), "settled");
}

#[test]
fn a_pod_that_fits_nowhere_is_marked_once() {
    let world = World::new("");
    world.lock().node_seen("n", Some(host("b")));
    world.lock().pod_seen(&key("p"), Some(pod("a", None)));
    let reason = "pod-shim: none of 1 Nodes fits: 1 with other labels than asked for";
    assert_eq!(found(&world, "p", None), reason);
    world.lock().pod_seen(&key("p"), Some(marked(pod("a", None))));
    assert_eq!(found(&world, "p", None), "marked");
}

#[test]
fn two_looks_before_the_watch_shows_a_bind_see_the_same_room() {
    let world = World::new("");
    world.lock().node_seen("n", Some(host("a")));
    world.lock().pod_seen(&key("on-it"), Some(pod("a", Some("n"))));
    for name in ["p", "q"] {
        world.lock().pod_seen(&key(name), Some(pod("a", None)));
    }
    assert_eq!((found(&world, "p", None), found(&world, "q", None)), ("n".into(), "n".into()));
}

#[test]
fn events_wake_the_pods_they_concern() {
    let mut state = State::default();
    assert_eq!(state.pod_seen(&key("p"), Some(pod("a", None))), [key("p")]);
    assert_eq!(state.pod_seen(&key("q"), Some(pod("b", None))), [key("q")]);
    assert_eq!(state.node_seen("n", Some(host("a"))), [key("p")], "only who accepts it");
    assert_eq!(state.node_seen("n", Some(host("a"))), [], "a heartbeat says nothing");
    let cordoned = Host { cordoned: true, ..host("a") };
    assert_eq!(state.node_seen("n", Some(cordoned)), [key("p")]);
    assert_eq!(state.pod_seen(&key("on-it"), Some(pod("a", Some("n")))), []);
    assert_eq!(state.pod_seen(&key("on-it"), Some(pod("a", Some("n")))), [], "nothing was freed");
    assert_eq!(state.pod_seen(&key("on-it"), None), [key("p")], "room was freed");
    let dying = Seen { is_live: false, ..pod("a", None) };
    assert_eq!(state.pod_seen(&key("p"), Some(dying)), []);
}

#[test]
fn room_is_counted_once_and_comes_back() {
    let mut state = State::default();
    for _ in 0..2 {
        state.pod_seen(&key("p"), Some(pod("a", Some("n"))));
        assert_eq!(state.taken["n"], Amounts::from([("cpu".to_owned(), 1000)]));
    }
    // A Pod of a StatefulSet comes back under its name, elsewhere.
    state.pod_seen(&key("p"), Some(pod("a", Some("m"))));
    assert_eq!(state.taken.keys().collect::<Vec<_>>(), ["m"]);
    state.pod_seen(&key("p"), None);
    assert!(state.taken.is_empty());
}

#[test]
fn a_machine_is_judged_by_its_node_known_or_learnt() {
    let world = World::new("fake-");
    let mut upcoming = UpcomingNode::new("un-1", api::upcoming_node::UpcomingNodeSpec::default());
    upcoming.status = serde_json::from_value(json!({"phase": "Ready"})).unwrap();
    world.lock().upcoming.insert("un-1".into(), upcoming);
    let action = || world.machine("un-1").0;
    assert_eq!(action(), Action::Create);
    world.learn("fake-1", true);
    assert_eq!(action(), Action::Keep);
    world.learn("fake-1", false);
    world.lock().node_seen("fake-1", Some(host("a")));
    assert_eq!(action(), Action::Keep);
    world.lock().node_seen("fake-1", None);
    assert_eq!(action(), Action::Create);
    let (action, _, node_name) = world.machine("un-2");
    assert_eq!((action, node_name.as_str()), (Action::Delete, "fake-2"));
}
