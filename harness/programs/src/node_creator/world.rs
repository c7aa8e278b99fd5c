//! node-creator's picture of the cluster: UpcomingNodes and the Nodes that carry its mark, by Node name.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use api::UpcomingNode;
use component::queue::Queue;
use component::watch::{Change, changes};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::sync::watch;

use super::node::{Action, Made, Upcoming, decide, is_ready};

/// Both watches' state.
pub struct World {
    state: Mutex<State>,
    /// How many of the two first lists are in.
    lists: watch::Sender<u8>,
}

#[derive(Default)]
struct State {
    upcoming: HashMap<String, (UpcomingNode, Option<Instant>)>,
    nodes: HashMap<String, Made>,
}

impl State {
    fn action(&self, name: &str) -> Action {
        let seen = self
            .upcoming
            .get(name)
            .map(|(u, _)| Upcoming { uid: u.uid().unwrap_or_default(), ready: is_ready(u) });
        decide(seen.as_ref(), self.nodes.get(name))
    }
}

impl Default for World {
    fn default() -> Self {
        Self { state: Mutex::default(), lists: watch::Sender::new(0) }
    }
}

impl World {
    /// Returns once both first lists are in.
    pub async fn synced(&self) {
        let mut lists = self.lists.subscribe();
        // The sender lives as long as `self`.
        let _ = lists.wait_for(|n| *n >= 2).await;
    }

    /// What the machine behind a Node name needs, with what that was concluded from.
    pub fn look(&self, name: &str) -> (Action, Option<UpcomingNode>, Option<Made>) {
        let state = self.lock();
        let upcoming = state.upcoming.get(name).map(|(u, _)| u);
        (state.action(name), upcoming.cloned(), state.nodes.get(name).cloned())
    }

    fn action(&self, name: &str) -> Action {
        self.lock().action(name)
    }

    /// Seconds since Ready was received for that name.
    pub fn seconds_since_ready(&self, name: &str) -> Option<f64> {
        self.lock().upcoming.get(name).and_then(|(_, at)| *at).map(|at| at.elapsed().as_secs_f64())
    }

    /// Takes in a Node from an answer, ahead of the watch: a second look must not create it again.
    pub fn learn(&self, node: &Node) {
        self.lock().nodes.insert(node.name_any(), made(node));
    }

    /// Takes in that a Node's deletion was accepted.
    pub fn deleting(&self, name: &str, uid: &str) {
        if let Some(node) = self.lock().nodes.get_mut(name).filter(|n| n.uid == uid) {
            node.deleting = true;
        }
    }

    /// Follows UpcomingNodes and queues the Node names they stand for.
    pub async fn watch_upcoming(&self, api: Api<UpcomingNode>, queue: &Queue<String>, prefix: &str) {
        let key = |u: &UpcomingNode| match api::names::machine_id(&u.name_any()) {
            Some(id) => Some(format!("{prefix}{id}")),
            None => {
                tracing::warn!(upcoming_node = %u.name_any(), "its name does not begin with un-; ignored");
                None
            }
        };
        let apply = |state: &mut State, name: &str, object: Option<UpcomingNode>, at: Instant| match object {
            Some(object) => {
                let was = state.upcoming.remove(name);
                let same = was.filter(|(u, _)| u.uid() == object.uid());
                let ready_at = same.and_then(|(_, at)| at).or_else(|| is_ready(&object).then_some(at));
                state.upcoming.insert(name.to_owned(), (object, ready_at));
            }
            None => {
                state.upcoming.remove(name);
            }
        };
        let known = |state: &State| state.upcoming.keys().cloned().collect();
        // Every change is looked at: an outcome is what came of looking at an UpcomingNode.
        let changes = changes(api, watcher::Config::default());
        self.follow(changes, queue, key, apply, known, |_| true).await;
    }

    /// Follows the Nodes that carry the mark, and queues their names.
    pub async fn watch_nodes(&self, api: Api<Node>, marked: watcher::Config, queue: &Queue<String>) {
        let apply = |state: &mut State, name: &str, object: Option<Node>, _at: Instant| match object {
            Some(object) => {
                let mut node = made(&object);
                // Our own delete may be known before the event that says so.
                let old = state.nodes.get(name).filter(|old| old.uid == node.uid);
                node.deleting |= old.is_some_and(|old| old.deleting);
                state.nodes.insert(name.to_owned(), node);
            }
            None => {
                state.nodes.remove(name);
            }
        };
        let known = |state: &State| state.nodes.keys().cloned().collect();
        // kwok's heartbeats change Nodes all the time; they and the echo of our own create ask for nothing.
        let matters = |now: &Action| !matches!(now, Action::Exists | Action::NotReady | Action::Wait);
        self.follow(changes(api, marked), queue, |n| Some(n.name_any()), apply, known, matters).await;
    }

    /// Applies changes and queues every name whose new action `matters`. What a list does not name is gone:
    /// only this finds what was deleted while the watch was broken.
    async fn follow<K>(
        &self,
        changes: impl Stream<Item = (Instant, Change<K>)>,
        queue: &Queue<String>,
        key: impl Fn(&K) -> Option<String>,
        apply: impl Fn(&mut State, &str, Option<K>, Instant),
        known: impl Fn(&State) -> HashSet<String>,
        matters: impl Fn(&Action) -> bool,
    ) {
        let mut changes = std::pin::pin!(changes);
        let mut unnamed = HashSet::new();
        let mut first = true;
        while let Some((at, change)) = changes.next().await {
            let (name, object) = match change {
                Change::Applied(object) => (key(&object), Some(object)),
                Change::Deleted(object) => (key(&object), None),
                Change::ListStarted { .. } => {
                    unnamed = known(&self.lock());
                    continue;
                }
                Change::ListDone => {
                    for name in unnamed.drain() {
                        apply(&mut self.lock(), &name, None, at);
                        queue.push(name);
                    }
                    if std::mem::take(&mut first) {
                        self.lists.send_modify(|n| *n += 1);
                    }
                    continue;
                }
            };
            let Some(name) = name else { continue };
            unnamed.remove(&name);
            apply(&mut self.lock(), &name, object, at);
            if matters(&self.action(&name)) {
                queue.push(name);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the world's mutex must not be poisoned")
    }
}

fn made(node: &Node) -> Made {
    let annotation = |key: &str| node.metadata.annotations.as_ref().and_then(|a| a.get(key)).cloned();
    Made {
        uid: node.metadata.uid.clone().unwrap_or_default(),
        upcoming_uid: annotation(api::names::UPCOMING_UID),
        deleting: node.metadata.deletion_timestamp.is_some(),
    }
}
