//! JSON and protobuf: Pods as an apiserver reads and writes them.

use std::collections::BTreeMap;
use std::io;

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::random::{Random, fold};

/// Pods there are.
const PODS: usize = 64;
/// Pods that a unit turns into JSON and back.
const JSON_PODS: usize = 12;
/// Pods that a unit turns into protobuf and back.
const PROTOBUF_PODS: usize = 48;

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Pod {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    spec: Option<Spec>,
    #[prost(message, optional, tag = "3")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    uid: String,
    #[prost(uint64, tag = "4")]
    generation: u64,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "6")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Spec {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
    #[prost(string, tag = "2")]
    node_name: String,
    #[prost(btree_map = "string, string", tag = "3")]
    node_selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Container {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    image: String,
    #[prost(btree_map = "string, string", tag = "3")]
    env: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "4")]
    requests: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Status {
    #[prost(string, tag = "1")]
    phase: String,
    #[prost(message, repeated, tag = "2")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Condition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    holds: bool,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(int64, tag = "4")]
    since_ms: i64,
}

pub(crate) struct Encode {
    pods: Vec<Pod>,
    json_next: usize,
    protobuf_next: usize,
}

impl Encode {
    pub(crate) fn new() -> Self {
        let mut random = Random::new(3);
        let pods = (0..PODS).map(|n| pod(n, &mut random)).collect();
        Self { pods, json_next: 0, protobuf_next: 0 }
    }

    /// Pods to JSON, and back: as the type, and as the tree of values that a patch is applied to.
    pub(crate) fn json(&mut self) -> io::Result<u64> {
        let mut seen = 0;
        for _ in 0..JSON_PODS {
            let pod = &self.pods[self.json_next % PODS];
            self.json_next += 1;
            let text = serde_json::to_vec(pod)?;
            let back: Pod = serde_json::from_slice(&text)?;
            let mut tree: serde_json::Value = serde_json::from_slice(&text)?;
            tree["status"]["phase"] = "Running".into();
            seen = fold(seen, text.len() as u64);
            seen = fold(seen, serde_json::to_vec(&tree)?.len() as u64);
            same(&back, pod)?;
        }
        Ok(seen)
    }

    /// Pods to protobuf and back.
    pub(crate) fn protobuf(&mut self) -> io::Result<u64> {
        let mut seen = 0;
        for _ in 0..PROTOBUF_PODS {
            let pod = &self.pods[self.protobuf_next % PODS];
            self.protobuf_next += 1;
            let bytes = pod.encode_to_vec();
            let back = Pod::decode(bytes.as_slice()).map_err(io::Error::other)?;
            seen = fold(seen, bytes.len() as u64);
            same(&back, pod)?;
        }
        Ok(seen)
    }
}

fn same(back: &Pod, pod: &Pod) -> io::Result<()> {
    if back == pod { Ok(()) } else { Err(io::Error::other("a Pod came back as another one")) }
}

fn pod(n: usize, random: &mut Random) -> Pod {
    let mut word = |of: &str| format!("{of}-{:010x}", random.next() >> 24);
    let mut map = |of: &str, count: usize| -> BTreeMap<String, String> {
        (0..count).map(|i| (format!("example.com/{of}-{i}"), word(of))).collect()
    };
    let metadata = Metadata {
        name: format!("workload-{n:05}"),
        namespace: format!("namespace-{}", n % 10),
        uid: format!("{n:08x}-0000-4000-8000-000000000000"),
        generation: n as u64,
        labels: map("label", 6),
        annotations: map("annotation", 4),
    };
    let container = |i: usize, env: BTreeMap<String, String>| Container {
        name: format!("container-{i}"),
        image: format!("registry.example.com/team/program:{n}.{i}"),
        env,
        requests: [("cpu", "500m"), ("memory", "1Gi")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    };
    let containers = (0..2).map(|i| container(i, map("env", 8))).collect();
    let spec =
        Spec { containers, node_name: format!("machine-{}", n % 40), node_selector: map("selector", 3) };
    let condition = |kind: &str| Condition {
        kind: kind.to_owned(),
        holds: n.is_multiple_of(2),
        reason: "0/40 nodes are available: 40 Insufficient cpu.".to_owned(),
        since_ms: 1_700_000_000_000 + n as i64,
    };
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition).into();
    let status = Status { phase: "Pending".to_owned(), conditions };
    Pod { metadata: Some(metadata), spec: Some(spec), status: Some(status) }
}
