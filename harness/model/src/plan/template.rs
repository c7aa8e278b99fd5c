//! The Kubernetes objects of a plan.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Container, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinity,
    PodAffinityTerm, PodSpec, PodTemplateSpec, ResourceRequirements, TopologySpreadConstraint,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest, Sha256};

use super::Workload;
use crate::profile::{Archetype, Catalog, Kind, class_of};

/// Namespace of all workloads.
pub const NAMESPACE: &str = "default";
const IMAGE: &str = "registry.k8s.io/pause:3.10";

/// A workload object, ready to be created.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// For stateless archetypes.
    Deployment(Box<Deployment>),
    /// For stateful archetypes; without volumeClaimTemplates (ADR-0038).
    StatefulSet(Box<StatefulSet>),
}

/// Returns the object of a workload with that many replicas; a paced fill raises the number later.
pub fn manifest(catalog: &Catalog, workload: &Workload, replicas: u32) -> Manifest {
    let archetype = &catalog.archetypes[&workload.archetype];
    let template = pod_template(catalog, archetype, workload);
    let labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
    let metadata = ObjectMeta {
        name: Some(workload.name.clone()),
        namespace: Some(NAMESPACE.into()),
        labels,
        ..ObjectMeta::default()
    };
    let selector = select(api::names::WORKLOAD, &workload.name);
    let replicas = Some(i32::try_from(replicas).expect("replicas must fit an i32"));
    match workload.kind {
        Kind::Deployment => Manifest::Deployment(Box::new(Deployment {
            metadata,
            spec: Some(DeploymentSpec {
                replicas,
                // There are no roll-outs; an old ReplicaSet would only cost watches.
                revision_history_limit: Some(0),
                selector,
                template,
                ..DeploymentSpec::default()
            }),
            status: None,
        })),
        Kind::StatefulSet => Manifest::StatefulSet(Box::new(StatefulSet {
            metadata,
            spec: Some(StatefulSetSpec {
                replicas,
                revision_history_limit: Some(1),
                selector,
                // ADR-0038 uses the StatefulSet for its ordered semantics.
                pod_management_policy: Some("OrderedReady".into()),
                service_name: Some(workload.name.clone()),
                template,
                ..StatefulSetSpec::default()
            }),
            status: None,
        })),
    }
}

/// Returns a budget that lets that many Pods of a workload be down at once.
pub fn disruption_budget(workload: &Workload, max_unavailable: u32) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some(workload.name.clone()),
            namespace: Some(NAMESPACE.into()),
            // Used to find the budget when the load is removed.
            labels: Some([(api::names::WORKLOAD.to_owned(), workload.name.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(i32::try_from(max_unavailable).unwrap_or(i32::MAX))),
            selector: Some(select(api::names::WORKLOAD, &workload.name)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// Returns the Pod template of a workload, which all replicas share and no other object has.
pub fn pod_template(catalog: &Catalog, archetype: &Archetype, workload: &Workload) -> PodTemplateSpec {
    let mut labels = BTreeMap::from([
        (api::names::ARCHETYPE.to_owned(), workload.archetype.clone()),
        (api::names::WORKLOAD.to_owned(), workload.name.clone()),
    ]);
    labels.extend(workload.gang.iter().map(|gang| (api::names::GANG.to_owned(), gang.clone())));
    let penalties = [
        (api::names::INTERRUPTION_PENALTY, &archetype.interruption_penalty),
        (api::names::RECLAMATION_PENALTY, &archetype.reclamation_penalty),
    ];
    let annotations: BTreeMap<String, String> =
        penalties.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v.clone()?))).collect();
    let metadata = ObjectMeta {
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(pod_spec(catalog, archetype, workload)) }
}

fn pod_spec(catalog: &Catalog, archetype: &Archetype, workload: &Workload) -> PodSpec {
    let size = &archetype.sizes[workload.size];
    let requests: BTreeMap<String, Quantity> =
        size.requests.iter().map(|(k, v)| (k.clone(), Quantity(v.clone()))).collect();
    let spread = archetype.spread.as_ref().filter(|_| workload.spread).map(|s| {
        vec![TopologySpreadConstraint {
            // Selected by archetype: all its objects spread as one group.
            label_selector: Some(select(api::names::ARCHETYPE, &workload.archetype)),
            max_skew: s.max_skew,
            topology_key: api::names::ZONE.into(),
            when_unsatisfiable: s.when_unsatisfiable.as_str().into(),
            ..TopologySpreadConstraint::default()
        }]
    });
    PodSpec {
        affinity: Some(affinity(catalog, archetype, workload)),
        automount_service_account_token: Some(false),
        containers: vec![Container {
            name: "workload".into(),
            image: Some(IMAGE.into()),
            resources: Some(ResourceRequirements {
                limits: Some(requests.clone()),
                requests: Some(requests),
                ..ResourceRequirements::default()
            }),
            ..Container::default()
        }],
        enable_service_links: Some(false),
        priority_class_name: Some(class_of(archetype.priority)),
        scheduler_name: archetype.scheduler_name.clone(),
        // kwok terminates a Pod at once; the grace period only limits the wait if it does not.
        termination_grace_period_seconds: Some(1),
        topology_spread_constraints: spread,
        ..PodSpec::default()
    }
}

fn affinity(catalog: &Catalog, archetype: &Archetype, workload: &Workload) -> Affinity {
    let any_of = |key: &str, values: &[String]| NodeSelectorRequirement {
        key: key.to_owned(),
        operator: "In".into(),
        values: Some(values.to_vec()),
    };
    let term = NodeSelectorTerm {
        match_expressions: Some(vec![
            any_of(api::names::INSTANCE_TYPE, &archetype.instance_types),
            any_of(api::names::ZONE, &catalog.zones),
        ]),
        match_fields: None,
    };
    let gang = workload.gang.as_ref().zip(archetype.gang.as_ref());
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        pod_affinity: gang.map(|(name, gang)| PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![PodAffinityTerm {
                label_selector: Some(select(api::names::GANG, name)),
                topology_key: gang.scope.topology_key().into(),
                ..PodAffinityTerm::default()
            }]),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        pod_anti_affinity: None,
    }
}

fn select(label: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
        match_expressions: None,
    }
}

/// Returns the SHA-256 of the template's JSON, which has its keys in a fixed order.
pub fn fingerprint(template: &PodTemplateSpec) -> String {
    let json = serde_json::to_vec(template).expect("a Pod template must serialise");
    hex(&Sha256::digest(json))
}

/// Returns bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
