//! The unschedulable-pod-controller: keeps one CapacityRequest per live Pod.
//!
//! Two watches say what there is; whatever changes puts the Pod's uid into a queue, and workers bring the request
//! in line with the Pod as it is when its turn comes.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{bail, ensure};
use api::{CapacityRequest, names};
use clap::Args;
use component::apiserver;
use component::queue::Queue;
use component::slim::Pod;
use component::watch::{Change, changes};
use futures::StreamExt;
use kube::api::DeleteParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};

use crate::cache::Cache;
use crate::request;

/// The controller's flags beside the common ones.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Pods that are worked on at once.
    #[arg(long, default_value_t = 16)]
    concurrency: u16,
    /// Which Pods get a request.
    #[arg(long, default_value = "per-pod", value_parser = ["per-pod", "unschedulable-only"])]
    cr_mode: String,
    /// When the request of a Pod that goes away is deleted.
    #[arg(long, default_value = "on-terminating", value_parser = ["on-terminating", "on-gone"])]
    cr_release: String,
}

/// The request's metadata is all that is needed of it.
type Request = PartialObjectMeta<CapacityRequest>;

struct Controller {
    client: Client,
    known: Mutex<Known>,
    /// Uids of Pods.
    queue: Queue<String>,
}

/// Both by the Pod's uid.
#[derive(Default)]
struct Known {
    pods: Cache<Pod>,
    /// Namespaces of the requests that exist.
    requests: Cache<String>,
}

enum Task {
    Nothing,
    Create(Box<Pod>),
    Delete { namespace: String },
}

/// Runs for ever. Calls `on_ready` when both lists are complete.
///
/// # Errors
/// When a flag asks for what is left out here, `on_ready` fails, or a watch ends, which it never does by itself.
pub async fn run(
    client: Client,
    options: Options,
    on_ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let usual = options.cr_mode == "per-pod" && options.cr_release == "on-terminating";
    ensure!(usual, "this controller knows only --cr-mode=per-pod and --cr-release=on-terminating");
    let load = watcher::Config::default().fields(names::LOAD_PODS);
    let mut pods = pin!(changes(Api::<Pod>::all(client.clone()), load));
    let mut requests = pin!(changes(Api::<Request>::all(client.clone()), watcher::Config::default()));
    let controller = Arc::new(Controller { client, known: Mutex::default(), queue: Queue::default() });
    // No Pod is worked on before both lists are complete: one would look as if it had no request.
    let mut on_ready = Some(on_ready);
    let (mut have_pods, mut have_requests) = (false, false);
    loop {
        tokio::select! {
            change = pods.next() => {
                let Some((_, change)) = change else { bail!("the watch of Pods ended") };
                have_pods |= matches!(change, Change::ListDone);
                controller.pod_changed(change);
            }
            change = requests.next() => {
                let Some((_, change)) = change else { bail!("the watch of CapacityRequests ended") };
                have_requests |= matches!(change, Change::ListDone);
                controller.request_changed(change);
            }
        }
        if have_pods
            && have_requests
            && let Some(on_ready) = on_ready.take()
        {
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
        match controller.reconcile(&uid).await {
            Ok(()) => controller.queue.done(&uid),
            Err(error) => {
                tracing::warn!(pod_uid = uid, %error, "the Pod's request is not as it should be");
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
    fn pod_changed(&self, change: Change<Pod>) {
        let mut known = self.known();
        match change {
            Change::Applied(pod) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                known.pods.insert(uid.clone(), pod);
                self.queue.push(uid);
            }
            Change::Deleted(pod) => {
                let uid = pod.metadata.uid.unwrap_or_default();
                known.pods.remove(&uid);
                self.queue.push(uid);
            }
            Change::ListStarted { .. } => known.pods.list_started(),
            Change::ListDone => {
                known.pods.list_done();
                // Those that the list did not name have a request left.
                known.requests.keys().for_each(|uid| self.queue.push(uid.clone()));
            }
        }
    }

    fn request_changed(&self, change: Change<Request>) {
        let mut known = self.known();
        match change {
            Change::Applied(request) => {
                if let Some(uid) = pod_uid(&request) {
                    known.requests.insert(uid.clone(), request.metadata.namespace.unwrap_or_default());
                    self.queue.push(uid);
                }
            }
            Change::Deleted(request) => {
                if let Some(uid) = pod_uid(&request) {
                    known.requests.remove(&uid);
                    self.queue.push(uid);
                }
            }
            Change::ListStarted { .. } => known.requests.list_started(),
            Change::ListDone => {
                known.requests.list_done();
                known.pods.keys().for_each(|uid| self.queue.push(uid.clone()));
            }
        }
    }

    fn task(&self, uid: &str) -> Task {
        let known = self.known();
        let (pod, request) = (known.pods.get(uid), known.requests.get(uid));
        match (pod.filter(|pod| pod.is_live()), request) {
            (Some(pod), None) => Task::Create(Box::new(pod.clone())),
            (None, Some(namespace)) => Task::Delete { namespace: namespace.clone() },
            _ => Task::Nothing,
        }
    }

    async fn reconcile(&self, uid: &str) -> Result<(), kube::Error> {
        match self.task(uid) {
            Task::Nothing => {}
            Task::Create(pod) => {
                let request = match request::of(uid, &pod) {
                    Ok(request) => request,
                    Err(error) => {
                        tracing::warn!(pod = pod.metadata.name, error = %format!("{error:#}"), "no request");
                        return Ok(());
                    }
                };
                match apiserver::create(&self.client, &request).await {
                    Ok(()) => {}
                    Err(error) if apiserver::code(&error) == Some(409) => {}
                    Err(error) => return Err(error),
                }
                // The watch tells it later; until then the Pod's next change would make it again.
                self.known().requests.insert(uid.to_owned(), pod.metadata.namespace.unwrap_or_default());
            }
            Task::Delete { namespace } => {
                let api = Api::<Request>::namespaced(self.client.clone(), &namespace);
                match api.delete(&request::name(uid), &DeleteParams::default()).await {
                    Ok(_) => {}
                    Err(error) if apiserver::is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
                self.known().requests.remove(uid);
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("the controller's mutex must not be poisoned")
    }
}

fn pod_uid(request: &Request) -> Option<String> {
    request.metadata.labels.as_ref()?.get(names::OWNED_BY_POD).cloned()
}
