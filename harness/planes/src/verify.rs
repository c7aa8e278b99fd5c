//! Proof that a control plane works, by using it: health, rights, settings read back, and one probe each
//! for kwok and for KCM's garbage collector.

use std::collections::BTreeMap;
use std::time::Duration;

use component::apiserver;
use component::poll::{self, Look};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Error;
use super::http::get_text;
use harness_model::scheduler_config;

/// Name of every object that is created as a probe.
pub(super) const PROBE: &str = "e2e-probe";
/// Key of the settings in KCM's `/configz`.
const KCM_CONFIGZ: &str = "kubecontrollermanager.config.k8s.io";
/// The taint that the admission plugin TaintNodesByCondition sets on a new Node.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const TICK: Duration = Duration::from_millis(50);

/// Longest time for one step, however loaded the machine is; only a fault takes this long.
pub const CEILING: Duration = Duration::from_secs(90);

/// How long a component may treat all clients as anonymous: it learns from the apiserver which certificates to trust,
/// and if the apiserver came up later, it answers before it has (ConfigMap `extension-apiserver-authentication`).
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// Waits until `path` answers 2xx. `ended` returns how the component ended, if it did.
///
/// # Errors
/// When the component ended or the ceiling passed.
pub async fn healthy(
    what: &str,
    client: &Client,
    path: &str,
    ended: impl Fn() -> Option<String>,
) -> Result<(), Error> {
    let ended = &ended;
    let goal = format!("{what} to answer {path}");
    let waited = poll::until(&goal, TICK, CEILING, || async move {
        if let Some(how) = ended() {
            return Look::Never(how);
        }
        match get_text(client, path).await {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::NotYet(error.to_string()),
        }
    });
    waited.await.map_err(environment)
}

/// Whether the client's identity may `verb` the resource (`group` is empty for core), cluster-wide.
///
/// # Errors
/// When the review cannot be created.
pub async fn may(client: &Client, verb: &str, group: &str, resource: &str) -> Result<bool, Error> {
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .map_err(|e| Error::Environment(format!("asking whether {verb} {resource} is allowed: {e}")))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Waits until the identity has the right: RBAC objects take a moment to reach the authorizer's cache.
///
/// # Errors
/// When it does not get the right in time.
pub async fn has_right(
    who: &str,
    client: &Client,
    verb: &str,
    group: &str,
    resource: &str,
) -> Result<(), Error> {
    let goal = format!("{who} to be allowed to {verb} {resource}");
    let waited = poll::until(&goal, TICK, CEILING, || async {
        match may(client, verb, group, resource).await {
            Ok(true) => Look::Ready(()),
            Ok(false) => Look::NotYet("denied".to_owned()),
            Err(error) => Look::NotYet(error.to_string()),
        }
    });
    waited.await.map_err(environment)
}

/// Returns kube-scheduler's running configuration, after comparing it with what was requested.
///
/// # Errors
/// When it cannot be read or differs.
pub async fn scheduler_configuration(client: &Client, asked: &Value) -> Result<Value, Error> {
    let running = configz(client, "kube-scheduler", "componentconfig").await?;
    match scheduler_config::differences(asked, &running, "").as_slice() {
        [] => Ok(json!({
            "clientConnection": running["clientConnection"],
            "leaderElection": running["leaderElection"]["leaderElect"],
            "parallelism": running["parallelism"],
            "percentageOfNodesToScore": running["percentageOfNodesToScore"],
            "podInitialBackoffSeconds": running["podInitialBackoffSeconds"],
            "podMaxBackoffSeconds": running["podMaxBackoffSeconds"],
            "profiles": running["profiles"],
        })),
        found => {
            Err(Error::Environment(format!("kube-scheduler runs with other settings: {}", found.join("; "))))
        }
    }
}

/// Returns kube-controller-manager's running settings, and their differences from what was requested (`/configz` path
/// to value).
///
/// # Errors
/// When they cannot be read.
pub async fn kcm_configuration(
    client: &Client,
    asked: &BTreeMap<&str, Value>,
) -> Result<(Value, Vec<String>), Error> {
    let running = configz(client, "kube-controller-manager", KCM_CONFIGZ).await?;
    let mut wrong = Vec::new();
    let mut recorded = serde_json::Map::new();
    for (path, value) in asked {
        let found = running.pointer(path).unwrap_or(&Value::Null);
        wrong.extend(scheduler_config::differences(value, found, path));
        recorded.insert((*path).to_owned(), found.clone());
    }
    if !wrong.is_empty() {
        tracing::debug!(%running, "settings of kube-controller-manager");
    }
    Ok((Value::Object(recorded), wrong))
}

/// Verifies that kube-controller-manager runs these controllers, with or without others.
///
/// # Errors
/// When its settings cannot be read, or a controller is missing.
pub async fn kcm_controllers(client: &Client, wanted: &[String]) -> Result<(), Error> {
    let running = configz(client, "kube-controller-manager", KCM_CONFIGZ).await?;
    let listed = running.pointer("/Generic/Controllers").cloned().unwrap_or_default();
    let listed: Vec<String> = serde_json::from_value(listed).unwrap_or_default();
    let lacking = lacking(wanted, &listed);
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::Environment(format!(
        "kube-controller-manager runs without {}; start it with them (its --controllers are {})",
        lacking.join(", "),
        listed.join(",")
    )))
}

/// Returns what a list of `--controllers` leaves out. `*` stands for all that are on by default, which includes those
/// wanted here.
fn lacking<'a>(wanted: &'a [String], listed: &[String]) -> Vec<&'a str> {
    let has = |name: &str| listed.iter().any(|listed| listed == name);
    let runs = |name: &str| has(name) || (has("*") && !has(&format!("-{name}")));
    wanted.iter().map(String::as_str).filter(|name| !runs(name)).collect()
}

async fn configz(client: &Client, what: &str, key: &str) -> Result<Value, Error> {
    let goal = format!("{what} to show its settings (/configz)");
    let text = poll::until(&goal, TICK, KNOWN_WITHIN, || async move {
        match get_text(client, "/configz").await {
            Ok(text) => Look::Ready(text),
            Err(error) if matches!(apiserver::code(&error), Some(401 | 403)) => {
                Look::NotYet(error.to_string())
            }
            Err(error) => Look::Never(error.to_string()),
        }
    });
    let text = text.await.map_err(environment)?;
    let mut all: Value = serde_json::from_str(&text)
        .map_err(|e| Error::Environment(format!("/configz of {what} is not JSON: {e}")))?;
    match all.get_mut(key) {
        Some(config) => Ok(config.take()),
        None => Err(Error::Environment(format!("/configz of {what} has no {key:?}: {}", shortened(&text)))),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Verifies that kwok acts as the kubelet: a probe Node becomes Ready, and is then removed.
///
/// # Errors
/// When it does not become Ready in time.
pub async fn kwok_plays_nodes(client: &Client, ended: impl Fn() -> Option<String>) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": PROBE, "annotations": {api::names::KWOK_NODE: api::names::KWOK_FAKE}},
        // Nothing must be scheduled here.
        "spec": {"unschedulable": true, "taints": [{"key": PROBE, "effect": "NoSchedule"}]},
        "status": {"allocatable": {"pods": "0"}, "capacity": {"pods": "0"}},
    }))
    .map_err(|e| Error::Internal(format!("the probe Node: {e}")))?;
    nodes
        .create(&PostParams::default(), &node)
        .await
        .map_err(|e| Error::Environment(format!("creating the probe Node {PROBE}: {e}")))?;
    let (nodes, ended) = (&nodes, &ended);
    let waited = poll::until("kwok to make the probe Node Ready", TICK, CEILING, || async move {
        if let Some(how) = ended() {
            return Look::Never(how);
        }
        match nodes.get(PROBE).await {
            // The apiserver sets the taint, and nothing removes it: no Pod would ever be bound.
            Ok(node) if is_ready(&node) && has_taint(&node, NOT_READY) => Look::NotYet(format!(
                "Ready, but the taint {NOT_READY} stays: switch the admission plugin \
                    TaintNodesByCondition off, or run the node-lifecycle-controller"
            )),
            Ok(node) if is_ready(&node) => Look::Ready(()),
            Ok(node) => Look::NotYet(format!("{:?}", node.status.and_then(|s| s.conditions))),
            Err(error) => Look::NotYet(error.to_string()),
        }
    });
    waited.await.map_err(environment)?;
    delete(nodes, PROBE).await
}

pub(super) fn has_taint(node: &Node, key: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == key)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Verifies that KCM collects CapacityRequests whose owner is gone. It rediscovers kinds only every 30 s, so the first
/// orphans of a custom resource that it does not know yet would remain. Returns false if there is no such kind.
///
/// # Errors
/// When the probe still exists at the end.
pub async fn orphans_are_collected(
    client: &Client,
    ended: impl Fn() -> Option<String>,
) -> Result<bool, Error> {
    let requests: Api<api::CapacityRequest> = Api::namespaced(client.clone(), "default");
    let probe: api::CapacityRequest = serde_json::from_value(json!({
        "apiVersion": "bigfleet.lucy.sh/v1alpha1", "kind": "CapacityRequest",
        "metadata": {"name": PROBE, "ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": "e2e-never-was", "uid": "00000000-0000-0000-0000-000000000000"}]},
        "spec": {"resources": {"cpu": "1"}, "priority": 0},
    }))
    .map_err(|e| Error::Internal(format!("the probe CapacityRequest: {e}")))?;
    match requests.create(&PostParams::default(), &probe).await {
        Ok(_) => {}
        Err(error) if is_not_found(&error) => return Ok(false),
        Err(error) => {
            return Err(Error::Environment(format!("creating the probe CapacityRequest {PROBE}: {error}")));
        }
    }
    let (requests, ended) = (&requests, &ended);
    let waited = poll::until("KCM to collect the probe CapacityRequest", TICK, CEILING, || async move {
        if let Some(how) = ended() {
            return Look::Never(how);
        }
        match requests.get_metadata(PROBE).await {
            Err(error) if is_not_found(&error) => Look::Ready(()),
            Err(error) => Look::NotYet(error.to_string()),
            Ok(_) => Look::NotYet("still there".to_owned()),
        }
    });
    waited.await.map_err(environment)?;
    Ok(true)
}

async fn delete(nodes: &Api<Node>, name: &str) -> Result<(), Error> {
    match nodes.delete(name, &DeleteParams::default()).await {
        Err(error) if !is_not_found(&error) => {
            Err(Error::Environment(format!("deleting the probe Node {name}: {error}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn environment(error: poll::Error) -> Error {
    Error::Environment(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_all_that_are_not_taken_out() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wanted = list(&["deployment-controller", "statefulset-controller"]);
        assert!(lacking(&wanted, &list(&["*", "token-cleaner-controller"])).is_empty());
        assert_eq!(lacking(&wanted, &list(&["*", "-deployment-controller"])), ["deployment-controller"]);
        assert_eq!(lacking(&wanted, &list(&["deployment-controller"])), ["statefulset-controller"]);
    }
}
