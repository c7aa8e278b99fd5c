//! The requests of the cluster, as the watch has them: what the demand is, and who waits for an answer.

use std::collections::{HashMap, HashSet};

use api::CapacityRequest;
use api::capacity_request::CapacityRequestPhase;
use api::session::CapacityNeed;

use crate::operator::rollup::{Book, Demand, Error};

/// Namespace and name of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// All requests, cut down to their share of the demand.
#[derive(Default)]
pub struct Requests {
    book: Book,
    entries: HashMap<RequestId, Entry>,
    unacknowledged: HashSet<RequestId>,
    seen_total: u64,
    newest_receipt_unix_ns: i64,
    list: u32,
}

struct Entry {
    uid: String,
    /// The spec's generation: an event that leaves it alone is about the status.
    generation: i64,
    /// Absent when the request cannot be understood.
    demand: Option<Demand>,
    acknowledged: bool,
    list: u32,
}

/// What the requests amount to at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The demand.
    pub needs: Vec<CapacityNeed>,
    /// How many requests there are.
    pub count: usize,
    /// How many were ever received for the first time.
    pub seen_total: u64,
    /// When the newest of those was received, in unix nanoseconds; 0 when there was none.
    pub newest_receipt_unix_ns: i64,
}

impl Requests {
    /// Takes in a request as it is now.
    ///
    /// # Errors
    /// When it cannot be understood: it is known, but is no demand.
    pub fn applied(&mut self, request: &CapacityRequest, now_unix_ns: i64) -> Result<(), Error> {
        let id = id(request);
        let uid = request.metadata.uid.clone().unwrap_or_default();
        let generation = request.metadata.generation.unwrap_or(0);
        let acknowledged =
            request.status.as_ref().is_some_and(|status| status.phase == CapacityRequestPhase::Acknowledged);
        if let Some(entry) = self.entries.get_mut(&id)
            && (entry.uid == uid && entry.generation == generation)
        {
            entry.list = self.list;
            entry.acknowledged = acknowledged;
            if acknowledged {
                self.unacknowledged.remove(&id);
            }
            return Ok(());
        }
        let known = self.entries.get(&id).is_some_and(|entry| entry.uid == uid);
        self.removed(&id);
        if !known {
            self.seen_total += 1;
            self.newest_receipt_unix_ns = now_unix_ns;
        }
        let (demand, error) = match self.book.add(&request.spec) {
            Ok(demand) => (Some(demand), None),
            Err(error) => (None, Some(error)),
        };
        if demand.is_some() && !acknowledged {
            self.unacknowledged.insert(id.clone());
        }
        self.entries.insert(id, Entry { uid, generation, demand, acknowledged, list: self.list });
        error.map_or(Ok(()), Err)
    }

    /// Forgets a request.
    pub fn deleted(&mut self, request: &CapacityRequest) {
        self.removed(&id(request));
    }

    /// A list of all requests begins.
    pub fn listing(&mut self) {
        self.list += 1;
    }

    /// The list is complete: forgets what it did not name.
    pub fn listed(&mut self) {
        let list = self.list;
        let gone: Vec<_> =
            self.entries.iter().filter(|(_, entry)| entry.list != list).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.removed(id));
    }

    /// What the requests amount to.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            needs: self.book.needs(),
            count: self.entries.len(),
            seen_total: self.seen_total,
            newest_receipt_unix_ns: self.newest_receipt_unix_ns,
        }
    }

    /// The requests that wait for an acknowledgement; each is named once, until
    /// [`Requests::acknowledge_failed`].
    pub fn take_unacknowledged(&mut self) -> Vec<RequestId> {
        self.unacknowledged.drain().collect()
    }

    /// The acknowledgement did not go through: the request waits again, if it still exists.
    pub fn acknowledge_failed(&mut self, id: RequestId) {
        if self.entries.get(&id).is_some_and(|entry| !entry.acknowledged) {
            self.unacknowledged.insert(id);
        }
    }

    fn removed(&mut self, id: &RequestId) {
        if let Some(demand) = self.entries.remove(id).and_then(|entry| entry.demand) {
            self.book.remove(&demand);
        }
        self.unacknowledged.remove(id);
    }
}

fn id(request: &CapacityRequest) -> RequestId {
    RequestId {
        namespace: request.metadata.namespace.clone().unwrap_or_default(),
        name: request.metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(name: &str, operator: &str, status: Value) -> CapacityRequest {
        serde_json::from_value(json!({
            "apiVersion": "bigfleet.lucy.sh/v1alpha1", "kind": "CapacityRequest",
            "metadata": {"name": name, "namespace": "default", "uid": name, "generation": 1},
            "spec": {"priority": 0, "resources": {"cpu": "1"}, "requirements": [{"key": "k", "operator": operator}]},
            "status": status,
        }))
        .unwrap()
    }

    fn names(mut ids: Vec<RequestId>) -> Vec<String> {
        ids.sort_by(|a, b| a.name.cmp(&b.name));
        ids.into_iter().map(|id| id.name).collect()
    }

    #[test]
    fn no_phase_and_pending_wait_for_an_answer_and_acknowledged_does_not() {
        let mut requests = Requests::default();
        requests.applied(&request("bare", "Exists", Value::Null), 1).unwrap();
        requests.applied(&request("pending", "Exists", json!({"phase": "Pending"})), 2).unwrap();
        requests.applied(&request("done", "Exists", json!({"phase": "Acknowledged"})), 3).unwrap();
        assert_eq!(names(requests.take_unacknowledged()), ["bare", "pending"]);
        assert!(requests.take_unacknowledged().is_empty(), "named once");
        let snapshot = requests.snapshot();
        assert_eq!((snapshot.count, snapshot.seen_total, snapshot.newest_receipt_unix_ns), (3, 3, 3));
    }

    #[test]
    fn a_failed_answer_is_tried_again_only_for_a_request_that_still_waits() {
        let mut requests = Requests::default();
        requests.applied(&request("a", "Exists", Value::Null), 1).unwrap();
        let taken = requests.take_unacknowledged();
        requests.acknowledge_failed(taken[0].clone());
        assert_eq!(requests.take_unacknowledged(), taken);
        requests.deleted(&request("a", "Exists", Value::Null));
        requests.acknowledge_failed(taken[0].clone());
        assert!(requests.take_unacknowledged().is_empty());
    }

    #[test]
    fn a_status_event_is_not_a_new_request() {
        let mut requests = Requests::default();
        requests.applied(&request("a", "Exists", Value::Null), 1).unwrap();
        requests.applied(&request("a", "Exists", json!({"phase": "Acknowledged"})), 9).unwrap();
        let snapshot = requests.snapshot();
        assert_eq!((snapshot.count, snapshot.seen_total, snapshot.newest_receipt_unix_ns), (1, 1, 1));
        assert_eq!(snapshot.needs[0].aggregate_resources["cpu"], "1");
        assert!(requests.take_unacknowledged().is_empty());
    }

    #[test]
    fn what_cannot_be_understood_is_no_demand_and_gets_no_answer() {
        let mut requests = Requests::default();
        assert!(requests.applied(&request("a", "Gt", Value::Null), 1).is_err());
        assert!(requests.snapshot().needs.is_empty());
        assert!(requests.take_unacknowledged().is_empty());
        requests.deleted(&request("a", "Gt", Value::Null));
        assert_eq!(requests.snapshot().count, 0);
    }

    #[test]
    fn a_list_withdraws_what_it_does_not_name() {
        let mut requests = Requests::default();
        requests.listing();
        for name in ["a", "b"] {
            requests.applied(&request(name, "Exists", Value::Null), 1).unwrap();
        }
        requests.listed();
        requests.listing();
        requests.applied(&request("b", "Exists", Value::Null), 2).unwrap();
        requests.listed();
        let snapshot = requests.snapshot();
        assert_eq!((snapshot.count, snapshot.seen_total), (1, 2));
        assert_eq!(snapshot.needs[0].aggregate_resources["cpu"], "1");
    }
}
