//! What a foreign cluster admits: quotas, limits and admission that would refuse or change the load. The autoscaler
//! would be blamed for a load that is refused or changed.

use k8s_openapi::api::core::v1::{LimitRange, Node, Pod, ResourceQuota};
use kube::api::{ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::guard::told;
use crate::Error;
use harness_model::plan::template;

/// Resources that a load does not create: a quota on these alone is not an obstacle.
const BESIDE_THE_LOAD: [&str; 9] = [
    "configmaps",
    "secrets",
    "services",
    "persistentvolumeclaims",
    "requests.storage",
    "replicationcontrollers",
    "resourcequotas",
    "count/jobs.batch",
    "count/ingresses",
];
/// Name of the objects that are only asked about.
const PROBE: &str = "e2e-probe-admission";

/// Describes what would refuse or change the load.
pub(super) async fn obstacles(client: &Client) -> Result<Vec<String>, Error> {
    let quotas = list::<ResourceQuota>(client).await?;
    let limits = list::<LimitRange>(client).await?;
    let space = template::NAMESPACE;
    let mut found = Vec::new();
    found.extend(told(
        &format!("ResourceQuotas in the namespace {space}, which would cut the load short"),
        quotas.iter().filter(|quota| limits_the_load(quota)).map(ResourceExt::name_any),
    ));
    found.extend(told(
        &format!("LimitRanges in the namespace {space}, which would refuse Pods of the load or change them"),
        limits.iter().map(ResourceExt::name_any),
    ));
    found.extend(of_pods(client).await?);
    found.extend(of_nodes(client).await?);
    Ok(found)
}

async fn list<K>(client: &Client) -> Result<Vec<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), template::NAMESPACE);
    let all = api.list(&ListParams::default()).await;
    Ok(all.map_err(|e| Error::Environment(format!("listing {}: {e}", K::plural(&()))))?.items)
}

fn limits_the_load(quota: &ResourceQuota) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let is_beside = |key: &str| {
        let kind = |name: &str| name.strip_prefix("count/").unwrap_or(name).to_owned();
        // A kind may be followed by its group: `count/ingresses.networking.k8s.io`.
        BESIDE_THE_LOAD.iter().any(|one| kind(key) == kind(one) || kind(key).starts_with(&(kind(one) + ".")))
    };
    hard.into_iter().flatten().any(|(key, _)| !is_beside(key))
}

/// Returns a Pod like those of load-driver. The apiserver is asked what it would do with it, and creates none.
fn probe_pod() -> Value {
    let room = json!({"cpu": "100m", "memory": "64Mi"});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": PROBE, "labels": {api::names::WORKLOAD: PROBE}},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": [{"name": "workload", "image": "registry.k8s.io/pause:3.10",
                "resources": {"requests": room, "limits": room}}],
        },
    })
}

async fn of_pods(client: &Client) -> Result<Option<String>, Error> {
    let asked = probe_pod();
    let pod: Pod =
        serde_json::from_value(asked.clone()).map_err(|e| Error::Internal(format!("the probe Pod: {e}")))?;
    let api: Api<Pod> = Api::namespaced(client.clone(), template::NAMESPACE);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry, &pod).await {
        Ok(answer) => Ok(changes(&asked, &serde_json::to_value(&answer).unwrap_or_default())),
        Err(error) => refusal("Pods of the load", error).map(Some),
    }
}

async fn of_nodes(client: &Client) -> Result<Option<String>, Error> {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": PROBE, "annotations": {api::names::KWOK_NODE: api::names::KWOK_FAKE}},
    }))
    .map_err(|e| Error::Internal(format!("the probe Node: {e}")))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match Api::<Node>::all(client.clone()).create(&dry, &node).await {
        Ok(_) => Ok(None),
        Err(error) => refusal("Nodes of the load", error).map(Some),
    }
}

/// Returns the apiserver's refusal in its own words. Any other failure is an error.
fn refusal(what: &str, error: kube::Error) -> Result<String, Error> {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            Ok(format!("{what} would be refused: {}", status.message))
        }
        other => Err(Error::Environment(format!("asking whether {what} would be let in: {other}"))),
    }
}

/// Names the fields that admission has changed in a Pod, among those that decide where it is placed and what it uses.
fn changes(asked: &Value, answer: &Value) -> Option<String> {
    let containers = |pod: &Value| pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let of = |pod: &Value, path: &str| pod.pointer(path).cloned().unwrap_or_default();
    let mut found: Vec<&str> = Vec::new();
    if containers(asked) != containers(answer) || answer["spec"]["initContainers"].is_array() {
        found.push("containers");
    }
    let deciding = [
        ("resources", "/spec/containers/0/resources"),
        ("nodeSelector", "/spec/nodeSelector"),
        ("affinity", "/spec/affinity"),
        ("topologySpreadConstraints", "/spec/topologySpreadConstraints"),
        ("labels", "/metadata/labels"),
        ("overhead", "/spec/overhead"),
    ];
    found.extend(
        deciding.iter().filter(|(_, path)| of(asked, path) != of(answer, path)).map(|(name, _)| *name),
    );
    (!found.is_empty()).then(|| {
        format!("admission changes Pods of the load ({}), and this would be measured", found.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(hard: Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).unwrap()
    }

    #[test]
    fn a_quota_on_what_a_load_makes_is_an_obstacle() {
        for key in ["pods", "cpu", "requests.memory", "limits.cpu", "count/deployments.apps", "count/pods"] {
            assert!(limits_the_load(&quota(json!({"services": "5", key: "10"}))), "{key}");
        }
        // What GKE puts into `default` in addition to a limit of Pods.
        let beside = json!({"services": "5", "count/ingresses.networking.k8s.io": "5",
            "count/ingresses.extensions": "1", "count/jobs.batch": "5k", "services.loadbalancers": "1"});
        assert!(!limits_the_load(&quota(beside)));
    }

    #[test]
    fn a_pod_that_comes_back_as_it_was_with_defaults_is_unchanged() {
        let asked = probe_pod();
        let mut answer = asked.clone();
        answer["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/not-ready"}]);
        answer["spec"]["serviceAccountName"] = json!("default");
        answer["metadata"]["uid"] = json!("u");
        assert_eq!(changes(&asked, &answer), None);
    }

    #[test]
    fn a_pod_that_is_changed_is_told_by_what() {
        let asked = probe_pod();
        let with = |change: fn(&mut Value)| {
            let mut answer = probe_pod();
            change(&mut answer);
            changes(&asked, &answer).unwrap_or_default()
        };
        let sidecar = with(|pod| {
            pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "mesh"}));
        });
        assert!(sidecar.contains("(containers)"), "{sidecar}");
        let pinned = with(|pod| pod["spec"]["nodeSelector"] = json!({"pool": "a"}));
        assert!(pinned.contains("(nodeSelector)"), "{pinned}");
        let shrunk = with(|pod| pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("1"));
        assert!(shrunk.contains("(resources)"), "{shrunk}");
    }
}
