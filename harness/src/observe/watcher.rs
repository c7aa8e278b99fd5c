//! The watches of a run and the task that folds them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use api::UpcomingNode;
use component::slim::Pod;
use component::watch::{Change, changes};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::observe::clock::Clock;
use crate::observe::ledger::{Counts, Kind, Ledger};
use crate::observe::request::Request;
use harness_model::record::Event;

/// Watches all clusters of a run.
pub struct Observer {
    clusters: Arc<BTreeMap<String, Mutex<Ledger>>>,
    clients: BTreeMap<String, Client>,
    tasks: JoinSet<()>,
}

/// One queued observation.
// Nearly all are Pods and live for microseconds: the space for the rare Node costs less than a Box for each.
#[allow(clippy::large_enum_variant)]
enum Seen {
    Pod(Change<Pod>),
    Request(Change<Request>),
    Upcoming(Change<UpcomingNode>),
    Node(Change<Node>),
}

type Queue = UnboundedSender<(usize, Instant, Seen)>;

impl Observer {
    /// Starts watching; `kubeconfigs` are the observer identity's, by cluster. Findings (gaps, Nodes that
    /// leave Ready) go to `events`.
    ///
    /// # Errors
    /// When a kubeconfig cannot be used.
    pub async fn start(
        kubeconfigs: &BTreeMap<String, std::path::PathBuf>,
        clock: Clock,
        events: UnboundedSender<Event>,
    ) -> anyhow::Result<Self> {
        let (queue, queued) = unbounded_channel();
        let (mut tasks, mut clients) = (JoinSet::new(), BTreeMap::new());
        for (index, (name, kubeconfig)) in kubeconfigs.iter().enumerate() {
            let client = connect(name, kubeconfig).await?;
            let (all, pods, nodes) = (
                Config::default(),
                Config::default().fields(api::names::LOAD_PODS),
                Config::default().labels(api::names::MACHINE_NODES),
            );
            let of = |config: &Config| Watch { cluster: index, queue: queue.clone(), config: config.clone() };
            of(&pods).start(&mut tasks, Api::<Pod>::all(client.clone()), Seen::Pod);
            of(&all).start(&mut tasks, Api::<Request>::all(client.clone()), Seen::Request);
            of(&all).start(&mut tasks, Api::<UpcomingNode>::all(client.clone()), Seen::Upcoming);
            of(&nodes).start(&mut tasks, Api::<Node>::all(client.clone()), Seen::Node);
            clients.insert(name.clone(), client);
        }
        let ledgers = kubeconfigs.keys().map(|name| (name.clone(), Mutex::new(Ledger::new(name))));
        let clusters: Arc<BTreeMap<_, _>> = Arc::new(ledgers.collect());
        tasks.spawn(fold(queued, clusters.clone(), clock, events));
        Ok(Self { clusters, clients, tasks })
    }

    /// Returns the names of the clusters, in order.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// Returns the observer's client of a cluster.
    pub fn client(&self, cluster: &str) -> Option<&Client> {
        self.clients.get(cluster)
    }

    /// Returns a cluster's ledger, locked.
    pub fn ledger(&self, cluster: &str) -> Option<MutexGuard<'_, Ledger>> {
        self.clusters.get(cluster).map(lock)
    }

    /// Returns the counts over all clusters.
    pub fn totals(&self) -> Counts {
        let mut sum = Counts::default();
        self.clusters.values().for_each(|ledger| sum += lock(ledger).counts());
        sum
    }

    /// Stops all watches.
    pub fn stop(&mut self) {
        self.tasks.abort_all();
    }
}

async fn connect(cluster: &str, kubeconfig: &Path) -> anyhow::Result<Client> {
    component::client::connect_unlimited(kubeconfig)
        .await
        .with_context(|| format!("connecting the observer to {cluster}"))
}

/// A watch of one kind in one cluster.
struct Watch {
    cluster: usize,
    queue: Queue,
    config: Config,
}

impl Watch {
    fn start<K>(self, tasks: &mut JoinSet<()>, api: Api<K>, wrap: fn(Change<K>) -> Seen)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    {
        tasks.spawn(async move {
            let mut stream = std::pin::pin!(changes(api, self.config));
            while let Some((at, change)) = stream.next().await {
                if self.queue.send((self.cluster, at, wrap(change))).is_err() {
                    return;
                }
            }
        });
    }
}

async fn fold(
    mut queued: UnboundedReceiver<(usize, Instant, Seen)>,
    clusters: Arc<BTreeMap<String, Mutex<Ledger>>>,
    clock: Clock,
    events: UnboundedSender<Event>,
) {
    let ledgers: Vec<_> = clusters.iter().collect();
    // Whether the first list of Pods of a cluster is still running.
    let mut first_list = vec![false; ledgers.len()];
    while let Some((index, at, seen)) = queued.recv().await {
        let (cluster, ledger) = ledgers[index];
        let at_us = clock.at_us(at);
        let report = |event| drop(events.send(event));
        let gap = |gap: bool, kind: Kind| {
            if gap {
                report(Event::WatchGap { cluster: cluster.clone(), kind: kind.name().to_owned() });
            }
        };
        let mut ledger = lock(ledger);
        match seen {
            Seen::Pod(Change::Applied(pod)) => {
                ledger.pod_applied(at_us, clock.wall_start_us() + at_us, &pod, first_list[index]);
            }
            Seen::Pod(Change::Deleted(pod)) => {
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                ledger.pod_deleted(at_us, uid, version(&pod.metadata));
            }
            Seen::Pod(Change::ListStarted { gap: is_gap }) => {
                first_list[index] = !is_gap;
                ledger.list_started(Kind::Pod);
                gap(is_gap, Kind::Pod);
            }
            Seen::Pod(Change::ListDone) => {
                first_list[index] = false;
                ledger.list_done(at_us, Kind::Pod);
            }
            Seen::Request(Change::Applied(request)) => ledger.request_applied(at_us, &request),
            Seen::Request(Change::Deleted(request)) => {
                ledger.request_deleted(at_us, request.metadata.name.as_deref().unwrap_or_default());
            }
            Seen::Request(Change::ListStarted { gap: is_gap }) => {
                ledger.list_started(Kind::CapacityRequest);
                gap(is_gap, Kind::CapacityRequest);
            }
            Seen::Request(Change::ListDone) => ledger.list_done(at_us, Kind::CapacityRequest),
            Seen::Upcoming(Change::Applied(upcoming)) => ledger.upcoming_applied(at_us, &upcoming),
            Seen::Upcoming(Change::Deleted(upcoming)) => {
                ledger.upcoming_deleted(at_us, upcoming.metadata.name.as_deref().unwrap_or_default());
            }
            Seen::Node(Change::Applied(node)) => {
                if ledger.node_applied(at_us, &node) {
                    let node = node.metadata.name.unwrap_or_default();
                    report(Event::NodeNotReady { cluster: cluster.clone(), node });
                }
            }
            Seen::Node(Change::Deleted(node)) => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                ledger.node_deleted(at_us, name, version(&node.metadata));
            }
            Seen::Upcoming(Change::ListStarted { gap: is_gap }) => {
                ledger.list_started(Kind::UpcomingNode);
                gap(is_gap, Kind::UpcomingNode);
            }
            Seen::Upcoming(Change::ListDone) => ledger.list_done(at_us, Kind::UpcomingNode),
            Seen::Node(Change::ListStarted { gap: is_gap }) => {
                ledger.list_started(Kind::Node);
                gap(is_gap, Kind::Node);
            }
            Seen::Node(Change::ListDone) => ledger.list_done(at_us, Kind::Node),
        }
    }
}

/// Parses a resourceVersion as a number. All versions of one apiserver have one order, whatever their kind: they are
/// revisions of its etcd, and clients may compare them (Kubernetes docs, "Resource versions").
fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // A ledger has no invariant that a panic elsewhere could break.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
