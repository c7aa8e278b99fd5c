//! What a Pod asks for, as a CapacityRequest. No I/O.

use std::collections::BTreeMap;

use anyhow::Context;
use api::CapacityRequest;
use api::capacity_request::{CapacityRequestSpec, CoLocation, TopologySpread};
use api::names;
use api::quantity::{self, Resources};
use component::slim::{Pod, PodSpec};
use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The name of a Pod's request. It follows from the Pod, so that creating it twice gives one request.
pub(crate) fn name(pod_uid: &str) -> String {
    format!("cr-{pod_uid}")
}

/// The request of a Pod, owned by it.
///
/// # Errors
/// When the Pod requests something that is no quantity.
pub(crate) fn of(pod_uid: &str, pod: &Pod) -> anyhow::Result<CapacityRequest> {
    let annotation = |key: &str| pod.metadata.annotations.as_ref()?.get(key).cloned().map(Quantity);
    let spec = CapacityRequestSpec {
        requirements: requirements(&pod.spec),
        resources: resources(&pod.spec)?,
        priority: pod.spec.priority.unwrap_or(0),
        topology_spread: spread(&pod.spec),
        co_location: co_location(&pod.spec),
        interruption_penalty: annotation(names::INTERRUPTION_PENALTY),
        reclamation_penalty: annotation(names::RECLAMATION_PENALTY),
    };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod_uid.to_owned(),
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        name: Some(name(pod_uid)),
        namespace: pod.metadata.namespace.clone(),
        // By this label the harness finds the Pod.
        labels: Some(BTreeMap::from([(names::OWNED_BY_POD.to_owned(), pod_uid.to_owned())])),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Ok(CapacityRequest { metadata, spec, status: None })
}

/// The first term of the Pod's node affinity, and its node selector.
fn requirements(spec: &PodSpec) -> Vec<NodeSelectorRequirement> {
    let node_affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let first_term = node_affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref())
        .and_then(|selector| selector.node_selector_terms.first());
    let mut all = first_term.and_then(|term| term.match_expressions.clone()).unwrap_or_default();
    all.extend(spec.node_selector.iter().map(|(key, value)| NodeSelectorRequirement {
        key: key.clone(),
        operator: "In".to_owned(),
        values: Some(vec![value.clone()]),
    }));
    all
}

/// The sum over the containers, and the overhead.
fn resources(spec: &PodSpec) -> anyhow::Result<BTreeMap<String, Quantity>> {
    let mut sum = Resources::new();
    for requests in spec.containers.iter().map(|c| &c.resources.requests).chain([&spec.overhead]) {
        for (name, quantity) in requests {
            let amount = quantity.0.parse().with_context(|| format!("the Pod's request of {name}"))?;
            quantity::add(&mut sum, &Resources::from([(name.clone(), amount)]));
        }
    }
    if sum.is_empty() {
        // There must be one resource; a Pod without requests fits anywhere.
        sum.insert("cpu".to_owned(), Default::default());
    }
    Ok(sum.into_iter().map(|(name, amount)| (name, Quantity(amount.to_string()))).collect())
}

fn spread(spec: &PodSpec) -> Vec<TopologySpread> {
    let hard = spec.topology_spread_constraints.iter().filter(|c| c.when_unsatisfiable == "DoNotSchedule");
    hard.map(|c| TopologySpread {
        max_skew: c.max_skew,
        topology_key: c.topology_key.clone(),
        when_unsatisfiable: c.when_unsatisfiable.clone(),
    })
    .collect()
}

fn co_location(spec: &PodSpec) -> Option<CoLocation> {
    let pod_affinity = spec.affinity.as_ref()?.pod_affinity.as_ref()?;
    let term = pod_affinity.required_during_scheduling_ignored_during_execution.as_ref()?.first()?;
    Some(CoLocation { topology_key: term.topology_key.clone(), label_selector: term.label_selector.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(spec: Value) -> Value {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "annotations": {(names::INTERRUPTION_PENALTY): "32"}},
            "spec": spec,
        });
        serde_json::to_value(of("u", &serde_json::from_value(pod).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_request_says_what_its_pod_needs_and_whose_it_is() {
        let request = request(json!({
            "priority": 100,
            "nodeSelector": {"disk": "fast"},
            "containers": [
                {"resources": {"requests": {"cpu": "400m", "memory": "500Mi"}}},
                {"resources": {"requests": {"cpu": "100m"}}},
            ],
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "rack", "labelSelector": {"matchLabels": {"gang": "g"}}},
            ]}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
                {"maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "ScheduleAnyway"},
            ],
        }));
        assert_eq!(request["metadata"]["name"], "cr-u");
        assert_eq!(request["metadata"]["labels"][names::OWNED_BY_POD], "u");
        let spec = json!({
            "requirements": [{"key": "disk", "operator": "In", "values": ["fast"]}],
            "resources": {"cpu": "500m", "memory": "500Mi"},
            "priority": 100,
            "topologySpread": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "coLocation": {"topologyKey": "rack", "labelSelector": {"matchLabels": {"gang": "g"}}},
            "interruptionPenalty": "32",
        });
        assert_eq!(request["spec"], spec);
    }

    #[test]
    fn a_pod_without_requests_asks_for_nothing_and_says_so() {
        assert_eq!(request(json!({"containers": [{}]}))["spec"]["resources"], json!({"cpu": "0"}));
    }
}
