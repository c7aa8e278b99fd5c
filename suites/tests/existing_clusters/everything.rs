//! All objects of a cluster, as one value that can be compared.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use component::poll::{self, Look};
use kube::api::{DynamicObject, ListParams};
use kube::discovery::verbs;
use kube::{Api, Client, Discovery, ResourceExt};
use serde_json::Value;

use crate::by_hand::{CEILING, TICK};

/// Objects by `Kind namespace/name`, without what their own controllers keep changing.
pub type Everything = BTreeMap<String, Value>;

/// Kinds that expire on their own, or are not stored objects.
const LEFT_OUT: [&str; 2] = ["Event", "ComponentStatus"];

/// Returns the objects of all other kinds.
async fn now(client: &Client) -> anyhow::Result<Everything> {
    let mut all = Everything::new();
    let discovery = Discovery::new(client.clone()).run().await?;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::LIST) || LEFT_OUT.contains(&resource.kind.as_str()) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            for object in api.list(&ListParams::default()).await?.items {
                let namespace = object.namespace().unwrap_or_default();
                let key = format!("{} {namespace}/{}", resource.kind, object.name_any());
                all.insert(key, lasting(&resource.kind, &object)?);
            }
        }
    }
    Ok(all)
}

/// Removes what changes: Leases are renewed, and states change, with the versions.
fn lasting(kind: &str, object: &DynamicObject) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
        if kind == "Lease" {
            object.remove("spec");
        }
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        // It holds the times of changes by others. The fields themselves are compared as part of the object.
        metadata.remove("managedFields");
    }
    Ok(value)
}

/// Returns everything, once nothing changes any more. A definition that has just been created or deleted cannot be
/// listed for a moment (429, "storage is (re)initializing"); the cluster is then not at rest.
pub async fn at_rest(client: &Client) -> anyhow::Result<Everything> {
    let mut last = now(client).await;
    for _ in 0..CEILING.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let next = now(client).await;
        match (&last, next) {
            (Ok(before), Ok(after)) if *before == after => return Ok(after),
            (_, next) => last = next,
        }
    }
    Err(last.err().unwrap_or_else(|| anyhow!("it changes all the time")))
        .context("the cluster does not come to rest")
}

/// Waits until the cluster is as it was.
pub async fn becomes(client: &Client, wanted: &Everything, ceiling: Duration) -> anyhow::Result<()> {
    poll::until("the cluster to be as it was", TICK, ceiling, || async {
        match now(client).await {
            Ok(found) if found == *wanted => Look::Ready(()),
            Ok(found) => Look::NotYet(differences(wanted, &found)),
            Err(error) => Look::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    Ok(())
}

fn differences(wanted: &Everything, found: &Everything) -> String {
    let mut all = Vec::new();
    all.extend(wanted.keys().filter(|key| !found.contains_key(*key)).map(|key| format!("lost {key}")));
    all.extend(found.keys().filter(|key| !wanted.contains_key(*key)).map(|key| format!("left {key}")));
    for (key, was) in wanted {
        if let Some(is) = found.get(key).filter(|is| *is != was) {
            all.push(format!("changed {key}: {was} is now {is}"));
        }
    }
    all.join("\n")
}
