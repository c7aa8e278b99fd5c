//! pod-shim's picture of its cluster, by watches of UpcomingNodes, all Nodes and all Pods.
//!
//! A bind takes room on its Node once the watch shows it and no earlier: nothing is reserved, as upstream
//! reserved nothing. Workers that decide within one watch delay see the same room and over-pack the Node.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use api::{UpcomingNode, names};
use component::queue::Queue;
use component::slim::Pod;
use component::watch::{Change, changes};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::fit::{self, Amounts, Fit, Host, Misfits, Want};
use super::node::{self, Action};

/// Watches whose first lists must be in before anything is decided.
const WATCHES: u8 = 3;

/// Namespace and name of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl PodKey {
    fn of(pod: &Pod) -> Self {
        Self { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any() }
    }
}

/// A Pod as last seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its uid.
    pub uid: String,
    /// The version that was seen.
    pub resource_version: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether it was made after the fill.
    pub is_steady: bool,
    node: Option<String>,
    is_live: bool,
    is_marked: bool,
    want: Arc<Want>,
}

impl Seen {
    fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            is_steady: pod.label(api::names::STATE) == Some("steady"),
            node: pod.spec.node_name.clone(),
            is_live: pod.is_live(),
            is_marked: pod.is_unschedulable(),
            want: Arc::new(Want::of(pod)),
        }
    }

    fn is_pending(&self) -> bool {
        self.node.is_none() && self.is_live
    }
}

/// What a Pod needs.
#[derive(Clone, Debug)]
pub enum Look {
    /// Nothing: it is bound, on its way out, or gone.
    Settled,
    /// To be bound: the first Node that it fits.
    Fits {
        /// The Pod.
        pod: Seen,
        /// The Node.
        node: String,
        /// When the Node was created.
        node_created: Option<Timestamp>,
    },
    /// To be marked: it fits no Node.
    Misfit {
        /// The Pod.
        pod: Seen,
        /// Why not.
        misfits: Misfits,
    },
    /// Nothing: it fits no Node and is marked.
    Marked,
}

/// The picture. Nodes of other names than `prefix`... are left alone.
pub struct World {
    prefix: String,
    state: Mutex<State>,
    /// How many of the first lists are in.
    lists: watch::Sender<u8>,
}

#[derive(Default)]
struct State {
    upcoming: HashMap<String, UpcomingNode>,
    /// Nodes that exist, by the watch or by an answer ahead of it.
    existing: HashSet<String>,
    /// In order of their names, which makes "first fit" mean something.
    hosts: BTreeMap<String, Host>,
    pods: BTreeMap<PodKey, Seen>,
    /// By Node, whether the Node was seen or not: two watches have no common order.
    taken: HashMap<String, Amounts>,
}

impl World {
    /// Nothing seen yet.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), state: Mutex::default(), lists: watch::Sender::new(0) }
    }

    /// Returns once all first lists are in.
    pub async fn synced(&self) {
        let mut lists = self.lists.subscribe();
        // The sender lives as long as `self`.
        let _ = lists.wait_for(|n| *n >= WATCHES).await;
    }

    /// What the UpcomingNode of that name needs, the object itself, and the name of its Node.
    pub fn machine(&self, upcoming_name: &str) -> (Action, Option<UpcomingNode>, String) {
        let node_name = node::node_name(&self.prefix, upcoming_name);
        let state = self.lock();
        let upcoming = state.upcoming.get(upcoming_name);
        let action = node::decide(upcoming, state.existing.contains(&node_name));
        (action, upcoming.cloned(), node_name)
    }

    /// Takes in that a Node was made or deleted, ahead of the watch.
    pub fn learn(&self, node_name: &str, exists: bool) {
        let mut state = self.lock();
        if exists {
            state.existing.insert(node_name.to_owned());
        } else {
            state.existing.remove(node_name);
        }
    }

    /// What a Pod needs, looking only at the Nodes after `after`.
    pub fn look(&self, key: &PodKey, after: Option<&str>) -> Look {
        let state = self.lock();
        let Some(pod) = state.pods.get(key).filter(|pod| pod.is_pending()) else { return Look::Settled };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut misfits = Misfits::default();
        for (name, host) in state.hosts.range::<str, _>((from, Bound::Unbounded)) {
            if !name.starts_with(&self.prefix) {
                continue;
            }
            match fit::check(&pod.want, host, state.taken.get(name)) {
                Fit::Fits => {
                    let (pod, node) = (pod.clone(), name.clone());
                    return Look::Fits { pod, node, node_created: host.created };
                }
                misfit => misfits.count(misfit),
            }
        }
        if pod.is_marked { Look::Marked } else { Look::Misfit { pod: pod.clone(), misfits } }
    }

    /// Follows UpcomingNodes and queues the name of each that changes.
    pub async fn watch_upcoming(&self, api: Api<UpcomingNode>, machines: &Queue<String>) {
        let known = |state: &State| state.upcoming.keys().cloned().collect();
        let apply = |name: String, upcoming: Option<UpcomingNode>| {
            match upcoming {
                Some(upcoming) => drop(self.lock().upcoming.insert(name.clone(), upcoming)),
                None => drop(self.lock().upcoming.remove(&name)),
            }
            machines.push(name);
        };
        self.follow(api, watcher::Config::default(), ResourceExt::name_any, known, apply).await;
    }

    /// Follows Nodes and wakes the pending Pods that would accept a new or changed one.
    pub async fn watch_nodes(&self, api: Api<Node>, pods: &Queue<PodKey>) {
        let known = |state: &State| state.hosts.keys().cloned().collect();
        let apply = |name: String, node: Option<Node>| {
            let host = node.as_ref().map(Host::of);
            let woken = self.lock().node_seen(&name, host);
            if name.starts_with(&self.prefix) {
                woken.into_iter().for_each(|key| pods.push(key));
            }
        };
        let machines = watcher::Config::default().labels(names::MACHINE_NODES);
        self.follow(api, machines, ResourceExt::name_any, known, apply).await;
    }

    /// Follows Pods and queues the pending ones. Room that a gone Pod leaves wakes others: upstream had no
    /// such wake-up, but Node heartbeats every few seconds that served as one; here they are minutes apart.
    pub async fn watch_pods(&self, api: Api<Pod>, pods: &Queue<PodKey>) {
        let known = |state: &State| state.pods.keys().cloned().collect();
        let apply = |key: PodKey, pod: Option<Pod>| {
            let woken = self.lock().pod_seen(&key, pod.as_ref().map(Seen::of));
            woken.into_iter().for_each(|key| pods.push(key));
        };
        let load = watcher::Config::default().fields(names::LOAD_PODS);
        self.follow(api, load, PodKey::of, known, apply).await;
    }

    /// Hands each change to `apply`; what a later list does not name is gone.
    async fn follow<K, N>(
        &self,
        api: Api<K>,
        which: watcher::Config,
        key: impl Fn(&K) -> N,
        known: impl Fn(&State) -> HashSet<N>,
        apply: impl Fn(N, Option<K>),
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        N: Eq + Hash,
    {
        let mut stream = std::pin::pin!(changes(api, which));
        let mut unnamed = HashSet::new();
        let mut first = true;
        while let Some((_, change)) = stream.next().await {
            match change {
                Change::Applied(object) => {
                    let key = key(&object);
                    unnamed.remove(&key);
                    apply(key, Some(object));
                }
                Change::Deleted(object) => apply(key(&object), None),
                Change::ListStarted { .. } => unnamed = known(&self.lock()),
                Change::ListDone => {
                    unnamed.drain().for_each(|key| apply(key, None));
                    if std::mem::take(&mut first) {
                        self.lists.send_modify(|n| *n += 1);
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the world's mutex must not be poisoned")
    }
}

impl State {
    /// Takes in a Node, or that it is gone; returns the Pods that have to be looked at again.
    fn node_seen(&mut self, name: &str, host: Option<Host>) -> Vec<PodKey> {
        let Some(host) = host else {
            self.existing.remove(name);
            self.hosts.remove(name);
            return Vec::new();
        };
        self.existing.insert(name.to_owned());
        if self.hosts.get(name) == Some(&host) {
            return Vec::new();
        }
        let woken = self.pending_for(&host);
        self.hosts.insert(name.to_owned(), host);
        woken
    }

    /// Takes in a Pod, or that it is gone; returns the Pods that have to be looked at again.
    fn pod_seen(&mut self, key: &PodKey, pod: Option<Seen>) -> Vec<PodKey> {
        let new = pod.as_ref().and_then(|pod| pod.node.clone());
        let is_pending = pod.as_ref().is_some_and(Seen::is_pending);
        if let (Some(pod), Some(node)) = (&pod, &new) {
            fit::add(self.taken.entry(node.clone()).or_default(), &pod.want.taken());
        }
        let old = match pod {
            Some(pod) => self.pods.insert(key.clone(), pod),
            None => self.pods.remove(key),
        };
        let mut woken: Vec<PodKey> = is_pending.then(|| key.clone()).into_iter().collect();
        if let Some((old, node)) = old.and_then(|old| Some((old.want, old.node?))) {
            if let Some(taken) = self.taken.get_mut(&node) {
                fit::subtract(taken, &old.taken());
                if taken.is_empty() {
                    self.taken.remove(&node);
                }
            }
            if new.as_ref() != Some(&node)
                && let Some(host) = self.hosts.get(&node)
            {
                woken.extend(self.pending_for(host));
            }
        }
        woken
    }

    fn pending_for(&self, host: &Host) -> Vec<PodKey> {
        let accepting = |(_, pod): &(&PodKey, &Seen)| pod.is_pending() && pod.want.accepts(&host.labels);
        self.pods.iter().filter(accepting).map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
