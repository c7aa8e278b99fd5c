//! A Pod's wish for capacity, as a CapacityRequest.

use std::collections::BTreeMap;

use api::CapacityRequest;
use api::capacity_request::{CapacityRequestSpec, CoLocation, TopologySpread};
use api::names;
use api::quantity::{self, ParseError, Resources};
use component::slim::{Container, Pod, PodSpec};
use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::pod_requests::penalties::{self, PenaltyDefaults};

/// A Pod that cannot be translated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The apiserver always sets these, so the object did not come from one.
    #[error("the Pod has no {0}; is this an object read from an apiserver?")]
    Missing(&'static str),
    /// A resource request is no quantity.
    #[error("resource {resource} of the Pod: {source}")]
    Quantity {
        /// Resource name.
        resource: String,
        /// What is wrong with it.
        source: ParseError,
    },
}

/// The name of the request of the Pod with this uid.
///
/// Upstream lets the server generate a name and looks requests up by label before it creates one. A name that
/// follows from the uid makes the create itself idempotent: after a restart, a lost answer or a stale cache
/// the server says AlreadyExists instead of counting the Pod twice.
pub fn request_name(pod_uid: &str) -> String {
    format!("cr-{pod_uid}")
}

/// The CapacityRequest of `pod`, owned by it so that the garbage collector removes it after the Pod.
///
/// # Errors
/// When the Pod lacks its identity or requests something that is no quantity.
pub fn capacity_request(pod: &Pod, defaults: &PenaltyDefaults) -> Result<CapacityRequest, Error> {
    let uid = pod.metadata.uid.as_deref().ok_or(Error::Missing("uid"))?;
    let name = pod.metadata.name.clone().ok_or(Error::Missing("name"))?;
    let penalties = penalties::resolve(pod, defaults);
    let spec = CapacityRequestSpec {
        requirements: requirements(&pod.spec),
        resources: wire_resources(requested(&pod.spec)?),
        priority: pod.spec.priority.unwrap_or(0),
        topology_spread: spread(&pod.spec),
        co_location: co_location(&pod.spec),
        interruption_penalty: penalties.interruption.map(Quantity),
        reclamation_penalty: penalties.reclamation.map(Quantity),
    };
    let metadata = ObjectMeta {
        name: Some(request_name(uid)),
        namespace: pod.metadata.namespace.clone(),
        labels: Some(BTreeMap::from([(names::OWNED_BY_POD.to_owned(), uid.to_owned())])),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name,
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    Ok(CapacityRequest { metadata, spec, status: None })
}

/// Expressions of the first required node affinity term, then the node selector in key order.
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
    if all.is_empty() && node_affinity.is_none() {
        // Upstream's way of saying "any machine": every Node carries an instance type.
        all.push(NodeSelectorRequirement {
            key: names::INSTANCE_TYPE.to_owned(),
            operator: "Exists".to_owned(),
            values: None,
        });
    }
    all
}

fn spread(spec: &PodSpec) -> Vec<TopologySpread> {
    spec.topology_spread_constraints
        .iter()
        .filter(|term| term.when_unsatisfiable != "ScheduleAnyway")
        .map(|term| TopologySpread {
            max_skew: term.max_skew,
            topology_key: term.topology_key.clone(),
            when_unsatisfiable: term.when_unsatisfiable.clone(),
        })
        .collect()
}

fn co_location(spec: &PodSpec) -> Option<CoLocation> {
    let pod_affinity = spec.affinity.as_ref()?.pod_affinity.as_ref()?;
    let term = pod_affinity.required_during_scheduling_ignored_during_execution.as_ref()?.first()?;
    Some(CoLocation { topology_key: term.topology_key.clone(), label_selector: term.label_selector.clone() })
}

/// What the scheduler counts for a Pod: max(containers and sidecars, peak of the init stage) + overhead.
/// Source: Kubernetes docs, "Sidecar containers: resource sharing within containers".
fn requested(spec: &PodSpec) -> Result<Resources, Error> {
    let mut running = Resources::new();
    for container in &spec.containers {
        quantity::add(&mut running, &container_requests(container)?);
    }
    let mut sidecars = Resources::new();
    let mut init_peak = Resources::new();
    for container in &spec.init_containers {
        let requests = container_requests(container)?;
        if container.restart_policy.as_deref() == Some("Always") {
            quantity::add(&mut running, &requests);
            quantity::add(&mut sidecars, &requests);
            quantity::raise(&mut init_peak, &sidecars);
        } else {
            // An init container runs beside the sidecars that were started before it.
            let mut stage = sidecars.clone();
            quantity::add(&mut stage, &requests);
            quantity::raise(&mut init_peak, &stage);
        }
    }
    quantity::raise(&mut running, &init_peak);
    quantity::add(&mut running, &parse(&spec.overhead)?);
    Ok(running)
}

fn container_requests(container: &Container) -> Result<Resources, Error> {
    parse(&container.resources.requests)
}

fn parse(raw: &BTreeMap<String, Quantity>) -> Result<Resources, Error> {
    raw.iter()
        .map(|(name, text)| match text.0.parse() {
            Ok(amount) => Ok((name.clone(), amount)),
            Err(source) => Err(Error::Quantity { resource: name.clone(), source }),
        })
        .collect()
}

fn wire_resources(resources: Resources) -> BTreeMap<String, Quantity> {
    let mut wire: BTreeMap<_, _> =
        resources.into_iter().map(|(name, amount)| (name, Quantity(amount.to_string()))).collect();
    if wire.is_empty() {
        // The CRD wants at least one entry; a Pod without requests fits wherever a Node is.
        wire.insert("cpu".to_owned(), Quantity("0".to_owned()));
    }
    wire
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
