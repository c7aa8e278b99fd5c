//! Removes what a run has created in a cluster, and nothing else, even if the run no longer exists.
//!
//! Our objects are recognized by marks, and the record (`record`) guarantees that nothing carried them before the run:
//! - what a run installs: label [`RUN`];
//! - the load: label `scaletest.bigfleet/workload`, in the namespace of the load;
//! - Nodes that kwok simulates, with their leases, and the Pods on them, whichever client created them: they never ran;
//! - custom resources: they are removed with their kinds;
//! - the taint on real Nodes: its key.

use std::collections::BTreeSet;

use component::apiserver;
use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::RUN;
use super::guard::is_fake;
use super::left::Left;
use crate::{Error, verify};
use harness_model::plan::template;

/// Requests in flight.
const CONCURRENCY: usize = 32;
/// How many objects of a kind are listed in one round.
const LOOKED_AT: u32 = 500;
/// Namespace in which kubelets, and kwok in their place, keep the leases of their Nodes.
const NODE_LEASES: &str = "kube-node-lease";

/// How much is removed.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// Everything that carries a mark.
    Everything,
    /// Only what carries the label of a run.
    Installed,
}

/// Requests the deletion of everything that is there. Returns what there was.
pub(super) async fn round(client: &Client, extent: Extent) -> Result<Vec<Left>, Error> {
    match extent {
        Extent::Everything => everything(client).await,
        Extent::Installed => installed(client).await,
    }
}

async fn everything(client: &Client) -> Result<Vec<Left>, Error> {
    let mut left = Vec::new();
    // Creators of Pods are removed before Pods.
    let load = Api::<PodDisruptionBudget>::namespaced(client.clone(), template::NAMESPACE);
    left.extend(labelled(load, api::names::WORKLOAD, None).await?);
    let load = Api::<Deployment>::namespaced(client.clone(), template::NAMESPACE);
    left.extend(labelled(load, api::names::WORKLOAD, None).await?);
    let load = Api::<StatefulSet>::namespaced(client.clone(), template::NAMESPACE);
    left.extend(labelled(load, api::names::WORKLOAD, None).await?);
    let load = Api::<ReplicaSet>::namespaced(client.clone(), template::NAMESPACE);
    left.extend(labelled(load, api::names::WORKLOAD, None).await?);
    let load = Api::<ControllerRevision>::namespaced(client.clone(), template::NAMESPACE);
    left.extend(labelled(load, api::names::WORKLOAD, None).await?);
    // Without a grace period: nothing acts as their kubelet any more.
    let load = Api::<Pod>::namespaced(client.clone(), template::NAMESPACE);
    left.extend(labelled(load, api::names::WORKLOAD, Some(0)).await?);
    left.extend(nodes(client).await?);
    left.extend(installed(client).await?);
    Ok(left)
}

/// Removes what a run installs, by its label; custom resources are removed with their kinds.
async fn installed(client: &Client) -> Result<Vec<Left>, Error> {
    let mut left = Vec::new();
    for resource in installed_kinds() {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        left.extend(labelled_as(api, &resource.kind, RUN, None).await?);
    }
    Ok(left)
}

/// Returns the kinds in the order of their removal: bindings before what they bind.
fn installed_kinds() -> [ApiResource; 8] {
    [
        ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()),
        ApiResource::erase::<ValidatingAdmissionPolicy>(&()),
        ApiResource::erase::<ClusterRoleBinding>(&()),
        ApiResource::erase::<ClusterRole>(&()),
        ApiResource::erase::<FlowSchema>(&()),
        ApiResource::erase::<PriorityLevelConfiguration>(&()),
        ApiResource::erase::<PriorityClass>(&()),
        ApiResource::erase::<CustomResourceDefinition>(&()),
    ]
}

async fn labelled<K>(api: Api<K>, label: &str, grace: Option<u32>) -> Result<Vec<Left>, Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    labelled_as(api, &K::kind(&()), label, grace).await
}

/// Requests the deletion of everything with the label. Returns what there was.
async fn labelled_as<K>(api: Api<K>, kind: &str, label: &str, grace: Option<u32>) -> Result<Vec<Left>, Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let selected = ListParams::default().labels(label);
    let failed = |e: kube::Error| Error::Environment(format!("removing every {kind} of ours: {e}"));
    let found = match api.list_metadata(&ListParams { limit: Some(LOOKED_AT), ..selected.clone() }).await {
        // A kind that the apiserver does not know has no objects.
        Err(error) if verify::is_not_found(&error) => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    if found.items.is_empty() {
        return Ok(Vec::new());
    }
    let params = DeleteParams { grace_period_seconds: grace, ..DeleteParams::background() };
    api.delete_collection(&params, &selected).await.map_err(failed)?;
    Ok(found.items.iter().map(|object| Left::of(kind, &object.metadata)).collect())
}

/// Removes the Nodes that kwok simulates with everything that depends on them, and the taint on the others.
async fn nodes(client: &Client) -> Result<Vec<Left>, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let all = nodes.list(&ListParams::default()).await;
    let all = all.map_err(|e| Error::Environment(format!("listing Nodes: {e}")))?.items;
    let (fake, real): (Vec<Node>, Vec<Node>) = all.into_iter().partition(is_fake);
    let names: BTreeSet<String> = fake.iter().map(ResourceExt::name_any).collect();
    let mut left = Vec::new();
    left.extend(pods_on(client, &names).await?);
    remove_all(&nodes, fake.iter().map(|node| (node.name_any(), node.uid())), None).await?;
    left.extend(fake.iter().map(|node| Left::of("Node", &node.metadata)));
    left.extend(leases(client, &real).await?);
    for node in real.iter().filter(|node| verify::has_taint(node, RUN)) {
        untaint(&nodes, node).await?;
        left.push(Left::named("our taint on the Node", &node.name_any()));
    }
    Ok(left)
}

async fn pods_on(client: &Client, nodes: &BTreeSet<String>) -> Result<Vec<Left>, Error> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let all = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await;
    let all = all.map_err(|e| Error::Environment(format!("listing Pods: {e}")))?.items;
    let is_there = |pod: &&Pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        node.is_some_and(|node| nodes.contains(node))
    };
    let found: Vec<&Pod> = all.iter().filter(is_there).collect();
    let namespaces: BTreeSet<String> = found.iter().filter_map(|pod| pod.namespace()).collect();
    for namespace in &namespaces {
        let api = Api::<Pod>::namespaced(client.clone(), namespace);
        let there = found.iter().filter(|pod| pod.namespace().as_ref() == Some(namespace));
        remove_all(&api, there.map(|pod| (pod.name_any(), pod.uid())), Some(0)).await?;
    }
    Ok(found.iter().map(|pod| Left::of("Pod", &pod.metadata)).collect())
}

/// Removes the leases that kwok holds. A kubelet holds its Node's lease under the Node's name, kwok under its own name.
async fn leases(client: &Client, real: &[Node]) -> Result<Vec<Left>, Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), NODE_LEASES);
    let all = api.list(&ListParams::default()).await;
    let all = all.map_err(|e| Error::Environment(format!("listing leases of Nodes: {e}")))?.items;
    let is_ours = |lease: &&Lease| {
        let name = lease.name_any();
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let of_node = lease.owner_references().iter().any(|owner| owner.kind == "Node");
        of_node && holder.is_some_and(|holder| holder != name) && !real.iter().any(|n| n.name_any() == name)
    };
    let ours: Vec<&Lease> = all.iter().filter(is_ours).collect();
    remove_all(&api, ours.iter().map(|lease| (lease.name_any(), lease.uid())), None).await?;
    Ok(ours.iter().map(|lease| Left::of("Lease", &lease.metadata)).collect())
}

/// Removes objects by uid, so that an object that has taken a name in the meantime stays.
async fn remove_all<K>(
    api: &Api<K>,
    objects: impl Iterator<Item = (String, Option<String>)>,
    grace: Option<u32>,
) -> Result<(), Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let objects: Vec<(String, Option<String>)> = objects.collect();
    for some in objects.chunks(CONCURRENCY) {
        let removed = join_all(some.iter().map(|(name, uid)| remove(api, name, uid.clone(), grace))).await;
        removed.into_iter().collect::<Result<(), Error>>()?;
    }
    Ok(())
}

async fn remove<K>(api: &Api<K>, name: &str, uid: Option<String>, grace: Option<u32>) -> Result<(), Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let only_this = Preconditions { uid, resource_version: None };
    let params = DeleteParams {
        grace_period_seconds: grace,
        preconditions: Some(only_this),
        ..DeleteParams::background()
    };
    match api.delete(name, &params).await {
        Err(error) if !matches!(apiserver::code(&error), Some(404 | 409)) => {
            Err(Error::Environment(format!("removing {name}: {error}")))
        }
        _ => Ok(()),
    }
}

/// Sets the taint on the real Nodes, which keeps the load away from them. Pods that are already there stay.
pub(super) async fn taint(client: &Client, mark: &str) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let all = nodes.list(&ListParams::default()).await;
    let all = all.map_err(|e| Error::Environment(format!("listing Nodes: {e}")))?.items;
    for node in all.iter().filter(|node| !is_fake(node)) {
        let taint = json!({"key": RUN, "value": mark, "effect": "NoSchedule"});
        let mut taints = taints_but_ours(node);
        taints.push(taint);
        set_taints(&nodes, node, &json!(taints)).await?;
    }
    Ok(())
}

async fn untaint(nodes: &Api<Node>, node: &Node) -> Result<(), Error> {
    let taints = taints_but_ours(node);
    // Where there was no list, there is none afterwards.
    set_taints(nodes, node, &if taints.is_empty() { json!(null) } else { json!(taints) }).await
}

fn taints_but_ours(node: &Node) -> Vec<serde_json::Value> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    taints.filter(|taint| taint.key != RUN).map(|taint| json!(taint)).collect()
}

/// Sets the taints only if the Node has not changed in the meantime, because the list is replaced as a whole.
async fn set_taints(nodes: &Api<Node>, node: &Node, taints: &serde_json::Value) -> Result<(), Error> {
    let name = node.name_any();
    let mut seen = node.clone();
    loop {
        let patch = json!({
            "metadata": {"resourceVersion": seen.resource_version()},
            "spec": {"taints": taints},
        });
        match nodes.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(()),
            // kubelet writes to the Node too: our list is still valid if the taints are the same.
            Err(error) if apiserver::code(&error) == Some(409) => {
                let now = nodes.get(&name).await;
                let now = now.map_err(|e| Error::Environment(format!("reading the Node {name}: {e}")))?;
                if taints_but_ours(&now) != taints_but_ours(&seen) {
                    return Err(Error::Environment(format!(
                        "the taints of {name} changed at the same moment"
                    )));
                }
                seen = now;
            }
            Err(error) => {
                return Err(Error::Environment(format!("setting the taints of {name}: {error}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests;
    use harness_model::profile::fixtures_dir;

    #[test]
    fn every_kind_that_is_installed_is_swept() {
        let swept = installed_kinds().map(|resource| (resource.api_version, resource.kind));
        for file in manifests::files(&fixtures_dir()).unwrap() {
            for object in manifests::objects(&file).unwrap() {
                let types = object.types.clone().unwrap();
                let kind = (types.api_version, types.kind);
                assert!(swept.contains(&kind), "{} of {} would stay", object.name_any(), file.display());
                assert_eq!(object.namespace(), None, "{} is swept cluster-wide", object.name_any());
            }
        }
    }

    #[test]
    fn the_taints_of_others_stay_in_their_order() {
        let node: Node = serde_json::from_value(json!({"spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": RUN, "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]}}))
        .unwrap();
        let kept = taints_but_ours(&node);
        assert_eq!(
            json!(kept),
            json!([{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}])
        );
    }
}
