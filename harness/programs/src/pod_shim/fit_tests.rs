use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Want {
    Want::of(&serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap())
}

fn asking(containers: &[Value]) -> Want {
    let containers: Vec<Value> = containers.iter().map(|r| json!({"resources": {"requests": r}})).collect();
    pod(json!({"containers": containers}))
}

/// A Pod whose required node affinity has these terms, each a list of `matchExpressions`.
fn affine(terms: &Value) -> Want {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    pod(json!({"affinity": {"nodeAffinity": {(required): {"nodeSelectorTerms": terms}}}}))
}

fn host(allocatable: Value, labels: Value) -> Host {
    let node = json!({"metadata": {"name": "n", "labels": labels}, "status": {"allocatable": allocatable}});
    Host::of(&serde_json::from_value(node).unwrap())
}

#[test]
fn expressions_are_anded_and_terms_ored() {
    let labels = host(json!({}), json!({"zone": "a", "type": "m6i"})).labels;
    let e = |key: &str, operator: &str, values: &[&str]| -> Value {
        let mut expression = json!({"key": key, "operator": operator});
        expression["values"] = json!(values);
        expression
    };
    let term = |expressions: &[Value]| json!([{"matchExpressions": expressions}]);
    let (wrong, right) = (e("zone", "In", &["b"]), e("type", "Exists", &[]));
    let cases = [
        (term(&[e("zone", "In", &["a", "b"])]), true),
        (term(&[e("zone", "In", &["b"])]), false),
        (term(&[e("rack", "In", &["r1"])]), false),
        (term(&[e("zone", "NotIn", &["b"])]), true),
        (term(&[e("zone", "NotIn", &["a"])]), false),
        (term(&[e("rack", "NotIn", &["r1"])]), true),
        (term(&[e("zone", "Exists", &[])]), true),
        (term(&[e("rack", "Exists", &[])]), false),
        (term(&[e("rack", "DoesNotExist", &[])]), true),
        (term(&[e("zone", "DoesNotExist", &[])]), false),
        (term(&[e("zone", "In", &["a"]), e("type", "In", &["m6i"])]), true),
        (term(&[e("zone", "In", &["a"]), e("type", "In", &["c6i"])]), false),
        (term(&[e("zone", "Gt", &["0"])]), false),
        (json!([{"matchExpressions": [wrong]}, {"matchExpressions": [right]}]), true),
        (json!([{"matchFields": [e("metadata.name", "In", &["n"])]}]), false),
        (json!([{}]), false),
        (json!([]), false),
    ];
    for (terms, expected) in cases {
        assert_eq!(affine(&terms).accepts(&labels), expected, "{terms}");
    }
}

#[test]
fn a_node_selector_needs_every_label() {
    let labels = host(json!({}), json!({"zone": "a", "type": "m6i"})).labels;
    let cases = [
        (json!({}), true),
        (json!({"zone": "a"}), true),
        (json!({"zone": "a", "type": "m6i"}), true),
        (json!({"zone": "b"}), false),
        (json!({"rack": ""}), false),
    ];
    for (selector, expected) in cases {
        assert_eq!(pod(json!({"nodeSelector": selector})).accepts(&labels), expected, "{selector}");
    }
}

#[test]
fn a_pod_fits_what_is_left() {
    let node = json!({"cpu": "4", "memory": "8Gi", "pods": "1"});
    let mid = json!({"cpu": "2", "memory": "4Gi"});
    let cases = [
        (vec![json!({"cpu": "4"})], vec![], Fit::Fits),
        (vec![json!({"cpu": "4001m"})], vec![], Fit::Full),
        (vec![mid.clone()], vec![mid.clone()], Fit::Fits),
        (vec![mid.clone()], vec![mid.clone(), json!({"memory": "1"})], Fit::Full),
        (vec![json!({"cpu": "2"}), json!({"cpu": "2500m"})], vec![], Fit::Full),
        (vec![json!({"nvidia.com/gpu": "1"})], vec![], Fit::Full),
        (vec![json!({"nvidia.com/gpu": "0"})], vec![], Fit::Fits),
        (vec![json!({})], vec![], Fit::Fits),
        // Over-packed already: what is taken is more than there is.
        (vec![json!({"cpu": "1m"})], vec![json!({"cpu": "5"})], Fit::Full),
        (vec![json!({"cpu": "half"})], vec![], Fit::Unreadable),
    ];
    for (containers, on_it, expected) in cases {
        let mut taken = Amounts::new();
        on_it.iter().for_each(|r| add(&mut taken, &asking(std::slice::from_ref(r)).taken()));
        let fit = check(&asking(&containers), &host(node.clone(), json!({})), Some(&taken));
        assert_eq!(fit, expected, "{containers:?} beside {on_it:?}");
    }
}

#[test]
fn what_upstream_ignores_is_ignored() {
    let one = json!({"resources": {"requests": {"cpu": "1"}}});
    let want = pod(json!({
        "containers": [one],
        "initContainers": [{"resources": {"requests": {"cpu": "64"}}}],
        "overhead": {"cpu": "64"},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
        ],
    }));
    let tainted = json!({
        "metadata": {"name": "n"},
        "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "1", "pods": "0"}},
    });
    assert_eq!(check(&want, &Host::of(&serde_json::from_value(tainted).unwrap()), None), Fit::Fits);
}

#[test]
fn a_cordoned_node_and_one_without_resources_take_nothing() {
    let mut cordoned = host(json!({"cpu": "4"}), json!({}));
    cordoned.cordoned = true;
    assert_eq!(check(&asking(&[]), &cordoned, None), Fit::Cordoned);
    assert_eq!(check(&asking(&[]), &host(json!({}), json!({})), None), Fit::Full);
    let unreadable = host(json!({"cpu": "half"}), json!({}));
    assert_eq!(check(&asking(&[json!({"cpu": "1"})]), &unreadable, None), Fit::Full);
}

#[test]
fn sums_come_back_to_nothing() {
    let one = asking(&[json!({"cpu": "400m", "memory": "500Mi"})]).taken();
    let mut sum = Amounts::new();
    add(&mut sum, &one);
    add(&mut sum, &one);
    assert_eq!(sum["cpu"], 800);
    subtract(&mut sum, &one);
    assert_eq!(sum, one);
    subtract(&mut sum, &one);
    assert!(sum.is_empty());
}

#[test]
fn the_message_counts_every_reason() {
    let mut misfits = Misfits::default();
    assert_eq!(misfits.to_string(), "pod-shim: none of 0 Nodes fits");
    [Fit::OtherLabels, Fit::Full, Fit::OtherLabels, Fit::Cordoned].into_iter().for_each(|f| misfits.count(f));
    assert_eq!(
        misfits.to_string(),
        "pod-shim: none of 4 Nodes fits: 2 with other labels than asked for, 1 cordoned, 1 with too little left"
    );
}
