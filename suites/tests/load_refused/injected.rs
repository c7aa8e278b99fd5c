//! Objects that refuse load, and the plan whose workloads each meet one of them.

use std::time::Duration;

use anyhow::Context;
use component::poll::{self, Look};
use harness_model::plan::{self, Plan, template};
use harness_model::profile::{self, fixtures_dir};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const TICK: Duration = Duration::from_millis(50);
/// Only a bug reaches it.
const CEILING: Duration = Duration::from_secs(30);

/// Returns a plan with five workloads or more, one archetype for each refusal. Two of the causes are inserted by hand,
/// because a profile that every cluster refuses is rejected before it runs.
///
/// # Errors
/// When it cannot be derived.
pub fn plan() -> anyhow::Result<Plan> {
    let pods = "podsPerArchetype={deployment: 10, stateful-set: 10, batch: 10, zone-spread: 30, service: 10}";
    let overrides =
        ["podsPerCluster=70", "density=20", "churnPerMinute=0", "exact=false", pods].map(str::to_owned);
    let mut plan = plan::derive(&profile::load(&fixtures_dir(), "density", &overrides)?)?;
    let mut archetype = |name: &str| plan.catalog.archetypes.remove(name).context("no such archetype");
    let (mut set, mut service, mut spread) =
        (archetype("stateful-set")?, archetype("service")?, archetype("zone-spread")?);
    (set.priority, service.priority) = (500, 1000);
    spread.sizes[0].requests.insert("cpu".into(), "100m".into());
    let changed = [("stateful-set", set), ("service", service), ("zone-spread", spread)];
    plan.catalog.archetypes.extend(changed.map(|(name, archetype)| (name.to_owned(), archetype)));
    Ok(plan)
}

/// Creates the objects by which the environment refuses load, and waits until they take effect.
///
/// # Errors
/// When such an object is itself refused, or has no effect.
pub async fn environment(admin: &Client) -> anyhow::Result<()> {
    let (all, post) = (Api::all(admin.clone()), PostParams::default());
    let policy: ValidatingAdmissionPolicy = object(json!({
        "metadata": {"name": "no-deployments"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [rule()],
                "objectSelector": {"matchLabels": {api::names::ARCHETYPE: "deployment"}},
            },
            "validations": [{"expression": "false", "message": "not today"}],
        },
    }))?;
    all.create(&post, &policy).await.context("creating a policy")?;
    let binding: ValidatingAdmissionPolicyBinding = object(json!({
        "metadata": {"name": "no-deployments"},
        "spec": {"policyName": "no-deployments", "validationActions": ["Deny"]},
    }))?;
    Api::all(admin.clone()).create(&post, &binding).await.context("creating a binding")?;
    let webhook: ValidatingWebhookConfiguration = object(json!({
        "metadata": {"name": "no-batch"},
        "webhooks": [{
            "name": "batch.example.com",
            // Nothing listens there.
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [rule()],
            "objectSelector": {"matchLabels": {api::names::ARCHETYPE: "batch"}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    }))?;
    Api::all(admin.clone()).create(&post, &webhook).await.context("creating a webhook")?;
    let range: LimitRange = object(json!({
        "metadata": {"name": "not-small"},
        "spec": {"limits": [{"type": "Container", "min": {"cpu": "200m"}}]},
    }))?;
    let ranges = Api::<LimitRange>::namespaced(admin.clone(), template::NAMESPACE);
    ranges.create(&post, &range).await.context("creating a LimitRange")?;
    for (archetype, cpu) in [("deployment", "1"), ("batch", "1"), ("another", "100m")] {
        until_refused(admin, archetype, "e2e-100", cpu).await?;
    }
    Ok(())
}

/// Creates a quota for Pods of priority 1000, and waits until it is in effect.
///
/// # Errors
/// As for [`environment`].
pub async fn quota(admin: &Client) -> anyhow::Result<()> {
    let scope = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["e2e-1000"]}]});
    make_quota(admin, json!({"hard": {"pods": "0"}, "scopeSelector": scope})).await?;
    until_refused(admin, "service", "e2e-1000", "1").await
}

/// Creates a quota that allows no Pods at all.
///
/// # Errors
/// As for [`environment`].
pub async fn quota_for_all(admin: &Client) -> anyhow::Result<()> {
    make_quota(admin, json!({"hard": {"pods": "0"}})).await
}

async fn make_quota(admin: &Client, spec: Value) -> anyhow::Result<()> {
    let quotas = Api::<ResourceQuota>::namespaced(admin.clone(), template::NAMESPACE);
    let quota: ResourceQuota = object(json!({"metadata": {"name": "few"}, "spec": spec}))?;
    quotas.create(&PostParams::default(), &quota).await.context("creating a quota")?;
    // No controller counts here, so we may write the status.
    let status = json!({"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}});
    let patched = quotas.patch_status("few", &PatchParams::default(), &Patch::Merge(status)).await;
    patched.context("writing the quota's status")?;
    Ok(())
}

/// Reduces load-driver's rights to those to follow Pods, or removes even these.
///
/// # Errors
/// When the role cannot be changed.
pub async fn rights(admin: &Client, follows: bool) -> anyhow::Result<()> {
    let follow = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
    let patch = json!({"rules": if follows { follow } else { json!([]) }});
    let roles = Api::<ClusterRole>::all(admin.clone());
    let patched = roles.patch("e2e:load-driver", &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.context("changing load-driver's role")?;
    until_forbidden(admin, "apps", "deployments", "create").await?;
    if follows { Ok(()) } else { until_forbidden(admin, "", "pods", "list").await }
}

/// Reviews load-driver's rights until it lacks this one: rights are also read with some delay.
async fn until_forbidden(admin: &Client, group: &str, resource: &str, verb: &str) -> anyhow::Result<()> {
    let attributes =
        json!({"namespace": template::NAMESPACE, "group": group, "resource": resource, "verb": verb});
    let review: SubjectAccessReview = object(json!({
        "metadata": {}, "spec": {"user": "e2e:load-driver", "resourceAttributes": attributes},
    }))?;
    let (reviews, review) = (&Api::<SubjectAccessReview>::all(admin.clone()), &review);
    poll::until("load-driver's rights to be gone", TICK, CEILING, || async move {
        match reviews.create(&PostParams::default(), review).await.map(|answer| answer.status) {
            Ok(Some(status)) if !status.allowed => Look::Ready(()),
            Ok(_) => Look::NotYet("allowed".to_owned()),
            Err(error) => Look::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// Matches the creation of Pods.
fn rule() -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]})
}

/// Tries such a Pod until it is refused. Admission reads its rules with some delay.
async fn until_refused(admin: &Client, archetype: &str, class: &str, cpu: &str) -> anyhow::Result<()> {
    let pod: Pod = object(json!({
        "metadata": {"generateName": "try-", "labels": {api::names::ARCHETYPE: archetype}},
        "spec": {
            "priorityClassName": class,
            "containers": [{"name": "c", "image": "c", "resources": {"requests": {"cpu": cpu}}}],
        },
    }))?;
    let pods = &Api::<Pod>::namespaced(admin.clone(), template::NAMESPACE);
    let (dry, pod) = (&PostParams { dry_run: true, ..PostParams::default() }, &pod);
    let what = format!("a Pod of {archetype} to be refused");
    poll::until(&what, TICK, CEILING, || async move {
        match pods.create(dry, pod).await {
            Ok(_) => Look::NotYet("it is let in"),
            Err(_) => Look::Ready(()),
        }
    })
    .await?;
    Ok(())
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).context("an object of this test")
}
