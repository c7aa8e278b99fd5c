//! The per-uid ledger of one cluster: a pure fold over stamped watch events.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use api::UpcomingNode;
use api::upcoming_node::UpcomingNodePhase;
use component::slim::Pod;
use k8s_openapi::api::core::v1::Node;

use crate::observe::request::Request;
use harness_model::record::{NodeRecord, PodRecord};

/// How many Pods are in which state. Counts live Pods unless stated otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods ever seen.
    pub created: u64,
    /// Neither being deleted, gone, nor finished.
    pub live: u64,
    /// Live with a Node.
    pub bound: u64,
    /// Live, Running and Ready.
    pub running: u64,
    /// Live with a CapacityRequest.
    pub requests: u64,
    /// Being deleted and not gone yet.
    pub terminating: u64,
    /// CapacityRequests whose Pod is not live.
    pub stale_requests: u64,
    /// Pods that ever had a Node, live or not; the rate of binds is computed from it.
    pub ever_bound: u64,
    /// How often Pods were marked unschedulable, or marked again with another reason.
    pub marks: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.created += other.created;
        self.live += other.live;
        self.bound += other.bound;
        self.running += other.running;
        self.requests += other.requests;
        self.terminating += other.terminating;
        self.stale_requests += other.stale_requests;
        self.ever_bound += other.ever_bound;
        self.marks += other.marks;
    }
}

impl std::ops::SubAssign for Counts {
    fn sub_assign(&mut self, other: Self) {
        self.created -= other.created;
        self.live -= other.live;
        self.bound -= other.bound;
        self.running -= other.running;
        self.requests -= other.requests;
        self.terminating -= other.terminating;
        self.stale_requests -= other.stale_requests;
        self.ever_bound -= other.ever_bound;
        self.marks -= other.marks;
    }
}

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Pod,
    CapacityRequest,
    UpcomingNode,
    Node,
}

impl Kind {
    /// Returns the name as Kubernetes and the events of a run write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::CapacityRequest => "CapacityRequest",
            Self::UpcomingNode => "UpcomingNode",
            Self::Node => "Node",
        }
    }
}

/// Everything that was seen in one cluster.
#[derive(Debug, Default)]
pub struct Ledger {
    cluster: String,
    pods: HashMap<String, PodRecord>,
    /// CapacityRequest name to Pod uid.
    requests: HashMap<String, String>,
    /// Facts about requests whose Pod has not been seen yet (two watches have no common order).
    early_requests: HashMap<String, (u64, Option<u64>)>,
    /// Machine id to its current record.
    nodes: BTreeMap<String, NodeRecord>,
    past_nodes: Vec<NodeRecord>,
    node_ready: HashMap<String, bool>,
    counts: Counts,
    /// Uids of Pods in the order of their creation; those that no longer wait are removed when the longest wait is
    /// requested.
    waiting: VecDeque<String>,
    /// Objects that the lists in progress have named: uids of Pods, names of everything else.
    listing: HashMap<Kind, HashSet<String>>,
}

impl Ledger {
    /// Creates an empty ledger.
    pub fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), ..Self::default() }
    }

    /// Returns the current counts.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns when the live Pod that has waited longest for a Node was created. All calls together check each Pod
    /// once.
    pub fn longest_unbound_since(&mut self) -> Option<u64> {
        loop {
            let pod = self.pods.get(self.waiting.front()?);
            match pod.filter(|p| p.is_live() && p.bound_us.is_none()) {
                Some(pod) => return Some(pod.created_us),
                None => drop(self.waiting.pop_front()),
            }
        }
    }

    /// Returns all Pods ever seen.
    pub fn pods(&self) -> impl Iterator<Item = &PodRecord> {
        self.pods.values()
    }

    /// Returns all Nodes ever seen, the current ones last.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.past_nodes.iter().chain(self.nodes.values())
    }

    /// Counts the machines that serve, and those on their way in or out (Failed ones are neither).
    pub fn node_counts(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for node in self.nodes.values().filter(|n| n.failed_us.is_none()) {
            let announced = node.upcoming_us.is_some() && node.upcoming_gone_us.is_none();
            let exists = node.created_us.is_some() && node.gone_us.is_none();
            let withdrawn = node.draining_us.is_some() || node.upcoming_gone_us.is_some();
            if exists && node.ready_us.is_some() && !withdrawn {
                counts.0 += 1;
            } else if announced || exists {
                counts.1 += 1;
            }
        }
        counts
    }

    /// Counts the live replicas of each workload object.
    pub fn live_by_workload(&self) -> BTreeMap<String, u64> {
        let mut live = BTreeMap::new();
        for pod in self.pods.values().filter(|p| p.is_live()) {
            *live.entry(pod.workload.clone()).or_default() += 1;
        }
        live
    }

    /// Records that a Pod was added or changed. `in_first_list` means that its creation was not watched.
    pub fn pod_applied(&mut self, at_us: u64, wall_us: u64, pod: &Pod, in_first_list: bool) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        self.named(Kind::Pod, &uid);
        if !self.pods.contains_key(&uid) {
            let record = self.new_pod(at_us, wall_us, &uid, pod, in_first_list);
            self.counts += flags(&record);
            self.pods.insert(uid.clone(), record);
            self.waiting.push_back(uid.clone());
        }
        let record = self.pods.get_mut(&uid).expect("the record was inserted above");
        self.counts -= flags(record);
        update_pod(record, at_us, pod);
        self.counts += flags(record);
    }

    /// Records that a Pod is gone; `version` is the resourceVersion of its end, if a watch reported it.
    pub fn pod_deleted(&mut self, at_us: u64, uid: &str, version: Option<u64>) {
        if let Some(record) = self.pods.get_mut(uid) {
            self.counts -= flags(record);
            record.gone_us.get_or_insert(at_us);
            record.gone_version = record.gone_version.or(version);
            self.counts += flags(record);
        }
    }

    /// Records that a CapacityRequest was added or changed.
    pub fn request_applied(&mut self, at_us: u64, request: &Request) {
        let (Some(name), Some(uid)) = (request.metadata.name.clone(), request.pod_uid()) else { return };
        self.named(Kind::CapacityRequest, &name);
        self.requests.insert(name, uid.to_owned());
        let acked = request.is_acknowledged().then_some(at_us);
        if let Some(record) = self.pods.get_mut(uid) {
            self.counts -= flags(record);
            record.request_us.get_or_insert(at_us);
            record.acked_us = record.acked_us.or(acked);
            record.request_gone_us = None;
            self.counts += flags(record);
        } else {
            let early = self.early_requests.entry(uid.to_owned()).or_insert((at_us, None));
            early.1 = early.1.or(acked);
        }
    }

    /// Records that a CapacityRequest is gone.
    pub fn request_deleted(&mut self, at_us: u64, name: &str) {
        let Some(uid) = self.requests.remove(name) else { return };
        self.early_requests.remove(&uid);
        if let Some(record) = self.pods.get_mut(&uid) {
            self.counts -= flags(record);
            record.request_gone_us.get_or_insert(at_us);
            self.counts += flags(record);
        }
    }

    /// Records that an UpcomingNode was added or changed.
    pub fn upcoming_applied(&mut self, at_us: u64, upcoming: &UpcomingNode) {
        let Some(machine) = upcoming.metadata.name.as_deref().and_then(api::names::machine_id) else {
            return;
        };
        self.named(Kind::UpcomingNode, machine);
        let record = self.node_mut(machine, |n| n.upcoming_gone_us.is_some());
        record.upcoming_us.get_or_insert(at_us);
        let label = |key| upcoming.spec.labels.get(key).cloned();
        fill_labels(record, label);
        let stamp = |slot: &mut Option<u64>| {
            slot.get_or_insert(at_us);
        };
        match upcoming.status.as_ref().map(|s| s.phase) {
            Some(UpcomingNodePhase::Ready) => stamp(&mut record.upcoming_ready_us),
            Some(UpcomingNodePhase::Draining) => stamp(&mut record.draining_us),
            Some(UpcomingNodePhase::Failed) => stamp(&mut record.failed_us),
            _ => {}
        }
        if let Some(error) = upcoming.status.as_ref().and_then(|s| s.last_error.clone()) {
            record.last_error = Some(error);
        }
    }

    /// Records that an UpcomingNode is gone.
    pub fn upcoming_deleted(&mut self, at_us: u64, name: &str) {
        if let Some(machine) = api::names::machine_id(name) {
            self.machine_withdrawn(at_us, machine);
        }
    }

    fn machine_withdrawn(&mut self, at_us: u64, machine: &str) {
        if let Some(record) = self.nodes.get_mut(machine) {
            record.upcoming_gone_us.get_or_insert(at_us);
        }
    }

    /// Records that a Node was added or changed. Returns true if it left Ready without being drained.
    pub fn node_applied(&mut self, at_us: u64, node: &Node) -> bool {
        let Some(name) = node.metadata.name.as_deref() else { return false };
        self.named(Kind::Node, name);
        let ready = is_ready(node);
        let was_ready = self.node_ready.insert(name.to_owned(), ready).unwrap_or(false);
        let record = self.node_mut(name, |n| n.gone_us.is_some());
        record.created_us.get_or_insert(at_us);
        fill_labels(record, |key| node.metadata.labels.as_ref()?.get(key).cloned());
        if record.allocatable.is_empty() {
            let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
            record.allocatable =
                allocatable.into_iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect();
        }
        if ready {
            record.ready_us.get_or_insert(at_us);
        }
        if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
            record.cordoned_us.get_or_insert(at_us);
        }
        let lost = was_ready && !ready && node.metadata.deletion_timestamp.is_none();
        if lost && record.draining_us.is_none() && record.upcoming_gone_us.is_none() {
            record.unready += 1;
            return true;
        }
        false
    }

    /// Records that a Node is gone; `version` is the same as for [`Self::pod_deleted`].
    pub fn node_deleted(&mut self, at_us: u64, name: &str, version: Option<u64>) {
        self.node_ready.remove(name);
        if let Some(record) = self.nodes.get_mut(name) {
            record.gone_us.get_or_insert(at_us);
            record.gone_version = record.gone_version.or(version);
        }
    }

    /// Records that a list of `kind` begins; what it does not name is gone.
    pub fn list_started(&mut self, kind: Kind) {
        self.listing.insert(kind, HashSet::new());
    }

    fn named(&mut self, kind: Kind, name: &str) {
        if let Some(seen) = self.listing.get_mut(&kind) {
            seen.insert(name.to_owned());
        }
    }

    /// Records that the list is complete.
    pub fn list_done(&mut self, at_us: u64, kind: Kind) {
        let Some(seen) = self.listing.remove(&kind) else { return };
        let machines = |is_here: fn(&NodeRecord) -> bool| -> Vec<String> {
            let here = self.nodes.values().filter(|n| is_here(n) && !seen.contains(&n.name));
            here.map(|n| n.name.clone()).collect()
        };
        match kind {
            Kind::Pod => {
                let here = self.pods.values().filter(|p| p.gone_us.is_none() && !seen.contains(&p.uid));
                let gone: Vec<String> = here.map(|p| p.uid.clone()).collect();
                gone.iter().for_each(|uid| self.pod_deleted(at_us, uid, None));
            }
            Kind::CapacityRequest => {
                let gone: Vec<String> =
                    self.requests.keys().filter(|n| !seen.contains(*n)).cloned().collect();
                gone.iter().for_each(|name| self.request_deleted(at_us, name));
            }
            Kind::UpcomingNode => {
                let gone = machines(|n| n.upcoming_us.is_some() && n.upcoming_gone_us.is_none());
                gone.iter().for_each(|machine| self.machine_withdrawn(at_us, machine));
            }
            Kind::Node => {
                let gone = machines(|n| n.created_us.is_some() && n.gone_us.is_none());
                gone.iter().for_each(|name| self.node_deleted(at_us, name, None));
            }
        }
    }

    fn new_pod(&mut self, at_us: u64, wall_us: u64, uid: &str, pod: &Pod, preexisting: bool) -> PodRecord {
        let label = |key| pod.label(key).unwrap_or_default().to_owned();
        let (request_us, acked_us) = match self.early_requests.remove(uid) {
            Some((seen, acked)) => (Some(seen), acked),
            None => (None, None),
        };
        let created = pod.metadata.creation_timestamp.as_ref();
        let created_ms = created.map_or(0, |time| time.0.as_millisecond());
        let wall_ms = i64::try_from(wall_us / 1000).unwrap_or(i64::MAX);
        PodRecord {
            cluster: self.cluster.clone(),
            uid: uid.to_owned(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            archetype: label(api::names::ARCHETYPE),
            workload: label(api::names::WORKLOAD),
            preexisting,
            created_us: at_us,
            watch_lag_ms: wall_ms - created_ms,
            request_us,
            acked_us,
            ..PodRecord::default()
        }
    }

    fn node_mut(&mut self, machine: &str, is_over: impl Fn(&NodeRecord) -> bool) -> &mut NodeRecord {
        if self.nodes.get(machine).is_some_and(is_over) {
            self.past_nodes.extend(self.nodes.remove(machine));
        }
        self.nodes.entry(machine.to_owned()).or_insert_with(|| NodeRecord {
            cluster: self.cluster.clone(),
            name: machine.to_owned(),
            ..NodeRecord::default()
        })
    }
}

fn update_pod(record: &mut PodRecord, at_us: u64, pod: &Pod) {
    if pod.is_unschedulable() && pod.spec.node_name.is_none() {
        let message = pod.condition("PodScheduled").and_then(|c| c.message.clone());
        if record.marked_us.is_none() || record.reason != message {
            record.marks += 1;
        }
        record.marked_us.get_or_insert(at_us);
        record.reason = message;
    }
    if let Some(node) = &pod.spec.node_name {
        record.bound_us.get_or_insert(at_us);
        record.node.get_or_insert_with(|| node.clone());
    }
    if pod.is_ready() {
        record.running_us.get_or_insert(at_us);
    }
    if pod.is_terminal() {
        record.finished_us.get_or_insert(at_us);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        record.deleting_us.get_or_insert(at_us);
    }
}

fn fill_labels(record: &mut NodeRecord, label: impl Fn(&'static str) -> Option<String>) {
    let fill = |slot: &mut String, key| {
        if slot.is_empty() {
            *slot = label(key).unwrap_or_default();
        }
    };
    fill(&mut record.archetype, api::names::ARCHETYPE);
    fill(&mut record.instance_type, api::names::INSTANCE_TYPE);
    fill(&mut record.zone, api::names::ZONE);
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn flags(pod: &PodRecord) -> Counts {
    let live = pod.is_live();
    let has_request = pod.request_us.is_some() && pod.request_gone_us.is_none();
    Counts {
        created: 1,
        live: u64::from(live),
        bound: u64::from(live && pod.bound_us.is_some()),
        running: u64::from(live && pod.running_us.is_some()),
        requests: u64::from(live && has_request),
        terminating: u64::from(pod.deleting_us.is_some() && pod.gone_us.is_none()),
        stale_requests: u64::from(!live && has_request),
        ever_bound: u64::from(pod.bound_us.is_some()),
        marks: u64::from(pod.marks),
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
