//! An apiserver in memory that knows one Lease and some Nodes, for tests.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/e2e-run";
const NODE_LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// The fake apiserver; clones share its contents.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    lease: Option<Value>,
    nodes: Vec<Value>,
    /// Whether every request is answered with 503.
    is_down: bool,
}

impl Fake {
    /// Returns a client of this apiserver.
    pub(super) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) = fake.answer(&parts.method, parts.uri.path(), body);
                let answer =
                    Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, kube::Error>(answer.unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// Returns the current Lease.
    pub(super) fn lease(&self) -> Option<Value> {
        self.0.lock().unwrap().lease.clone()
    }

    /// Changes the Lease as a foreign client would.
    pub(super) fn set_lease(&self, change: impl FnOnce(&mut Option<Value>)) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        let version = state.version.to_string();
        change(&mut state.lease);
        if let Some(lease) = &mut state.lease {
            lease["metadata"]["resourceVersion"] = json!(version);
        }
    }

    /// Adds a Node that belongs to kwok.
    pub(super) fn add_node(&self, name: &str, finalizers: &[&str]) {
        let annotations = json!({api::names::KWOK_NODE: api::names::KWOK_FAKE});
        let metadata =
            json!({"name": name, "uid": name, "annotations": annotations, "finalizers": finalizers});
        self.0.lock().unwrap().nodes.push(json!({"metadata": metadata}));
    }

    /// Removes the finalizers of a Node, which goes away if it is being deleted.
    pub(super) fn let_go(&self, name: &str) {
        let mut state = self.0.lock().unwrap();
        state.nodes.retain(|node| {
            node["metadata"]["name"] != name || node["metadata"]["deletionTimestamp"].is_null()
        });
    }

    /// Sets whether every request is answered with 503.
    pub(super) fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    fn answer(&self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        if state.is_down {
            return refused(503, "down");
        }
        let list = |items: Vec<Value>| {
            (200, json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}))
        };
        match (method, path) {
            (&Method::POST, LEASES) if state.lease.is_some() => refused(409, "already exists"),
            (&Method::POST, LEASES) => state.write(body),
            (_, LEASE) => state.lease_request(method, body),
            (&Method::GET, "/api/v1/nodes") => list(state.nodes.clone()),
            (&Method::GET, "/api/v1/pods" | NODE_LEASES) => list(Vec::new()),
            (&Method::DELETE, path) if path.starts_with("/api/v1/nodes/") => {
                state.delete_node(path.trim_start_matches("/api/v1/nodes/"));
                (200, json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}))
            }
            _ => refused(404, "not found"),
        }
    }
}

impl State {
    fn lease_request(&mut self, method: &Method, body: Value) -> (u16, Value) {
        let Some(mut lease) = self.lease.clone() else { return refused(404, "not found") };
        let wanted = match *method {
            Method::DELETE => body["preconditions"]["resourceVersion"].clone(),
            _ => body["metadata"]["resourceVersion"].clone(),
        };
        if *method != Method::GET && !wanted.is_null() && wanted != lease["metadata"]["resourceVersion"] {
            return refused(409, "the object has been modified");
        }
        match *method {
            Method::GET => (200, lease),
            Method::DELETE => {
                self.lease = None;
                (200, lease)
            }
            Method::PUT => {
                let uid = lease["metadata"]["uid"].clone();
                let mut body = body;
                body["metadata"]["uid"] = uid;
                self.write(body)
            }
            _ => {
                merge(&mut lease, body);
                self.write(lease)
            }
        }
    }

    fn write(&mut self, mut lease: Value) -> (u16, Value) {
        self.version += 1;
        let version = self.version;
        lease["metadata"]["resourceVersion"] = json!(version.to_string());
        if lease["metadata"]["uid"].is_null() {
            lease["metadata"]["uid"] = json!(format!("uid-{version}"));
        }
        self.lease = Some(lease.clone());
        (200, lease)
    }

    fn delete_node(&mut self, name: &str) {
        self.nodes.retain_mut(|node| {
            let metadata = &mut node["metadata"];
            if metadata["name"] != name {
                return true;
            }
            let is_held = metadata["finalizers"].as_array().is_some_and(|held| !held.is_empty());
            if is_held {
                metadata["deletionTimestamp"] = json!("2026-11-30T10:00:00Z");
            }
            is_held
        });
    }
}

fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        merge(&mut into[key], value);
    }
}

fn refused(code: u16, message: &str) -> (u16, Value) {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "ServiceUnavailable",
    };
    (
        code,
        json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code}),
    )
}
