//! What node-creator may do, and what happens when it lacks a right.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};
use api::UpcomingNode;
use component::apiserver;
use component::poll::{self, Look};
use k8s_openapi::api::authorization::v1::{ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, EvictParams, ListParams, PostParams};
use kube::{Api, Client, Error};
use serde_json::{Value, json};

use crate::plane::{CEILING, Plane, TICK};
use crate::program::Program;

/// Its role, created from `fixtures/rbac/node-creator.yaml`.
const ROLE: &str = "e2e:node-creator";
/// Resources by which Pods are read, created, bound, changed or removed.
const PODS: [&str; 2] = ["pods", "bindings"];

/// ADR-0023: "zero responsibility for Pods". No rule of the identity names them, each real attempt is refused, and
/// node-creator does its work nevertheless.
pub async fn works_without_any_verb_on_pods() -> anyhow::Result<()> {
    let plane = Plane::lease(false).await?;
    let identity = plane.as_node_creator().await?;
    no_rule_names_pods(&identity).await?;
    every_attempt_is_refused(&identity).await?;
    let mut creator = plane.node_creator(&[])?;
    creator.start().await?;
    plane.machines(&["m-1".to_owned()]).await?;
    plane.wait_for_nodes("the Node of m-1", |nodes| nodes.contains_key("m-1")).await?;
    let name = api::names::upcoming_node_name("m-1");
    Api::<UpcomingNode>::all(plane.admin.clone()).delete(&name, &DeleteParams::default()).await?;
    plane.wait_for_nodes("the Node of m-1 to go", |nodes| nodes.is_empty()).await?;
    plane.release().await
}

/// Checks all rules that apply to the identity, whatever role and group they come from.
async fn no_rule_names_pods(identity: &Client) -> anyhow::Result<()> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some("default".to_owned()) },
        ..SelfSubjectRulesReview::default()
    };
    let answer = Api::all(identity.clone()).create(&PostParams::default(), &review).await?;
    let status = answer.status.context("the review of rules has no status")?;
    ensure!(!status.incomplete, "the review of rules is incomplete: {:?}", status.evaluation_error);
    let rules = status.resource_rules;
    ensure!(rules.iter().any(|rule| names(rule, &["nodes"])), "no rule names Nodes; were they read?");
    for rule in &rules {
        ensure!(!names(rule, &PODS), "a rule names Pods: {:?} on {:?}", rule.verbs, rule.resources);
    }
    Ok(())
}

/// Whether a rule names one of these resources, or a subresource of it.
fn names(rule: &ResourceRule, kinds: &[&str]) -> bool {
    rule.resources.iter().flatten().any(|resource| {
        let kind = resource.split('/').next().unwrap_or_default();
        kind == "*" || kinds.contains(&kind)
    })
}

async fn every_attempt_is_refused(identity: &Client) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(identity.clone(), "default");
    let post = PostParams::default();
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "none"}]}}))?;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "m-1"}});
    let bind = pods.create_subresource::<Value, Value>("binding", "p", &post, &binding).await;
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let attempts = [
        ("list", pods.list(&ListParams::default()).await.map(drop)),
        ("get", pods.get("p").await.map(drop)),
        ("create", pods.create(&post, &pod).await.map(drop)),
        ("bind", bind.map(drop)),
        ("patch", apiserver::patch::<Pod>(identity, Some("default"), "p", &label).await),
        ("evict", pods.evict("p", &EvictParams::default()).await.map(drop)),
        ("delete", pods.delete("p", &DeleteParams::default()).await.map(drop)),
    ];
    for (verb, answer) in attempts {
        match answer {
            Err(error) if apiserver::code(&error) == Some(403) => {}
            other => bail!("to {verb} Pods as node-creator: {other:?}, expected 403"),
        }
    }
    Ok(())
}

/// A refused deletion is counted, retried, and done once it is allowed.
pub async fn a_refused_deletion_is_told_and_retried() -> anyhow::Result<()> {
    let plane = Plane::lease(false).await?;
    let mut creator = plane.node_creator(&[])?;
    creator.start().await?;
    plane.machines(&["m-1".to_owned()]).await?;
    plane.wait_for_nodes("the Node of m-1", |nodes| nodes.contains_key("m-1")).await?;

    let roles: Api<ClusterRole> = Api::all(plane.admin.clone());
    let allowed = roles.get(ROLE).await.with_context(|| format!("reading the role {ROLE}"))?;
    let mut narrowed = allowed.clone();
    for rule in narrowed.rules.iter_mut().flatten() {
        rule.verbs.retain(|verb| verb != "delete");
    }
    roles.replace(ROLE, &PostParams::default(), &narrowed).await.context("narrowing the role")?;
    answered_with(&plane, 403).await?;
    let name = api::names::upcoming_node_name("m-1");
    Api::<UpcomingNode>::all(plane.admin.clone()).delete(&name, &DeleteParams::default()).await?;
    told(&creator, &["created", "cleanup_error"], &["cleanup_deleted"]).await?;
    ensure!(plane.node_uids().await?.contains_key("m-1"), "the Node is gone without the right to delete it");

    let widened = json!({"rules": allowed.rules});
    apiserver::patch::<ClusterRole>(&plane.admin, None, ROLE, &widened).await.context("widening the role")?;
    plane.wait_for_nodes("the Node of m-1 to go", |nodes| nodes.is_empty()).await?;
    told(&creator, &["cleanup_deleted"], &[]).await?;
    plane.release().await
}

/// Waits until the apiserver answers a deletion by node-creator with that code: it takes a moment until the authorizer
/// sees a changed role.
async fn answered_with(plane: &Plane, code: u16) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(plane.as_node_creator().await?);
    let nodes = &nodes;
    let what = format!("the deletion of a Node to be answered with {code}");
    poll::until(&what, TICK, CEILING, || async move {
        let answer: Result<(), Error> =
            nodes.delete("no-such-node", &DeleteParams::default()).await.map(drop);
        match answer {
            Err(error) if apiserver::code(&error) == Some(code) => Look::Ready(()),
            other => Look::NotYet(format!("{other:?}")),
        }
    })
    .await?;
    Ok(())
}

/// Waits until all `expected` outcomes were counted, and none of `never`.
async fn told(creator: &Program, expected: &[&str], never: &[&str]) -> anyhow::Result<()> {
    poll::until("node-creator's metrics to tell the outcome", TICK, CEILING, || async {
        let series = match creator.totals().await {
            Ok(series) => series,
            Err(error) => return Look::NotYet(format!("{error:#}")),
        };
        let counted = creator.kind.outcomes(&series).into_iter().filter(|(_, count)| *count > 0.0);
        let outcomes: BTreeSet<String> = counted.map(|(outcome, _)| outcome).collect();
        if let Some(wrong) = never.iter().find(|outcome| outcomes.contains(**outcome)) {
            return Look::Never(format!("it has counted {wrong}"));
        }
        match expected.iter().all(|outcome| outcomes.contains(*outcome)) {
            true => Look::Ready(()),
            false => Look::NotYet(format!("{outcomes:?}")),
        }
    })
    .await?;
    Ok(())
}
