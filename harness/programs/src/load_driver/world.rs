//! load-driver's picture of its cluster: what it declared, and the Pods that came of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use component::slim;
use component::watch::{Change, changes};
use futures::StreamExt;
use kube::Api;
use kube::runtime::watcher;
use tokio::sync::watch;

use super::metrics;
use harness_model::plan::Workload;

/// A Pod, as far as load is concerned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Creation time, seconds since the epoch; first in order, then the name.
    pub created_s: i64,
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// Whether it has a Node.
    pub bound: bool,
}

/// Counts over all workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Replicas declared so far.
    pub declared: u32,
    /// Live Pods.
    pub live: u32,
    /// Live Pods with a Node.
    pub bound: u32,
}

/// A workload object with fewer live Pods than it declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Its name.
    pub workload: String,
    /// Since when it has lacked Pods and got none.
    pub since: Instant,
    /// Creation time of the newest Pod that it ever had, seconds since the epoch by the cluster's clock.
    pub newest_s: i64,
    /// Whether all its live Pods have a Node. A StatefulSet makes no Pod while an earlier one waits.
    pub all_bound: bool,
}

/// One workload object.
#[derive(Clone, Debug, Default)]
struct Group {
    declared: u32,
    bound: u32,
    /// Live Pods by uid.
    pods: HashMap<String, Seen>,
    /// As in [`Lacking`]; none while it has all its Pods.
    lacking_since: Option<Instant>,
    newest_s: i64,
}

impl Group {
    /// Notes whether Pods are lacking, after a change that brought a Pod or did not.
    fn note_lack(&mut self, gained: bool) {
        let lacks = (self.pods.len() as u32) < self.declared;
        let since = self.lacking_since.filter(|_| !gained);
        self.lacking_since = lacks.then(|| since.unwrap_or_else(Instant::now));
    }
}

/// Declared replicas and live Pods by workload.
pub struct World {
    state: Mutex<State>,
    /// Counts up with every change.
    version: watch::Sender<u64>,
    synced: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Group>,
    totals: Totals,
}

impl World {
    /// Nothing declared yet.
    pub fn new(workloads: &[Workload]) -> Self {
        let groups = workloads.iter().map(|w| (w.name.clone(), Group::default())).collect();
        let state = State { groups, totals: Totals::default() };
        Self { state: Mutex::new(state), version: watch::Sender::new(0), synced: watch::Sender::new(false) }
    }

    /// Follows the Pods of all workloads, for ever.
    pub async fn follow(&self, api: Api<slim::Pod>) {
        let config = watcher::Config::default().labels(api::names::WORKLOAD);
        let mut stream = std::pin::pin!(changes(api, config));
        let mut unnamed = HashSet::<(String, String)>::new();
        while let Some((_, change)) = stream.next().await {
            match change {
                Change::Applied(pod) => {
                    if let Some(workload) = pod.label(api::names::WORKLOAD) {
                        let seen = seen(&pod);
                        unnamed.remove(&(workload.to_owned(), seen.uid.clone()));
                        self.apply(workload, &seen.uid.clone(), pod.is_live().then_some(seen));
                    }
                }
                Change::Deleted(pod) => {
                    if let Some(workload) = pod.label(api::names::WORKLOAD) {
                        self.apply(workload, &seen(&pod).uid, None);
                    }
                }
                Change::ListStarted { .. } => unnamed = self.uids(),
                Change::ListDone => {
                    for (workload, uid) in unnamed.drain() {
                        self.apply(&workload, &uid, None);
                    }
                    self.synced.send_replace(true);
                }
            }
        }
    }

    /// Takes in one Pod: live with these facts, or gone.
    pub fn apply(&self, workload: &str, uid: &str, pod: Option<Seen>) {
        let mut state = self.lock();
        let Some(group) = state.groups.get_mut(workload) else { return };
        let (bound_now, live_now) = (pod.as_ref().is_some_and(|p| p.bound), pod.is_some());
        group.newest_s = group.newest_s.max(pod.as_ref().map_or(0, |p| p.created_s));
        let old = match pod {
            Some(pod) => group.pods.insert(uid.to_owned(), pod),
            None => group.pods.remove(uid),
        };
        let bound_before = old.as_ref().is_some_and(|p| p.bound);
        group.bound = group.bound + u32::from(bound_now) - u32::from(bound_before);
        group.note_lack(live_now && old.is_none());
        let totals = &mut state.totals;
        totals.bound = totals.bound + u32::from(bound_now) - u32::from(bound_before);
        totals.live = totals.live + u32::from(live_now) - u32::from(old.is_some());
        self.changed(state);
    }

    /// Takes in that an object now has that many replicas.
    pub fn declare(&self, workload: &str, replicas: u32) {
        let mut state = self.lock();
        let Some(group) = state.groups.get_mut(workload) else { return };
        let before = std::mem::replace(&mut group.declared, replicas);
        group.note_lack(false);
        state.totals.declared = state.totals.declared + replicas - before;
        self.changed(state);
    }

    /// Replicas declared for an object; `None` if the plan has no such object.
    pub fn declared(&self, workload: &str) -> Option<u32> {
        self.lock().groups.get(workload).map(|g| g.declared)
    }

    /// Live Pods of an object.
    pub fn live(&self, workload: &str) -> u32 {
        self.lock().groups.get(workload).map_or(0, |g| g.pods.len() as u32)
    }

    /// The bound Pod of an object at an ordinal, counted round by age; `None` while it has no bound Pod.
    pub fn pick(&self, workload: &str, ordinal: u32) -> Option<Seen> {
        let state = self.lock();
        let mut bound: Vec<&Seen> = state.groups.get(workload)?.pods.values().filter(|p| p.bound).collect();
        bound.sort_unstable();
        let index = ordinal as usize % bound.len().max(1);
        bound.get(index).map(|p| (*p).clone())
    }

    /// Objects that have lacked Pods for so long and got none meanwhile.
    pub fn lacking(&self, at_least: Duration) -> Vec<Lacking> {
        let state = self.lock();
        let of = |(name, group): (&String, &Group)| {
            let since = group.lacking_since.filter(|since| since.elapsed() >= at_least)?;
            let all_bound = group.bound as usize == group.pods.len();
            Some(Lacking { workload: name.clone(), since, newest_s: group.newest_s, all_bound })
        };
        state.groups.iter().filter_map(of).collect()
    }

    /// Pods without a Node, by workload.
    pub fn unbound(&self) -> BTreeMap<String, Vec<Seen>> {
        let state = self.lock();
        let unbound = state.groups.iter().map(|(name, group)| {
            let mut pods: Vec<Seen> = group.pods.values().filter(|p| !p.bound).cloned().collect();
            pods.sort_unstable();
            (name.clone(), pods)
        });
        unbound.filter(|(_, pods)| !pods.is_empty()).collect()
    }

    /// Counts over all workloads.
    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Waits until `condition` holds of the counts.
    pub async fn until(&self, condition: impl Fn(Totals) -> bool) {
        let mut version = self.version.subscribe();
        // The sender lives as long as `self`.
        let _ = version.wait_for(|_| condition(self.totals())).await;
    }

    /// Waits for a bound Pod of an object, and takes it.
    pub async fn until_picked(&self, workload: &str, ordinal: u32) -> Seen {
        let mut version = self.version.subscribe();
        loop {
            version.mark_unchanged();
            if let Some(pod) = self.pick(workload, ordinal) {
                return pod;
            }
            let _ = version.changed().await;
        }
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        let _ = synced.wait_for(|done| *done).await;
    }

    fn uids(&self) -> HashSet<(String, String)> {
        let state = self.lock();
        let of = |(name, group): (&String, &Group)| -> Vec<(String, String)> {
            group.pods.keys().map(|uid| (name.clone(), uid.clone())).collect()
        };
        state.groups.iter().flat_map(of).collect()
    }

    fn changed(&self, state: MutexGuard<'_, State>) {
        metrics::totals(state.totals);
        // Unlocked first: whoever wakes looks at once.
        drop(state);
        self.version.send_modify(|v| *v += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the world's mutex must not be poisoned")
    }
}

fn seen(pod: &slim::Pod) -> Seen {
    let meta = &pod.metadata;
    Seen {
        created_s: meta.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        bound: pod.spec.node_name.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::profile::Kind;

    fn world() -> World {
        let workload = Workload {
            name: "w".into(),
            archetype: "a".into(),
            kind: Kind::Deployment,
            index: 0,
            replicas: 3,
            size: 0,
            spread: false,
            gang: None,
            fingerprint: String::new(),
        };
        World::new(&[workload])
    }

    fn pod(name: &str, created_s: i64, bound: bool) -> Seen {
        Seen { created_s, name: name.into(), uid: name.into(), bound }
    }

    #[test]
    fn counts_follow_every_change_once() {
        let world = world();
        world.declare("w", 3);
        world.apply("w", "a", Some(pod("a", 1, false)));
        world.apply("w", "a", Some(pod("a", 1, true)));
        world.apply("w", "a", Some(pod("a", 1, true)));
        world.apply("w", "b", Some(pod("b", 2, false)));
        assert_eq!(world.totals(), Totals { declared: 3, live: 2, bound: 1 });
        world.apply("w", "a", None);
        world.apply("w", "a", None);
        world.declare("w", 1);
        world.apply("stranger", "x", Some(pod("x", 1, true)));
        assert_eq!(world.totals(), Totals { declared: 1, live: 1, bound: 0 });
    }

    #[test]
    fn a_workload_lacks_pods_until_it_has_all_it_declares() {
        let world = world();
        let lacking = || world.lacking(Duration::ZERO);
        assert_eq!(lacking(), []);
        world.declare("w", 2);
        let first = lacking().remove(0);
        assert_eq!((first.workload.as_str(), first.newest_s, first.all_bound), ("w", 0, true));
        world.apply("w", "a", Some(pod("a", 7, false)));
        let second = lacking().remove(0);
        assert!(first.since < second.since, "a Pod came");
        assert_eq!((second.newest_s, second.all_bound), (7, false));
        world.apply("w", "a", Some(pod("a", 7, true)));
        world.declare("w", 3);
        assert_eq!(lacking()[0].since, second.since, "none came since");
        assert_eq!(world.lacking(Duration::from_secs(60)), [], "not for so long");
        world.apply("w", "b", Some(pod("b", 8, true)));
        world.apply("w", "c", Some(pod("c", 9, true)));
        assert_eq!(lacking(), []);
        world.apply("w", "c", None);
        assert_eq!(lacking()[0].newest_s, 9, "of those that ever were");
    }

    #[test]
    fn picks_go_round_by_age_over_bound_pods() {
        let world = world();
        assert_eq!(world.pick("w", 0), None);
        for (name, created, bound) in [("z", 1, true), ("a", 2, true), ("b", 2, true), ("y", 0, false)] {
            world.apply("w", name, Some(pod(name, created, bound)));
        }
        let name = |ordinal| world.pick("w", ordinal).unwrap().name;
        assert_eq!([name(0), name(1), name(2), name(3)], ["z", "a", "b", "z"]);
    }
}
