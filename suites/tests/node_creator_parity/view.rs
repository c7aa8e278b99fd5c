//! The result of a story as a table of facts: one text per key. Two programs are compared key by key.

use std::collections::BTreeMap;

use harness_model::prometheus::sum;
use serde_json::Value;

use crate::play::{Played, Standing};
use crate::program::Kind;
use crate::story::Story;

/// Key to value. Node fields begin with `node.`.
pub type View = BTreeMap<String, String>;

/// The key that says whether there is a Node.
pub const NODE: &str = "node";

/// Returns the facts about a story that was played on a program.
pub fn view(kind: &Kind, story: &Story, played: &Played) -> View {
    let mut view = View::new();
    for (n, (step, standing)) in story.steps.iter().zip(&played.after).enumerate() {
        view.insert(after_step(n, &step.to_string()), standing_text(*standing).to_owned());
    }
    view.insert("metric of outcomes".to_owned(), kind.observed());
    for (outcome, count) in kind.outcomes(&played.metrics) {
        if count > 0.0 {
            view.insert(format!("outcome {outcome}"), "at least once".to_owned());
        }
    }
    let made = sum(&played.metrics, &format!("{}fake_nodes_created_total", kind.metrics), |_| true);
    if made.is_some_and(|made| made > 0.0) {
        view.insert("counted as made".to_owned(), "at least once".to_owned());
    }
    if !played.others.is_empty() {
        view.insert("other Nodes".to_owned(), played.others.join(", "));
    }
    view.insert(NODE.to_owned(), node_text(played).to_owned());
    if let Some(fields) = fields(played) {
        flatten("node", &fields, &mut view);
        let id = story.machine_id();
        for (key, value) in view.iter_mut().filter(|(key, _)| key.starts_with("node.")) {
            if key == "node.metadata.name" && *value == format!("{}{id}", kind.node_prefix) {
                *value = format!("{}<machine id>", kind.node_prefix);
            }
            if key.contains(api::names::UPCOMING_UID) {
                let same = played.upcoming_uid.as_ref() == Some(value);
                *value = if same { "<uid of the UpcomingNode>" } else { "<another uid>" }.to_owned();
            }
        }
    }
    view
}

/// Returns the key of the Node after a step.
pub fn after_step(n: usize, step: &str) -> String {
    format!("after step {}, {step}", n + 1)
}

/// Returns a text for the Node after a step.
pub fn standing_text(standing: Standing) -> &'static str {
    match standing {
        Standing::NoNode => "no Node",
        Standing::Node => "Node",
        Standing::AnotherNode => "another Node",
    }
}

/// Returns to whom the Node at the end belongs.
fn node_text(played: &Played) -> &'static str {
    let Some(node) = &played.node else { return "none" };
    match &played.foreign {
        Some((uid, version)) if node.metadata.uid.as_ref() == Some(uid) => {
            if node.metadata.resource_version.as_ref() == Some(version) {
                "somebody else's, untouched"
            } else {
                "somebody else's, changed"
            }
        }
        _ => "made by the program",
    }
}

/// Returns the Node as it was written, without what the apiserver adds.
///
/// The owner of a field cannot be read from `managedFields`: a status that comes with the create request has no owner
/// there. But nothing else writes to Nodes here.
fn fields(played: &Played) -> Option<Value> {
    let node = played.node.as_ref()?;
    let mut fields = serde_json::to_value(node).ok()?;
    if let Some(object) = fields.as_object_mut() {
        object.retain(|key, _| matches!(key.as_str(), "metadata" | "spec" | "status"));
    }
    if let Some(metadata) = fields["metadata"].as_object_mut() {
        let added = ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"];
        metadata.retain(|key, _| !added.contains(&key.as_str()));
    }
    if let Some(status) = fields["status"].as_object_mut() {
        // No client writes them here; the apiserver fills them with empty texts and port 0.
        status
            .retain(|key, value| !matches!(key.as_str(), "daemonEndpoints" | "nodeInfo") || !is_empty(value));
    }
    Some(fields)
}

/// Whether it contains nothing but empty texts and zeros.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// Writes one entry per leaf: `a.b[key with dots].c`. Items of lists have their name as key, if they have one.
fn flatten(at: &str, value: &Value, view: &mut View) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let plain = key.chars().all(|c| c.is_ascii_alphanumeric());
                let at = if plain { format!("{at}.{key}") } else { format!("{at}[{key}]") };
                flatten(&at, value, view);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (n, item) in items.iter().enumerate() {
                flatten(&format!("{at}[{}]", name_of(item).unwrap_or_else(|| n.to_string())), item, view);
            }
        }
        Value::String(text) if !text.is_empty() => {
            view.insert(at.to_owned(), text.clone());
        }
        other => {
            view.insert(at.to_owned(), other.to_string());
        }
    }
}

/// Returns the name that identifies a condition, a taint or an address.
fn name_of(item: &Value) -> Option<String> {
    let name = item.get("type").or_else(|| item.get("key"))?.as_str()?;
    Some(name.to_owned())
}
