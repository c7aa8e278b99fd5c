//! The record of who uses a cluster: a Lease in it that names a run and its supervisor. It is created before anything
//! else and removed last, so while it exists, everything that carries our marks is ours.
//!
//! Every write has a precondition, so that one of two concurrent writers fails. A holder that cannot be seen from here
//! is dead once it has not renewed the Lease for the Lease's own duration, by the watcher's clock: clocks of two
//! machines are never compared (as in client-go's leader election).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use component::apiserver;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::owner::{Here, Seen, pid_of};
use crate::Error;

/// Namespace of the record; its uid is the cluster's identity, and its label the owner's consent.
pub(super) const NAMESPACE: &str = "kube-system";
/// Name of the record.
const NAME: &str = "e2e-run";
/// A run that has not renewed its record for this long may be considered dead.
pub(super) const LEASE: Duration = Duration::from_secs(120);
/// Time between two reads of a record whose holder cannot be seen.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const RUN_ID: &str = "e2e.bigfleet.lucy.sh/run-id";
const HOST: &str = "e2e.bigfleet.lucy.sh/host";
/// Marks a record whose holder has given up cleaning up: the next run may continue at once.
const GIVEN_UP: &str = "e2e.bigfleet.lucy.sh/given-up";

/// The state of a cluster by its record.
#[derive(Debug)]
pub(super) enum State {
    /// There is no record: the cluster is not in use.
    Free,
    /// A run in progress, described for people.
    InUse(String),
    /// A run that cannot be seen from here.
    Unclear(Box<Lease>),
    /// A run that is over, and did not clean up.
    Over(Box<Lease>),
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The record belongs to another run, or is gone; described for people.
    #[error("{0}")]
    Lost(String),
    /// There was no answer, or none that decides it.
    #[error("{0}")]
    Failed(String),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Environment(refused.to_string())
    }
}

fn api(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn failed(what: &str, error: &kube::Error) -> Refused {
    Refused::Failed(format!("{what} the Lease {NAMESPACE}/{NAME}: {error}"))
}

async fn get(client: &Client) -> Result<Option<Lease>, Refused> {
    api(client).get_opt(NAME).await.map_err(|e| failed("reading", &e))
}

/// Reads the record once.
pub(super) async fn glance(client: &Client) -> Result<State, Error> {
    Ok(get(client).await?.map_or(State::Free, |lease| judge(lease, &Here::now())))
}

/// Reads the record, and watches it for its own duration if the holder cannot be seen. `say` reports that this takes a
/// while.
pub(super) async fn look(client: &Client, say: &(dyn Fn(&str) + Sync)) -> Result<State, Error> {
    let first = match glance(client).await? {
        State::Unclear(first) => first,
        decided => return Ok(decided),
    };
    say(&format!(
        "it has the record of {}, which cannot be seen from here; watching for {} s whether it is renewed",
        whose(&first),
        duration(&first).as_secs()
    ));
    let watched = Watched::new(*first, Instant::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(lease) = get(client).await? else { return Ok(State::Free) };
        match watched.see(lease, Instant::now()) {
            State::Unclear(_) => {}
            decided => return Ok(decided),
        }
    }
}

/// A record whose holder cannot be seen.
struct Watched {
    first: Lease,
    since: Instant,
}

impl Watched {
    fn new(first: Lease, now: Instant) -> Self {
        Self { first, since: now }
    }

    /// Judges the record as it is now: if it has changed, the cluster is in use.
    fn see(&self, lease: Lease, now: Instant) -> State {
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        if holder(&lease) != holder(&self.first) || renewed(&lease) != renewed(&self.first) {
            return State::InUse(whose(&lease));
        }
        if now.duration_since(self.since) > duration(&lease) {
            return State::Over(Box::new(lease));
        }
        State::Unclear(Box::new(lease))
    }
}

fn judge(lease: Lease, here: &Here) -> State {
    if lease.annotations().contains_key(GIVEN_UP) {
        return State::Over(Box::new(lease));
    }
    match here.sees(lease.annotations()) {
        Seen::Lives => State::InUse(whose(&lease)),
        Seen::Ended => State::Over(Box::new(lease)),
        Seen::Unknown => State::Unclear(Box::new(lease)),
    }
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(LEASE, Duration::from_secs)
}

/// Our record, as it was last written.
#[derive(Clone, Debug)]
pub(super) struct Held {
    mark: String,
    uid: Option<String>,
    version: Option<String>,
}

impl Held {
    fn of(mark: &str, written: &Lease) -> Self {
        Self { mark: mark.to_owned(), uid: written.uid(), version: written.resource_version() }
    }

    /// Takes the cluster for the run with that mark; `over` is the record of an earlier run that is over.
    pub(super) async fn claim(client: &Client, mark: &str, over: Option<&Lease>) -> Result<Self, Refused> {
        let mut lease = ours(mark);
        let answer = match over {
            None => api(client).create(&PostParams::default(), &lease).await,
            // If two runs find it over, only one gets it.
            Some(old) => {
                lease.metadata.resource_version = old.resource_version();
                api(client).replace(NAME, &PostParams::default(), &lease).await
            }
        };
        match answer {
            Ok(written) => Ok(Self::of(mark, &written)),
            Err(error) if matches!(apiserver::code(&error), Some(404 | 409)) => {
                Err(Refused::Lost("another run took the cluster at the same moment".to_owned()))
            }
            Err(error) => Err(failed("writing", &error)),
        }
    }

    /// Continues with the record of our run in this process, or creates it again if it is gone.
    pub(super) async fn take_over(client: &Client, mark: &str) -> Result<Self, Refused> {
        match get(client).await? {
            None => Self::claim(client, mark, None).await,
            Some(lease) if holder(&lease) == Some(mark) => Self::claim(client, mark, Some(&lease)).await,
            Some(lease) => Err(Refused::Lost(format!("it is held by {}", whose(&lease)))),
        }
    }

    /// Records that the run is in progress, if the record is still as it was left.
    pub(super) async fn renew(&mut self, client: &Client) -> Result<(), Refused> {
        let now = MicroTime(Timestamp::now());
        self.patch(client, &json!({"spec": {"holderIdentity": self.mark, "renewTime": now}})).await
    }

    /// Records that this process does nothing more here, so that the next run need not wait.
    pub(super) async fn give_up(mut self, client: &Client) {
        let patch = json!({"metadata": {"annotations": {GIVEN_UP: Timestamp::now().to_string()}}});
        if let Err(error) = self.patch(client, &patch).await {
            tracing::warn!(%error, "the record could not be given up; it will be considered over later");
        }
    }

    async fn patch(&mut self, client: &Client, patch: &serde_json::Value) -> Result<(), Refused> {
        // Twice: someone may have added a label, which does not take the record from us.
        for _ in 0..2 {
            let mut patch = patch.clone();
            patch["metadata"]["resourceVersion"] = json!(self.version);
            let written = api(client).patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await;
            match written {
                Ok(written) => {
                    self.version = written.resource_version();
                    return Ok(());
                }
                Err(error) if matches!(apiserver::code(&error), Some(404 | 409)) => {
                    self.version = self.check(client).await?.resource_version();
                }
                Err(error) => return Err(failed("renewing", &error)),
            }
        }
        Err(Refused::Failed(format!("the Lease {NAMESPACE}/{NAME} keeps changing")))
    }

    /// Reads the record, which must be ours.
    async fn check(&self, client: &Client) -> Result<Lease, Refused> {
        match get(client).await? {
            None => Err(Refused::Lost(format!("the Lease {NAMESPACE}/{NAME} is gone"))),
            Some(lease) if holder(&lease) == Some(&self.mark) && lease.uid() == self.uid => Ok(lease),
            Some(lease) => {
                Err(Refused::Lost(format!("the Lease {NAMESPACE}/{NAME} is held by {}", whose(&lease))))
            }
        }
    }

    /// Gives the cluster back by removing the record.
    pub(super) async fn remove(self, client: &Client) -> Result<(), Refused> {
        // Twice: a renewal may have been in flight.
        for _ in 0..2 {
            let lease = match self.check(client).await {
                Err(Refused::Lost(_)) => return Ok(()),
                other => other?,
            };
            let only_this = Preconditions { uid: lease.uid(), resource_version: lease.resource_version() };
            let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
            match api(client).delete(NAME, &params).await {
                Err(error) if apiserver::code(&error) == Some(409) => {}
                Err(error) if !apiserver::is_gone(&error) => return Err(failed("removing", &error)),
                _ => return Ok(()),
            }
        }
        Err(Refused::Failed(format!("the Lease {NAMESPACE}/{NAME} keeps changing")))
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn ours(mark: &str) -> Lease {
    let mut annotations = Here::now().describe();
    annotations.insert(RUN_ID.to_owned(), std::env::var("E2E_RUN_ID").unwrap_or_default());
    annotations.insert(HOST.to_owned(), host());
    let now = MicroTime(Timestamp::now());
    Lease {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(mark.to_owned()),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            ..LeaseSpec::default()
        }),
    }
}

/// Describes whose record it is.
pub(super) fn whose(lease: &Lease) -> String {
    let said: &BTreeMap<String, String> = lease.annotations();
    let of = |key: &str| said.get(key).map_or("?", String::as_str);
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let renewed = renewed.map_or_else(|| "?".to_owned(), |time| time.0.to_string());
    format!(
        "run {} (process {} on {}, last heard of at {renewed} by its clock)",
        of(RUN_ID),
        pid_of(said),
        of(HOST)
    )
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
