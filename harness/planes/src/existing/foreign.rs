//! Detects a foreign kwok that does not run as a Pod, by what it does.

use std::time::{Duration, Instant};

use component::apiserver;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::Error;

/// Name of the Node that no kwok should act on.
const PROBE: &str = "e2e-probe-unplayed";
/// How long the Node is watched. A running kwok acts within a tenth of this time.
const WATCHED: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(200);
/// Namespace of the leases with which kwok claims Nodes.
const NODE_LEASES: &str = "kube-node-lease";

/// Verifies that nothing acts as the kubelet of Nodes like ours, before our own kwok does.
pub(super) async fn refuse_kwok(client: &Client) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": PROBE, "annotations": {api::names::KWOK_NODE: api::names::KWOK_FAKE}},
        "spec": {"unschedulable": true, "taints": [{"key": PROBE, "effect": "NoSchedule"}]},
    }))
    .map_err(|e| Error::Internal(format!("the probe Node: {e}")))?;
    let failed = |what: &str, e: kube::Error| Error::Environment(format!("{what} the Node {PROBE}: {e}"));
    nodes.create(&PostParams::default(), &node).await.map_err(|e| failed("creating", e))?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NODE_LEASES);
    let begin = Instant::now();
    let mut player = None;
    while player.is_none() && begin.elapsed() < WATCHED {
        tokio::time::sleep(TICK).await;
        let lease = leases.get_opt(PROBE).await.map_err(|e| failed("reading the lease of", e))?;
        let node = nodes.get(PROBE).await.map_err(|e| failed("reading", e))?;
        player = played_by(&node, lease.as_ref());
    }
    match nodes.delete(PROBE, &DeleteParams::default()).await {
        Err(error) if !apiserver::is_gone(&error) => return Err(failed("removing", error)),
        _ => {}
    }
    match player {
        None => Ok(()),
        Some(who) => Err(Error::Usage(format!(
            "it cannot be used: another kwok ({who}) acts on Nodes with the annotation {}={}, and would act on ours too; \
             stop it first",
            api::names::KWOK_NODE,
            api::names::KWOK_FAKE
        ))),
    }
}

/// Returns who acted as the kubelet of a Node. The node-lifecycle-controller sets a Node without a kubelet to Unknown.
fn played_by(node: &Node, lease: Option<&Lease>) -> Option<String> {
    if let Some(lease) = lease {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        return Some(holder.unwrap_or_else(|| "it has a lease".to_owned()));
    }
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    is_ready.then(|| "it became Ready".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_the_lease_or_makes_it_ready_plays_it() {
        let node = |status: &str| -> Node {
            let ready = json!({"type": "Ready", "status": status});
            serde_json::from_value(json!({"status": {"conditions": [ready]}})).unwrap()
        };
        let lease = serde_json::from_value(json!({"spec": {"holderIdentity": "kwok-1"}})).unwrap();
        assert_eq!(played_by(&Node::default(), None), None);
        assert_eq!(played_by(&node("Unknown"), None), None, "the node-lifecycle-controller's word");
        assert!(played_by(&node("True"), None).is_some());
        assert_eq!(played_by(&Node::default(), Some(&lease)).as_deref(), Some("kwok-1"));
    }
}
