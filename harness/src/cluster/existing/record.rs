//! Who uses a cluster: a Lease in it that names a run and its supervisor. It is made before anything else and goes
//! last, so that what carries our marks is ours as long as it is there.

use std::collections::BTreeMap;
use std::time::Duration;

use component::apiserver;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::cluster::Error;
use crate::cluster::life::started_ticks;

/// Namespace of the record; its uid is the cluster's identity, and its label the owner's consent.
pub(super) const NAMESPACE: &str = "kube-system";
/// Name of the record.
const NAME: &str = "e2e-run";
/// Time between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// A run that nobody here can see, and that has not renewed its record for so long, is over.
const OVER_AFTER_SECONDS: i64 = 180;

const RUN_ID: &str = "e2e.bigfleet.lucy.sh/run-id";
const HOST: &str = "e2e.bigfleet.lucy.sh/host";
const KERNEL: &str = "e2e.bigfleet.lucy.sh/kernel";
const PID: &str = "e2e.bigfleet.lucy.sh/pid";
const STARTED: &str = "e2e.bigfleet.lucy.sh/started-ticks";

/// What the record says.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing: nobody uses the cluster.
    Free,
    /// A run under way, in words.
    InUse(String),
    /// A run that is over, and did not clean up.
    Over(Box<Lease>),
}

fn api(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn failed(what: &str, error: &kube::Error) -> Error {
    Error::Environment(format!("{what} the record {NAMESPACE}/{NAME}: {error}"))
}

/// Reads it.
pub(super) async fn look(client: &Client) -> Result<State, Error> {
    let found = api(client).get_opt(NAME).await.map_err(|e| failed("reading", &e))?;
    Ok(match found {
        None => State::Free,
        Some(lease) if is_over(&lease, Timestamp::now()) => State::Over(Box::new(lease)),
        Some(lease) => State::InUse(whose(&lease)),
    })
}

/// Takes the cluster for the run of that mark; `over` is the record of one that is over.
pub(super) async fn claim(client: &Client, mark: &str, over: Option<&Lease>) -> Result<(), Error> {
    let mut lease = ours(mark);
    let answer = match over {
        None => api(client).create(&PostParams::default(), &lease).await,
        // Of two that find it over, one gets it.
        Some(old) => {
            lease.metadata.resource_version = old.resource_version();
            api(client).replace(NAME, &PostParams::default(), &lease).await
        }
    };
    match answer {
        Ok(_) => Ok(()),
        Err(error) if matches!(apiserver::code(&error), Some(404 | 409)) => {
            Err(Error::Environment("another run took the cluster at the same moment".to_owned()))
        }
        Err(error) => Err(failed("writing", &error)),
    }
}

/// Says again and again that the run is under way, as long as the cluster is its.
pub(super) async fn keep(client: &Client, mark: &str) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if matches!(is_of(client, mark).await, Ok(false)) {
            tracing::error!(mark, "the record of the run is gone, or another's");
            return;
        }
        let patch = json!({"spec": {"renewTime": MicroTime(Timestamp::now())}});
        if let Err(error) = api(client).patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await {
            tracing::warn!(%error, "the record of the run was not renewed");
        }
    }
}

/// Whether the cluster is the run's.
pub(super) async fn is_of(client: &Client, mark: &str) -> Result<bool, Error> {
    let found = api(client).get_opt(NAME).await.map_err(|e| failed("reading", &e))?;
    Ok(found.is_some_and(|lease| holder(&lease) == Some(mark)))
}

/// Gives the cluster back.
pub(super) async fn remove(client: &Client, mark: &str) -> Result<(), Error> {
    let found = api(client).get_opt(NAME).await.map_err(|e| failed("reading", &e))?;
    let Some(lease) = found.filter(|lease| holder(lease) == Some(mark)) else { return Ok(()) };
    let only_this = Preconditions { uid: lease.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
    match api(client).delete(NAME, &params).await {
        Err(error) if !apiserver::is_gone(&error) => Err(failed("removing", &error)),
        _ => Ok(()),
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn ours(mark: &str) -> Lease {
    let pid = std::process::id();
    let annotations = [
        (RUN_ID, std::env::var("E2E_RUN_ID").unwrap_or_default()),
        (HOST, host()),
        (KERNEL, kernel()),
        (PID, pid.to_string()),
        (STARTED, started_ticks(pid).unwrap_or_default().to_string()),
    ];
    let now = MicroTime(Timestamp::now());
    Lease {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(mark.to_owned()),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_duration_seconds: i32::try_from(OVER_AFTER_SECONDS).ok(),
            ..LeaseSpec::default()
        }),
    }
}

fn annotations(lease: &Lease) -> BTreeMap<&str, &str> {
    lease.annotations().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn whose(lease: &Lease) -> String {
    let said = annotations(lease);
    let of = |key: &str| said.get(key).copied().unwrap_or("?");
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let renewed = renewed.map_or_else(|| "?".to_owned(), |time| time.0.to_string());
    format!("run {} (process {} on {}, last heard of at {renewed})", of(RUN_ID), of(PID), of(HOST))
}

/// Where its process can be seen from here, the process decides; elsewhere the time of its last renewal.
fn is_over(lease: &Lease, now: Timestamp) -> bool {
    let said = annotations(lease);
    let number = |key: &str| said.get(key).and_then(|text| text.parse::<u64>().ok());
    if said.get(KERNEL).is_some_and(|known| *known == kernel())
        && let (Some(pid), Some(started)) = (number(PID), number(STARTED))
    {
        return u32::try_from(pid).ok().and_then(started_ticks) != Some(started);
    }
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    renewed.is_some_and(|time| OVER_AFTER_SECONDS < now.as_second() - time.0.as_second())
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The running kernel, and the space of process ids in it.
fn kernel() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), space.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap()
    }

    #[test]
    fn a_process_that_can_be_seen_decides() {
        let mut lease = ours("e2e-1");
        assert!(!is_over(&lease, later(10_000)), "this process lives, however late it renews");
        lease.annotations_mut().insert(STARTED.to_owned(), "1".to_owned());
        assert!(is_over(&lease, later(0)), "the same id, another process");
    }

    #[test]
    fn elsewhere_the_last_renewal_decides() {
        let mut lease = ours("e2e-1");
        lease.annotations_mut().insert(KERNEL.to_owned(), "another".to_owned());
        assert!(!is_over(&lease, later(60)));
        assert!(is_over(&lease, later(OVER_AFTER_SECONDS + 2)));
        let told = whose(&lease);
        assert!(told.contains(&std::process::id().to_string()), "{told}");
    }
}
