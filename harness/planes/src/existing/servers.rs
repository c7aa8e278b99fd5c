//! KCM and scheduler of an existing cluster, reached through the apiserver's proxy to their Pods.
//!
//! The proxy passes no identity on, so they only answer unauthenticated requests: `/metrics` and `/configz` must be
//! among their `--authorization-always-allow-paths`, and they must not listen on loopback alone (docs/existing.md).

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::record::NAMESPACE;
use crate::http::get_text;
use harness_model::components::{KCM, SCHEDULER};

/// The paths that are read of each.
const PATHS: [&str; 2] = ["/metrics", "/configz"];

/// Returns the port that a component serves on by default.
fn port(component: &str) -> u16 {
    match component {
        KCM => 10257,
        _ => 10259,
    }
}

/// Returns the path below the apiserver at which each is found, or why it is not.
pub(super) async fn find(client: &Client) -> [(&'static str, Result<String, String>); 2] {
    let (kcm, scheduler) = futures::join!(find_one(client, KCM), find_one(client, SCHEDULER));
    [(KCM, kcm), (SCHEDULER, scheduler)]
}

async fn find_one(client: &Client, component: &str) -> Result<String, String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let selected = ListParams::default().labels(&format!("component={component}"));
    let found = pods.list_metadata(&selected).await.map_err(|e| format!("looking for its Pod: {e}"))?.items;
    let pod = match &found[..] {
        [pod] => pod.name_any(),
        [] => return Err(format!("no Pod in {NAMESPACE} has the label component={component}")),
        many => {
            return Err(format!("{} Pods in {NAMESPACE} match: the active one is not known", many.len()));
        }
    };
    let path = path(&pod, port(component));
    for asked in PATHS {
        let answer = get_text(client, &format!("{path}{asked}")).await;
        answer.map_err(|error| format!("GET {path}{asked}: {}", brief(error)))?;
    }
    Ok(path)
}

/// Returns the proxy's message without anything around it.
fn brief(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

fn path(pod: &str, port: u16) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods/https:{pod}:{port}/proxy")
}

/// Describes the consequence of a component that is not reached.
pub(super) fn consequence(component: &str, why: &str) -> String {
    let lost = match component {
        SCHEDULER => {
            "whether it places as requested (ADR-0023) is not verified, and its metrics are not measured"
        }
        _ => "its controllers and its rate limits are not verified",
    };
    format!("{component} cannot be read: {lost}; {why}")
}
