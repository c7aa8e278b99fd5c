//! What is known of Pods and their requests, and what follows for a Pod. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use api::CapacityRequest;
use component::slim::Pod;

use crate::pod_requests::penalties::PenaltyDefaults;
use crate::pod_requests::translate::{self, capacity_request};
use crate::pod_requests::{CrMode, CrRelease};

/// Pods and requests by Pod uid.
pub struct Store {
    mode: CrMode,
    release: CrRelease,
    defaults: PenaltyDefaults,
    pods: HashMap<String, PodEntry>,
    requests: HashMap<String, RequestEntry>,
    /// Numbers of the running (or last) list of Pods and of requests: older entries are not in it.
    pod_list: u32,
    request_list: u32,
}

struct PodEntry {
    namespace: String,
    name: String,
    want: Want,
    /// Translated when the Pod was first seen and dropped once the request exists: ten thousand drafts kept
    /// for ever would be the largest thing in this process.
    draft: Option<Arc<CapacityRequest>>,
    list: u32,
}

struct RequestEntry {
    namespace: String,
    name: String,
    list: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Request,
    /// A request that exists stays, a missing one is not made.
    AsIs(&'static str),
    NoRequest(&'static str),
}

/// What to do for a Pod.
#[derive(Clone, Debug)]
pub enum Task {
    /// Nothing; the reconcile's outcome.
    Nothing(&'static str),
    /// Create this request.
    Create(Arc<CapacityRequest>),
    /// Read the Pod again: its request vanished after the draft was dropped.
    Fetch {
        /// Namespace of the Pod.
        namespace: String,
        /// Name of the Pod.
        name: String,
    },
    /// Delete the request.
    Delete {
        /// Namespace of the request.
        namespace: String,
        /// Name of the request.
        name: String,
        /// The reconcile's outcome when it is gone.
        outcome: &'static str,
    },
}

impl Store {
    /// An empty store.
    pub fn new(mode: CrMode, release: CrRelease, defaults: PenaltyDefaults) -> Self {
        Self {
            mode,
            release,
            defaults,
            pods: HashMap::new(),
            requests: HashMap::new(),
            pod_list: 0,
            request_list: 0,
        }
    }

    /// Takes in a Pod as it is now. Returns its uid.
    ///
    /// # Errors
    /// When a Pod that wants a request cannot be translated; it is known, but stays without.
    pub fn pod_applied(&mut self, pod: &Pod) -> Result<String, translate::Error> {
        let uid = pod.metadata.uid.clone().ok_or(translate::Error::Missing("uid"))?;
        let mut want = self.want(pod);
        let mut draft = None;
        let mut failure = None;
        if want == Want::Request && !self.requests.contains_key(&uid) {
            draft = self.pods.get_mut(&uid).and_then(|entry| entry.draft.take());
            if draft.is_none() {
                match capacity_request(pod, &self.defaults) {
                    Ok(request) => draft = Some(Arc::new(request)),
                    Err(error) => {
                        want = Want::AsIs("error");
                        failure = Some(error);
                    }
                }
            }
        }
        let entry = PodEntry {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            want,
            draft,
            list: self.pod_list,
        };
        self.pods.insert(uid.clone(), entry);
        failure.map_or(Ok(uid), Err)
    }

    fn want(&self, pod: &Pod) -> Want {
        if pod.is_terminal() {
            return Want::NoRequest("pod_terminal");
        }
        // A new machine would do nothing for a Pod that a kubelet runs from a file of its own.
        if pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(api::names::MIRROR_POD)) {
            return Want::NoRequest("static_pod");
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return match self.release {
                CrRelease::OnTerminating => Want::NoRequest("pod_terminating"),
                CrRelease::OnGone => Want::AsIs("pod_terminating"),
            };
        }
        match self.mode {
            CrMode::PerPod => Want::Request,
            CrMode::UnschedulableOnly if pod.is_unschedulable() => Want::Request,
            CrMode::UnschedulableOnly => Want::AsIs("not_unschedulable"),
        }
    }

    /// Forgets a Pod; its request is the garbage collector's.
    pub fn pod_deleted(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// A list of all Pods begins.
    pub fn pods_listing(&mut self) {
        self.pod_list += 1;
    }

    /// The list of all Pods is complete: forgets those it did not name.
    pub fn pods_listed(&mut self) {
        let list = self.pod_list;
        self.pods.retain(|_, entry| entry.list == list);
    }

    /// A request of the Pod with this uid exists.
    pub fn request_exists(&mut self, pod_uid: &str, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.requests.insert(pod_uid.to_owned(), RequestEntry { namespace, name, list: self.request_list });
        if let Some(entry) = self.pods.get_mut(pod_uid) {
            entry.draft = None;
        }
    }

    /// The request is gone.
    pub fn request_gone(&mut self, pod_uid: &str) {
        self.requests.remove(pod_uid);
    }

    /// A list of all requests begins.
    pub fn requests_listing(&mut self) {
        self.request_list += 1;
    }

    /// The list of all requests is complete: forgets those it did not name. Returns the uids of all Pods
    /// for which something may be left to do.
    pub fn requests_listed(&mut self) -> Vec<String> {
        let list = self.request_list;
        self.requests.retain(|_, entry| entry.list == list);
        self.pods.keys().filter(|uid| !matches!(self.task(uid), Task::Nothing(_))).cloned().collect()
    }

    /// What to do for the Pod with this uid, by what is known now.
    pub fn task(&self, uid: &str) -> Task {
        let Some(pod) = self.pods.get(uid) else { return Task::Nothing("pod_gone") };
        match (pod.want, self.requests.get(uid)) {
            (Want::Request, Some(_)) => Task::Nothing("cr_exists"),
            (Want::Request, None) => match &pod.draft {
                Some(draft) => Task::Create(draft.clone()),
                None => Task::Fetch { namespace: pod.namespace.clone(), name: pod.name.clone() },
            },
            (Want::NoRequest(outcome), Some(request)) => {
                Task::Delete { namespace: request.namespace.clone(), name: request.name.clone(), outcome }
            }
            (Want::NoRequest(outcome) | Want::AsIs(outcome), None) => Task::Nothing(outcome),
            (Want::AsIs(_), Some(_)) => Task::Nothing("cr_exists"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn store(mode: CrMode, release: CrRelease) -> Store {
        Store::new(mode, release, PenaltyDefaults::default())
    }

    fn per_pod() -> Store {
        store(CrMode::PerPod, CrRelease::OnTerminating)
    }

    fn pod(uid: &str, more: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": uid, "namespace": "default", "uid": uid}});
        for part in ["metadata", "status"] {
            for (key, value) in more[part].as_object().into_iter().flatten() {
                pod[part][key] = value.clone();
            }
        }
        serde_json::from_value(pod).unwrap()
    }

    fn terminating(uid: &str) -> Pod {
        pod(uid, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))
    }

    fn succeeded(uid: &str) -> Pod {
        pod(uid, json!({"status": {"phase": "Succeeded"}}))
    }

    #[track_caller]
    fn assert_nothing(store: &Store, uid: &str, outcome: &str) {
        assert!(matches!(store.task(uid), Task::Nothing(o) if o == outcome), "{:?}", store.task(uid));
    }

    #[test]
    fn a_live_pod_gets_one_request() {
        let mut store = per_pod();
        store.pod_applied(&pod("a", json!({}))).unwrap();
        let Task::Create(request) = store.task("a") else { panic!("{:?}", store.task("a")) };
        assert_eq!(request.metadata.name.as_deref(), Some("cr-a"));
        store.request_exists("a", "default", "cr-a");
        assert_nothing(&store, "a", "cr_exists");
    }

    #[test]
    fn a_request_deleted_under_a_live_pod_is_made_again() {
        let mut store = per_pod();
        store.pod_applied(&pod("a", json!({}))).unwrap();
        store.request_exists("a", "default", "cr-a");
        store.request_gone("a");
        assert!(matches!(store.task("a"), Task::Fetch { .. }), "the draft was dropped");
        store.pod_applied(&pod("a", json!({}))).unwrap();
        assert!(matches!(store.task("a"), Task::Create(_)));
    }

    #[test]
    fn a_static_pod_gets_none() {
        let mut store = per_pod();
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        store.pod_applied(&pod("a", mirror)).unwrap();
        assert_nothing(&store, "a", "static_pod");
    }

    #[test]
    fn terminal_and_terminating_pods_lose_theirs() {
        for (gone, expected) in [(succeeded("a"), "pod_terminal"), (terminating("a"), "pod_terminating")] {
            let mut store = per_pod();
            store.pod_applied(&pod("a", json!({}))).unwrap();
            store.request_exists("a", "default", "cr-a");
            store.pod_applied(&gone).unwrap();
            assert!(matches!(store.task("a"), Task::Delete { outcome, .. } if outcome == expected));
            store.request_gone("a");
            assert_nothing(&store, "a", expected);
        }
    }

    #[test]
    fn on_gone_leaves_the_request_of_a_terminating_pod_but_makes_none() {
        let mut store = store(CrMode::PerPod, CrRelease::OnGone);
        store.pod_applied(&terminating("a")).unwrap();
        assert_nothing(&store, "a", "pod_terminating");
        store.request_exists("a", "default", "cr-a");
        assert_nothing(&store, "a", "cr_exists");
    }

    #[test]
    fn unschedulable_only_waits_for_the_mark_and_keeps_the_request_once_bound() {
        let mut store = store(CrMode::UnschedulableOnly, CrRelease::OnTerminating);
        store.pod_applied(&pod("a", json!({}))).unwrap();
        assert_nothing(&store, "a", "not_unschedulable");
        let mark = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
        store.pod_applied(&pod("a", json!({"status": {"conditions": [mark]}}))).unwrap();
        assert!(matches!(store.task("a"), Task::Create(_)));
        store.request_exists("a", "default", "cr-a");
        store.pod_applied(&pod("a", json!({}))).unwrap();
        assert_nothing(&store, "a", "cr_exists");
    }

    #[test]
    fn a_new_list_forgets_what_it_does_not_name() {
        let mut store = per_pod();
        store.pods_listing();
        store.requests_listing();
        for uid in ["a", "b"] {
            store.pod_applied(&pod(uid, json!({}))).unwrap();
            store.request_exists(uid, "default", uid);
        }
        store.pods_listed();
        assert!(store.requests_listed().is_empty());
        store.pods_listing();
        store.requests_listing();
        store.pod_applied(&pod("b", json!({}))).unwrap();
        store.pods_listed();
        assert_nothing(&store, "a", "pod_gone");
        assert_eq!(store.requests_listed(), ["b"], "its request vanished between the lists");
    }
}
