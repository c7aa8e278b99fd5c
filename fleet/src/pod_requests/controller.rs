//! The controller's loop: two watches feed the store, workers do what follows from it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::bail;
use api::{CapacityRequest, names};
use component::slim::Pod;
use component::watch::{Change, changes};
use futures::StreamExt;
use kube::api::DeleteParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use metrics::{counter, gauge};

use crate::pod_requests::Options;
use crate::pod_requests::penalties::PenaltyDefaults;
use crate::pod_requests::store::{Store, Task};
use component::apiserver;
use component::queue::Queue;

const RECONCILES: &str = "bigfleet_unschedulable_pod_controller_reconciles_total";
const ERRORS: &str = "bigfleet_unschedulable_pod_controller_errors_total";
const QUEUE_LENGTH: &str = "bigfleet_unschedulable_pod_controller_queue_length";
const OUTCOMES: [&str; 8] = [
    "cr_created",
    "cr_exists",
    "pod_gone",
    "pod_terminal",
    "pod_terminating",
    "static_pod",
    "not_unschedulable",
    "error",
];

struct Controller {
    client: Client,
    store: Mutex<Store>,
    queue: Queue<String>,
}

/// Runs until a watch ends, which it never does by itself. Calls `on_ready` once both caches are filled and
/// the workers run.
///
/// # Errors
/// When `on_ready` fails, the defaults cannot be read, or a watch ends.
pub async fn run(
    client: Client,
    options: &Options,
    on_ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let defaults = match &options.priority_class_defaults {
        Some(path) => PenaltyDefaults::read(path)?,
        None => PenaltyDefaults::default(),
    };
    for outcome in OUTCOMES {
        counter!(RECONCILES, "outcome" => outcome).absolute(0);
    }
    counter!(ERRORS, "reason" => "throttled").absolute(0);
    let store = Mutex::new(Store::new(options.cr_mode, options.cr_release, defaults));
    let controller = Arc::new(Controller { client: client.clone(), store, queue: Queue::default() });

    let mut pods = pin!(changes(Api::<Pod>::all(client.clone()), watcher::Config::default()));
    let requests = Api::<PartialObjectMeta<CapacityRequest>>::all(client);
    let mut requests = pin!(changes(requests, watcher::Config::default()));
    // No Pod is worked on before both lists are complete: one would look as if it had no request.
    let mut on_ready = Some(on_ready);
    let (mut have_pods, mut have_requests) = (false, false);
    loop {
        tokio::select! {
            change = pods.next() => {
                let Some((_, change)) = change else { bail!("the watch of Pods ended") };
                have_pods |= matches!(change, Change::ListDone);
                controller.pod_changed(change, have_pods && have_requests);
            }
            change = requests.next() => {
                let Some((_, change)) = change else { bail!("the watch of CapacityRequests ended") };
                have_requests |= matches!(change, Change::ListDone);
                controller.request_changed(change, have_pods && have_requests);
            }
        }
        if have_pods
            && have_requests
            && let Some(on_ready) = on_ready.take()
        {
            controller.queue_all();
            for _ in 0..options.concurrency {
                tokio::spawn(work(controller.clone()));
            }
            on_ready()?;
        }
    }
}

async fn work(controller: Arc<Controller>) {
    loop {
        let uid = controller.queue.take().await;
        gauge!(QUEUE_LENGTH).set(controller.queue.len() as f64);
        match controller.reconcile(&uid).await {
            Ok(outcome) => {
                count(outcome);
                controller.queue.done(&uid);
            }
            Err(error) => {
                count("error");
                let reason = apiserver::reason(&error);
                counter!(ERRORS, "reason" => reason).increment(1);
                tracing::warn!(pod_uid = uid, reason, %error, "reconcile failed");
                if apiserver::is_permanent(&error) {
                    controller.queue.done(&uid);
                } else {
                    controller.queue.retry(uid, apiserver::retry_after(&error));
                }
            }
        }
    }
}

impl Controller {
    fn pod_changed(&self, change: Change<Pod>, ready: bool) {
        let mut store = self.store();
        match change {
            Change::Applied(pod) => match store.pod_applied(&pod) {
                Ok(uid) if ready => self.queue_or_count(&store, uid),
                Ok(_) => {}
                Err(error) => {
                    counter!(ERRORS, "reason" => "untranslatable").increment(1);
                    tracing::warn!(pod = ?pod.metadata.name, %error, "Pod without request");
                }
            },
            Change::Deleted(pod) => {
                store.pod_deleted(pod.metadata.uid.as_deref().unwrap_or_default());
                count("pod_gone");
            }
            Change::ListStarted { gap } => {
                note_gap("Pod", gap);
                store.pods_listing();
            }
            Change::ListDone => store.pods_listed(),
        }
    }

    fn request_changed(&self, change: Change<PartialObjectMeta<CapacityRequest>>, ready: bool) {
        let mut store = self.store();
        match change {
            Change::Applied(request) => {
                let metadata = &request.metadata;
                if let (Some(uid), Some(namespace), Some(name)) =
                    (pod_uid(&request), &metadata.namespace, &metadata.name)
                {
                    store.request_exists(uid, namespace, name);
                }
            }
            Change::Deleted(request) => {
                if let Some(uid) = pod_uid(&request) {
                    store.request_gone(uid);
                    if ready && !matches!(store.task(uid), Task::Nothing(_)) {
                        self.queue.push(uid.to_owned());
                    }
                }
            }
            Change::ListStarted { gap } => {
                note_gap("CapacityRequest", gap);
                store.requests_listing();
            }
            Change::ListDone => {
                let uids = store.requests_listed();
                if ready {
                    uids.into_iter().for_each(|uid| self.queue.push(uid));
                }
            }
        }
    }

    /// Most events of a Pod change nothing for its request: those are counted here and never queued.
    fn queue_or_count(&self, store: &Store, uid: String) {
        match store.task(&uid) {
            Task::Nothing(outcome) => count(outcome),
            _ => self.queue.push(uid),
        }
    }

    fn queue_all(&self) {
        self.store().requests_listed().into_iter().for_each(|uid| self.queue.push(uid));
    }

    async fn reconcile(&self, uid: &str) -> Result<&'static str, kube::Error> {
        let task = self.store().task(uid);
        match task {
            Task::Nothing(outcome) => Ok(outcome),
            Task::Create(request) => {
                let outcome = match apiserver::create(&self.client, &*request).await {
                    Ok(()) => "cr_created",
                    Err(error) if apiserver::code(&error) == Some(409) => "cr_exists",
                    // The namespace is gone, and the Pod with it.
                    Err(error) if apiserver::is_gone(&error) => return Ok("pod_gone"),
                    Err(error) => return Err(error),
                };
                let (namespace, name) = (&request.metadata.namespace, &request.metadata.name);
                self.store().request_exists(
                    uid,
                    namespace.as_deref().unwrap_or_default(),
                    name.as_deref().unwrap_or_default(),
                );
                Ok(outcome)
            }
            Task::Fetch { namespace, name } => {
                match Api::<Pod>::namespaced(self.client.clone(), &namespace).get_opt(&name).await? {
                    Some(pod) if pod.metadata.uid.as_deref() == Some(uid) => {
                        self.pod_changed(Change::Applied(pod), true);
                        Ok("cr_exists")
                    }
                    _ => Ok("pod_gone"),
                }
            }
            Task::Delete { namespace, name, outcome } => {
                let api =
                    Api::<PartialObjectMeta<CapacityRequest>>::namespaced(self.client.clone(), &namespace);
                match api.delete(&name, &DeleteParams::default()).await {
                    Ok(_) => {}
                    Err(error) if apiserver::is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
                self.store().request_gone(uid);
                Ok(outcome)
            }
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("the store's mutex must not be poisoned")
    }
}

fn pod_uid(request: &PartialObjectMeta<CapacityRequest>) -> Option<&str> {
    request.metadata.labels.as_ref()?.get(names::OWNED_BY_POD).map(String::as_str)
}

fn count(outcome: &'static str) {
    counter!(RECONCILES, "outcome" => outcome).increment(1);
}

fn note_gap(kind: &'static str, gap: bool) {
    if gap {
        counter!(ERRORS, "reason" => "watch_gap").increment(1);
        tracing::warn!(kind, "listing again: events may have been missed");
    }
}
