//! Reading the clusters' own accounts: declared replicas, an independent list of Pods, rights, and what the
//! shard thinks.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use component::slim::Pod;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::observe::{Ledger, Observer, scrape};
use crate::record::Event;
use crate::scenario::driver::Driver;

/// What node-creator must not be able to do (ADR-0023: zero responsibility for Pods).
const FORBIDDEN: [(&str, &str); 6] = [
    ("list", "pods"),
    ("watch", "pods"),
    ("get", "pods"),
    ("delete", "pods"),
    ("create", "pods/binding"),
    ("create", "pods/eviction"),
];

/// What is declared in a cluster: `spec.replicas` of every workload object, by name. `bare` are the drivers of
/// Pods without an owner, which no object declares: there it is what load-driver has in mind.
///
/// # Errors
/// When a list fails, or the driver does not answer.
pub async fn declared(
    observer: &Observer,
    cluster: &str,
    bare: &[Driver],
) -> anyhow::Result<BTreeMap<String, u64>> {
    if let Some(driver) = bare.iter().find(|d| d.cluster() == cluster) {
        let status = driver.status().await?;
        let declared = status.pointer("/counts/declared").and_then(Value::as_u64);
        let declared = declared.with_context(|| format!("load-driver's status has no count: {status}"))?;
        return Ok(BTreeMap::from([("bare Pods".to_owned(), declared)]));
    }
    let client = observer.client(cluster).context("no client")?;
    let mut replicas = BTreeMap::new();
    let count = |n: Option<i32>| u64::try_from(n.unwrap_or(1)).unwrap_or_default();
    let all = ListParams::default();
    for object in Api::<Deployment>::all(client.clone()).list(&all).await.context("listing Deployments")? {
        replicas.insert(object.name_any(), count(object.spec.and_then(|s| s.replicas)));
    }
    for object in Api::<StatefulSet>::all(client.clone()).list(&all).await.context("listing StatefulSets")? {
        replicas.insert(object.name_any(), count(object.spec.and_then(|s| s.replicas)));
    }
    Ok(replicas)
}

/// Compares a cluster's ledger with a list of its Pods. Only Pods that neither the ledger of before nor that
/// of after the list knows to be there (or gone) are reported, because Pods come and go meanwhile.
///
/// # Errors
/// When the list fails.
pub async fn ledger_check(observer: &Observer, cluster: &str) -> anyhow::Result<Event> {
    let client = observer.client(cluster).context("no client")?;
    let before = present(&*observer.ledger(cluster).context("no ledger")?);
    let load = ListParams::default().fields(api::names::LOAD_PODS);
    let list = Api::<Pod>::all(client.clone()).list(&load).await.context("listing Pods")?;
    let listed: HashMap<String, String> =
        list.into_iter().filter_map(|p| Some((p.uid()?, p.name_any()))).collect();
    // What the watch still has in the queue arrives within a moment.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let after = present(&*observer.ledger(cluster).context("no ledger")?);
    let unknown = listed.iter().filter(|(uid, _)| !before.contains_key(*uid) && !after.contains_key(*uid));
    let vanished = before.iter().filter(|(uid, _)| after.contains_key(*uid) && !listed.contains_key(*uid));
    let names = |(_, name): (&String, &String)| name.clone();
    Ok(Event::LedgerCheck {
        cluster: cluster.to_owned(),
        unknown: unknown.map(names).collect(),
        vanished: vanished.map(names).collect(),
    })
}

fn present(ledger: &Ledger) -> HashMap<String, String> {
    let here = ledger.pods().filter(|p| p.gone_us.is_none());
    here.map(|p| (p.uid.clone(), p.name.clone())).collect()
}

/// Asks the apiserver what node-creator may do with Pods. `admin` needs the right to ask.
///
/// # Errors
/// When a review fails.
pub async fn node_creator_rights(admin: &Client, cluster: &str) -> anyhow::Result<Vec<Event>> {
    let api = Api::<SubjectAccessReview>::all(admin.clone());
    let user = "e2e:node-creator";
    let mut events = Vec::new();
    for (verb, resource) in FORBIDDEN {
        let (kind, subresource) = resource.split_once('/').map_or((resource, None), |(k, s)| (k, Some(s)));
        let attributes = ResourceAttributes {
            namespace: Some("default".into()),
            verb: Some(verb.into()),
            resource: Some(kind.into()),
            subresource: subresource.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.into()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await.context("reviewing access")?;
        events.push(Event::Access {
            cluster: cluster.to_owned(),
            user: user.to_owned(),
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            allowed: answer.status.is_some_and(|s| s.allowed),
        });
    }
    Ok(events)
}

/// The shard's own account of needs and machines.
///
/// # Errors
/// When the shard does not answer, or not in JSON.
pub async fn shard(shard_http: &str) -> anyhow::Result<Event> {
    let get = async |path: &str| -> anyhow::Result<Value> {
        let text = scrape::get(&format!("{shard_http}{path}")).await?;
        serde_json::from_str(&text).with_context(|| format!("reading the shard's {path}"))
    };
    let needs = get("/debug/needs").await?;
    let mut machines = BTreeMap::new();
    for machine in get("/debug/machines").await?.as_array().into_iter().flatten() {
        let state = machine.get("state").and_then(Value::as_str).unwrap_or("unknown");
        *machines.entry(state.to_owned()).or_insert(0_u64) += 1;
    }
    Ok(Event::ShardAccount { needs, machines })
}
