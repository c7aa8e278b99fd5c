//! Reads the clusters' own accounts: declared replicas, an independent list of Pods, rights, and the shard's view.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::Context;
use component::poll::{self, Look};
use component::slim::Pod;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::observe::{Ledger, Observer, scrape};
use crate::scenario::driver::Driver;
use harness_model::record::Event;

/// How far the watch may lag behind a list before what it has not shown counts as lost; more than any lag observed.
const WATCH_CATCHES_UP: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What node-creator must not be allowed to do (ADR-0023: zero responsibility for Pods).
const FORBIDDEN: [(&str, &str); 6] = [
    ("list", "pods"),
    ("watch", "pods"),
    ("get", "pods"),
    ("delete", "pods"),
    ("create", "pods/binding"),
    ("create", "pods/eviction"),
];

/// Returns what is declared in a cluster: `spec.replicas` of every workload object, by name. `bare` are the drivers of
/// Pods without an owner. No object declares these, so the number that load-driver aims at is used.
///
/// # Errors
/// When a list fails, or the driver does not answer.
pub async fn declared(
    observer: &Observer,
    cluster: &str,
    bare: &[Driver],
) -> anyhow::Result<BTreeMap<String, u64>> {
    if let Some(driver) = bare.iter().find(|d| d.cluster() == cluster) {
        let declared = driver.counts().await?.declared;
        return Ok(BTreeMap::from([("bare Pods".to_owned(), u64::from(declared))]));
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

/// Compares a cluster's ledger with a list of its Pods. Pods come and go meanwhile, and the watch may lag behind the
/// list: whatever it explains within ten seconds is not a difference.
///
/// # Errors
/// When the list fails.
pub async fn ledger_check(observer: &Observer, cluster: &str) -> anyhow::Result<Event> {
    let client = observer.client(cluster).context("no client")?;
    let ledger = || observer.ledger(cluster).context("no ledger");
    let before = present(&*ledger()?);
    let load = ListParams::default().fields(api::names::LOAD_PODS);
    let list = Api::<Pod>::all(client.clone()).list(&load).await.context("listing Pods")?;
    let listed: HashMap<String, String> =
        list.into_iter().filter_map(|p| Some((p.uid()?, p.name_any()))).collect();
    let what = format!("the watch of {cluster}'s Pods to show what a list shows");
    let explained = poll::until(&what, LOOK_AGAIN, WATCH_CATCHES_UP, || async {
        match ledger().map(|ledger| Differences::between(&before, &listed, &ledger)) {
            Ok(found) if found == Differences::default() => Look::Ready(()),
            Ok(found) => Look::NotYet(format!("{found:?}")),
            Err(error) => Look::Never(error.to_string()),
        }
    });
    // Whatever the watch has not explained by then is reported.
    let _ = explained.await;
    let Differences { unknown, vanished } = Differences::between(&before, &listed, &*ledger()?);
    Ok(Event::LedgerCheck { cluster: cluster.to_owned(), unknown, vanished })
}

/// The differences between a ledger and a list of Pods, as sorted names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    /// Listed, but never seen.
    unknown: Vec<String>,
    /// Seen before the list and still present, but not listed.
    vanished: Vec<String>,
}

impl Differences {
    /// Compares both; `before` holds the Pods that existed before the list, uid to name, like `listed`.
    fn between(before: &HashMap<String, String>, listed: &HashMap<String, String>, now: &Ledger) -> Self {
        let seen: HashSet<&str> = now.pods().map(|p| p.uid.as_str()).collect();
        let here = present(now);
        let unknown = listed.iter().filter(|(uid, _)| !seen.contains(uid.as_str()));
        let vanished = before.iter().filter(|(uid, _)| here.contains_key(*uid) && !listed.contains_key(*uid));
        Self { unknown: names(unknown), vanished: names(vanished) }
    }
}

fn names<'a>(pods: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<String> {
    let mut names: Vec<String> = pods.map(|(_, name)| name.clone()).collect();
    names.sort();
    names
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

/// Reads the shard's own account of needs and machines.
///
/// # Errors
/// When the shard does not answer, or its answer is not JSON.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": uid, "name": uid}, "spec": {}})).unwrap()
    }

    fn pods(uids: &[&str]) -> HashMap<String, String> {
        uids.iter().map(|uid| ((*uid).to_owned(), (*uid).to_owned())).collect()
    }

    #[test]
    fn a_pod_that_came_and_went_since_the_list_is_no_difference() {
        let mut ledger = Ledger::new("c");
        ["stays", "went"].iter().for_each(|uid| ledger.pod_applied(1, 0, &pod(uid), false));
        let before = present(&ledger);
        let listed = pods(&["stays", "came", "came-and-went"]);
        let lagging = Differences::between(&before, &listed, &ledger);
        let expected = Differences {
            unknown: vec!["came".into(), "came-and-went".into()],
            vanished: vec!["went".into()],
        };
        assert_eq!(lagging, expected, "the watch has shown none of it yet");
        ledger.pod_deleted(2, "went", None);
        ledger.pod_applied(2, 0, &pod("came"), false);
        ledger.pod_applied(2, 0, &pod("came-and-went"), false);
        ledger.pod_deleted(3, "came-and-went", None);
        assert_eq!(Differences::between(&before, &listed, &ledger), Differences::default());
    }

    #[test]
    fn what_the_watch_lost_stays_a_difference() {
        let mut ledger = Ledger::new("c");
        ledger.pod_applied(1, 0, &pod("never-deleted"), false);
        let found = Differences::between(&present(&ledger), &pods(&["never-seen"]), &ledger);
        let expected =
            Differences { unknown: vec!["never-seen".into()], vanished: vec!["never-deleted".into()] };
        assert_eq!(found, expected);
    }
}
