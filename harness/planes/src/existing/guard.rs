//! What prevents the use of a cluster: anything that a run would collide with or would harm.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};

use super::record::NAMESPACE;
use super::{ADOPTED, RUN, policy};
use crate::spec::ClusterSpec;
use crate::{Error, manifests, verify};
use harness_model::plan::template;

/// Node label of kubeadm's control planes.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// Labels that our Nodes may have: a selector with any other label matches none of them.
const LABELS_OF_MACHINES: [&str; 5] = [
    api::names::INSTANCE_TYPE,
    api::names::ZONE,
    api::names::RACK,
    api::names::ARCHETYPE,
    api::names::CREATED_BY,
];
/// How many objects of one kind are named.
const NAMED: usize = 3;

/// Refuses what only the owner can decide: flags of components, and whether there is a scheduler.
pub(super) fn refuse_what_is_not_ours_to_set(spec: &ClusterSpec) -> Result<(), Error> {
    if !spec.run_scheduler {
        return Err(Error::Usage(
            "pod-shim cannot bind in an existing cluster: its own kube-scheduler binds there".to_owned(),
        ));
    }
    if let Some(component) = spec.extra_flags.keys().next() {
        return Err(Error::Usage(format!("{component} of an existing cluster cannot be given flags")));
    }
    Ok(())
}

/// Returns the cluster's identity, and whether its owner consents.
pub(super) async fn identity(client: &Client) -> Result<(String, bool), Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get_metadata(NAMESPACE).await;
    let found = found.map_err(|e| Error::Environment(format!("reading the Namespace {NAMESPACE}: {e}")))?;
    let adopted = found.labels().get(ADOPTED).is_some_and(|value| value == "true");
    Ok((found.uid().unwrap_or_default(), adopted))
}

/// Verifies that the client, which impersonates one of our identities, is allowed to do so.
pub(super) async fn may_act_for_ours(acting: &Client, who: &str) -> Result<(), Error> {
    match acting.apiserver_version().await {
        Err(error) if component::apiserver::code(&error) == Some(403) => Err(Error::Usage(format!(
            "the kubeconfig's user may impersonate {who}, but not the identities of a run (e2e:observer and others): \
             {error}; give a kubeconfig without `as`, whose own user has all rights"
        ))),
        Err(error) => Err(Error::Environment(format!("impersonating e2e:observer: {error}"))),
        Ok(_) => Ok(()),
    }
}

/// Describes all obstacles; there are none if the cluster can be used. The cluster must not be in use.
pub(super) async fn obstacles(client: &Client, fixtures: &Path) -> Result<Vec<String>, Error> {
    if !verify::may(client, "*", "*", "*").await? {
        return Ok(vec![
            "the kubeconfig's user does not have all rights (cluster-admin): objects are created and \
                        identities impersonated cluster-wide"
                .to_owned(),
        ]);
    }
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: kube::Error| Error::Environment(format!("listing {what}: {error}"))
    };
    let all = ListParams::default();
    let nodes = Api::<Node>::all(client.clone()).list(&all).await.map_err(failed("Nodes"))?.items;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await.map_err(failed("Pods"))?.items;
    let daemons = Api::<DaemonSet>::all(client.clone()).list(&all).await.map_err(failed("DaemonSets"))?.items;
    let mut found = taken_names(client, fixtures).await?;
    found.extend(policy::obstacles(client).await?);
    found.extend(load(client).await?);
    found.extend(of_nodes(&nodes));
    found.extend(of_pods(&pods));
    let reaching = daemons.iter().filter(|set| reaches_machines(set)).map(full_name);
    found.extend(told("DaemonSets that would put a Pod on each of our Nodes", reaching));
    Ok(found)
}

/// Finds objects that have the names of those that a run installs, but were not created by a run.
async fn taken_names(client: &Client, fixtures: &Path) -> Result<Vec<String>, Error> {
    let mut taken = Vec::new();
    for manifest in manifests::files(fixtures)? {
        for object in manifests::objects(&manifest)? {
            let name = object.name_any();
            let failed = |why: String| Error::Environment(format!("looking for {name}: {why}"));
            let Some(resource) = manifests::resource_of(client, &object).await.map_err(failed)? else {
                taken.push(format!(
                    "{name}: the apiserver does not know its kind (Kubernetes 1.30 or newer does)"
                ));
                continue;
            };
            let api = manifests::api_of(client, &object, &resource);
            let there = api.get_metadata_opt(&name).await.map_err(|e| failed(e.to_string()))?;
            if there.is_some_and(|there| !there.labels().contains_key(RUN)) {
                taken.push(format!("{} {name}", resource.kind));
            }
        }
    }
    Ok(told("objects that a run would make, and that it has not made", taken.into_iter())
        .into_iter()
        .collect())
}

/// Finds workloads that look like those of load-driver.
async fn load(client: &Client) -> Result<Option<String>, Error> {
    let mut found: Vec<String> = Vec::new();
    found.extend(labelled::<Deployment>(client).await?);
    found.extend(labelled::<StatefulSet>(client).await?);
    found.extend(labelled::<ReplicaSet>(client).await?);
    found.extend(labelled::<PodDisruptionBudget>(client).await?);
    Ok(told("workloads of another scale test", found.into_iter()))
}

async fn labelled<K>(client: &Client) -> Result<Vec<String>, Error>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), template::NAMESPACE);
    let found = api.list_metadata(&ListParams::default().labels(api::names::WORKLOAD)).await;
    let found = found.map_err(|e| Error::Environment(format!("listing {}: {e}", K::plural(&()))))?.items;
    Ok(found
        .iter()
        .map(|one: &PartialObjectMeta<K>| format!("{} {}", K::kind(&()), full_name(one)))
        .collect())
}

fn of_nodes(nodes: &[Node]) -> Vec<String> {
    let (fake, real): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(|node| is_fake(node));
    let workers = real.iter().filter(|node| !node.labels().contains_key(CONTROL_PLANE));
    let mut found = Vec::new();
    found.extend(told("Nodes that a kwok acts on already", fake.iter().map(|node| node.name_any())));
    let what = format!("real Nodes without the label {CONTROL_PLANE}, which would count as machines");
    found.extend(told(&what, workers.map(|node| node.name_any())));
    found
}

/// Whether kwok acts as the kubelet of a Node.
pub(super) fn is_fake(node: &Node) -> bool {
    node.annotations().get(api::names::KWOK_NODE).is_some_and(|value| value == api::names::KWOK_FAKE)
}

fn of_pods(pods: &[Pod]) -> Vec<String> {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    let lives = |pod: &&Pod| !matches!(phase(pod).as_str(), "Succeeded" | "Failed");
    let is_bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    let is_kwok = |pod: &&Pod| {
        let images = pod.spec.iter().flat_map(|s| &s.containers).filter_map(|c| c.image.as_deref());
        images.into_iter().any(|image| image.contains("/kwok:"))
    };
    let live: Vec<&Pod> = pods.iter().filter(lives).collect();
    let elsewhere = live.iter().filter(|pod| pod.namespace().as_deref() != Some(NAMESPACE));
    let waiting = live.iter().filter(|pod| pod.namespace().as_deref() == Some(NAMESPACE) && !is_bound(pod));
    let mut found = Vec::new();
    found.extend(told(
        "Pods outside of kube-system, which would count as load",
        elsewhere.map(|pod| full_name(*pod)),
    ));
    found.extend(told(
        "Pods that wait for a Node, and would get one of ours",
        waiting.map(|pod| full_name(*pod)),
    ));
    let kwoks = live.iter().filter(|pod| is_kwok(pod));
    found.extend(told("a kwok, which would act on our Nodes too", kwoks.map(|pod| full_name(*pod))));
    found
}

/// Whether a DaemonSet's Pods may be scheduled to our Nodes. Affinities are not evaluated, so they never rule it out.
fn reaches_machines(set: &DaemonSet) -> bool {
    let spec = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let selector = spec.and_then(|spec| spec.node_selector.as_ref());
    selector.is_none_or(|keys| keys.keys().all(|key| LABELS_OF_MACHINES.contains(&key.as_str())))
}

pub(super) fn full_name(object: &impl ResourceExt) -> String {
    let name = object.name_any();
    object.namespace().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"))
}

/// Formats `WHAT: a, b, c and N more`; `None` if there are no names.
pub(super) fn told(what: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let names: BTreeSet<String> = names.collect();
    let more = names.len().saturating_sub(NAMED);
    let named: Vec<String> = names.into_iter().take(NAMED).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!named.is_empty()).then(|| format!("{what}: {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, labels: &Value, annotations: &Value) -> Node {
        let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn a_control_plane_alone_is_no_obstacle() {
        let labels = json!({CONTROL_PLANE: ""});
        assert!(of_nodes(&[node("real", &labels, &json!({}))]).is_empty());
        let found = of_nodes(&[
            node("w", &json!({}), &json!({})),
            node("f", &json!({}), &json!({api::names::KWOK_NODE: "fake"})),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("already: f") && found[1].ends_with("machines: w"), "{found:?}");
    }

    fn pod(namespace: &str, node: Option<&str>, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": namespace},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "registry/kwok:v0.8.0"}]},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn pods_that_would_be_load_or_come_to_our_nodes_are_obstacles() {
        assert!(of_pods(&[pod("default", Some("n"), "Succeeded")]).is_empty(), "it is over");
        let found = of_pods(&[pod("default", Some("n"), "Running")]);
        assert!(found[0].contains("count as load: default/p") && found[1].contains("a kwok"), "{found:?}");
        let found = of_pods(&[pod("kube-system", None, "Pending")]);
        assert!(found[0].contains("wait for a Node"), "{found:?}");
    }

    #[test]
    fn a_daemon_set_reaches_our_nodes_unless_it_asks_for_what_they_lack() {
        let set = |selector: Value| -> DaemonSet {
            let template = json!({"metadata": {}, "spec": {"containers": [], "nodeSelector": selector}});
            serde_json::from_value(json!({"spec": {"selector": {}, "template": template}})).unwrap()
        };
        assert!(reaches_machines(&set(Value::Null)));
        assert!(reaches_machines(&set(json!({api::names::ZONE: "a"}))));
        assert!(!reaches_machines(&set(json!({"kubernetes.io/os": "linux"}))));
    }

    #[test]
    fn a_long_list_is_cut() {
        let names = (0..5).map(|n| format!("n{n}"));
        assert_eq!(told("Nodes", names).unwrap(), "Nodes: n0, n1, n2 and 2 more");
        assert_eq!(told("Nodes", std::iter::empty()), None);
    }
}
