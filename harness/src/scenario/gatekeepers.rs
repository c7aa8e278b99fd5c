//! Objects of a cluster that can refuse load, and which side they belong to.
//!
//! An apiserver names the object that refuses: a webhook, a policy or its binding, a quota. If it did not exist just
//! before the autoscaler was started, it came with the autoscaler, which is then to blame for the refusal; otherwise
//! the environment is. A LimitRange is not named, and counts if there was none before.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use harness_model::plan::template::NAMESPACE;
use harness_model::record::event::Blame;

/// An object that can refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gatekeeper {
    kind: String,
    name: String,
    uid: String,
    /// The parts of a message that identify a refusal by it; any one is enough.
    signs: Vec<String>,
}

impl Gatekeeper {
    fn new(object: &impl ResourceExt, kind: &str, signs: Vec<String>) -> Self {
        let uid = object.uid().unwrap_or_default();
        Self { kind: kind.to_owned(), name: object.name_any(), uid, signs }
    }

    /// Formats it as in `ResourceQuota few`.
    fn object(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    fn refused(&self, words: &str) -> bool {
        self.signs.iter().any(|sign| words.contains(sign))
    }
}

/// Lists all gatekeepers of a cluster.
///
/// # Errors
/// When they cannot be listed.
pub async fn list(admin: &Client) -> Result<Vec<Gatekeeper>, kube::Error> {
    let mut all = Vec::new();
    for object in of_cluster::<ValidatingWebhookConfiguration>(admin).await? {
        let names = object.webhooks.iter().flatten().map(|hook| webhook(&hook.name)).collect();
        all.push(Gatekeeper::new(&object, "ValidatingWebhookConfiguration", names));
    }
    for object in of_cluster::<MutatingWebhookConfiguration>(admin).await? {
        let names = object.webhooks.iter().flatten().map(|hook| webhook(&hook.name)).collect();
        all.push(Gatekeeper::new(&object, "MutatingWebhookConfiguration", names));
    }
    policies::<ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding>(admin, &mut all).await?;
    policies::<MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding>(admin, &mut all).await?;
    let everything = ListParams::default();
    let quotas = Api::<ResourceQuota>::namespaced(admin.clone(), NAMESPACE).list(&everything).await?;
    for object in quotas {
        // `exceeded quota: few, requested: ...`, `failed quota: few: must specify ...`
        let signs = [",", ":"].map(|end| format!(" quota: {}{end}", object.name_any())).into();
        all.push(Gatekeeper::new(&object, "ResourceQuota", signs));
    }
    let ranges = Api::<LimitRange>::namespaced(admin.clone(), NAMESPACE).list(&everything).await?;
    for object in ranges {
        // `minimum cpu usage per Container is 2, but request is 400m`
        let signs = [" usage per ", " limit to request ratio per "].map(str::to_owned).into();
        all.push(Gatekeeper::new(&object, "LimitRange", signs));
    }
    Ok(all)
}

/// Returns which side is to blame for a refusal with this message, and which object refused, if that is known.
pub fn blame(words: &str, before: &[Gatekeeper], now: &[Gatekeeper]) -> (Blame, Option<String>) {
    let known: BTreeSet<&str> = before.iter().map(|g| g.uid.as_str()).collect();
    let refusing = now.iter().filter(|g| g.refused(words));
    let (old, new): (Vec<&Gatekeeper>, Vec<&Gatekeeper>) =
        refusing.partition(|g| known.contains(g.uid.as_str()));
    // A policy that refuses has a binding: either may be new. If the message fits two objects of one kind, they cannot
    // be distinguished, and the autoscaler is not blamed on a guess.
    match new.iter().find(|new| old.iter().all(|old| old.kind != new.kind)) {
        Some(new) => (Blame::Autoscaler, Some(new.object())),
        None => (Blame::Environment, old.first().map(|g| g.object())),
    }
}

/// Returns how messages name a webhook:
/// `admission webhook "NAME" denied the request: ...`, `failed calling webhook "NAME": ...`
fn webhook(name: &str) -> String {
    format!("webhook \"{name}\"")
}

/// Adds policies and bindings: `ValidatingAdmissionPolicy 'NAME' with binding 'NAME' denied request: ...`
async fn policies<P, B>(admin: &Client, all: &mut Vec<Gatekeeper>) -> Result<(), kube::Error>
where
    P: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    B: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    for object in of_cluster::<P>(admin).await? {
        let kind = P::kind(&());
        let sign = format!("{kind} '{}'", object.name_any());
        all.push(Gatekeeper::new(&object, &kind, vec![sign]));
    }
    for object in of_cluster::<B>(admin).await? {
        let sign = format!("with binding '{}'", object.name_any());
        all.push(Gatekeeper::new(&object, &B::kind(&()), vec![sign]));
    }
    Ok(())
}

/// Lists all objects of a kind; none if the apiserver does not know the kind.
async fn of_cluster<K>(admin: &Client) -> Result<Vec<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    match Api::<K>::all(admin.clone()).list(&ListParams::default()).await {
        Err(error) if component::apiserver::is_gone(&error) => Ok(Vec::new()),
        other => Ok(other?.items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: &str = "pods \"w-1\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=10, \
                         limited: pods=10";
    const LIMIT: &str =
        "pods \"w-1\" is forbidden: minimum cpu usage per Container is 2, but request is 400m";
    const POLICY: &str = "pods \"w-1\" is forbidden: ValidatingAdmissionPolicy 'no-pods' with binding 'all' \
                          denied request: no Pods today";

    fn gatekeeper(kind: &str, name: &str, sign: &str) -> Gatekeeper {
        let uid = format!("uid of {name}");
        Gatekeeper { kind: kind.into(), name: name.into(), uid, signs: vec![sign.to_owned()] }
    }

    fn quota(name: &str) -> Gatekeeper {
        gatekeeper("ResourceQuota", name, &format!(" quota: {name},"))
    }

    #[test]
    fn what_came_with_the_autoscaler_is_its_own() {
        let (few, fewer) = (quota("few"), quota("fewer"));
        let told = blame(QUOTA, std::slice::from_ref(&fewer), &[fewer.clone(), few.clone()]);
        assert_eq!(told, (Blame::Autoscaler, Some("ResourceQuota few".into())));
        let told = blame(QUOTA, std::slice::from_ref(&few), &[few.clone(), fewer]);
        assert_eq!(told, (Blame::Environment, Some("ResourceQuota few".into())), "it was there before");
        let again = Gatekeeper { uid: "another".into(), ..few.clone() };
        assert_eq!(blame(QUOTA, &[few], &[again]).0, Blame::Autoscaler, "made anew");
    }

    #[test]
    fn a_refusal_that_names_nothing_is_the_environments() {
        let missing = "pods \"w-1\" is forbidden: no PriorityClass with name e2e-500 was found";
        assert_eq!(blame(missing, &[], &[quota("few")]), (Blame::Environment, None));
    }

    #[test]
    fn a_limit_range_counts_when_there_was_none_before() {
        let range = |name: &str| gatekeeper("LimitRange", name, " usage per ");
        assert_eq!(blame(LIMIT, &[], &[range("a")]).0, Blame::Autoscaler);
        let both = [range("a"), range("b")];
        assert_eq!(blame(LIMIT, &[range("a")], &both).0, Blame::Environment, "it may be the old one's");
    }

    #[test]
    fn a_policy_refuses_with_a_binding_and_either_may_be_new() {
        let policy =
            gatekeeper("ValidatingAdmissionPolicy", "no-pods", "ValidatingAdmissionPolicy 'no-pods'");
        let binding = gatekeeper("ValidatingAdmissionPolicyBinding", "all", "with binding 'all'");
        let now = [policy.clone(), binding.clone()];
        let told = blame(POLICY, std::slice::from_ref(&policy), &now);
        assert_eq!(told, (Blame::Autoscaler, Some("ValidatingAdmissionPolicyBinding all".into())));
        let told = blame(POLICY, std::slice::from_ref(&binding), &now);
        assert_eq!(told, (Blame::Autoscaler, Some("ValidatingAdmissionPolicy no-pods".into())));
        let told = blame(POLICY, &now, &now);
        assert_eq!(told, (Blame::Environment, Some("ValidatingAdmissionPolicy no-pods".into())));
    }
}
