//! A story and its result, as the text that is kept as a snapshot.

use std::fmt::Write;

use crate::compare::{Difference, Intended, allowed_by};
use crate::story::Story;
use crate::view::{NODE, View, after_step};

/// Returns the whole of a story: its steps, what node-creator did in response, and where pod-shim differs.
pub fn text(story: &Story, view: &View, differences: &[Difference], list: &[Intended]) -> String {
    let mut text = format!("{}\n\n", story.shows);
    let value = |key: &str| view.get(key).map_or("none", String::as_str);
    for (n, step) in story.steps.iter().enumerate() {
        let step = step.to_string();
        line(&mut text, &format!("{:>3}  {:<12}  {step}", n + 1, value(&after_step(n, &step))));
    }
    line(&mut text, "\nnode-creator");
    let outcomes: Vec<&str> = view.keys().filter_map(|key| key.strip_prefix("outcome ")).collect();
    let outcomes = if outcomes.is_empty() { "none".to_owned() } else { outcomes.join(", ") };
    line(&mut text, &format!("  outcomes at least once: {outcomes}"));
    line(&mut text, &format!("  Node at the end: {}", value(NODE)));
    for (key, value) in view.iter().filter(|(key, _)| key.starts_with("node.")) {
        line(&mut text, &format!("    {} = {value}", key.trim_start_matches("node.")));
    }
    if let Some(others) = view.get("other Nodes") {
        line(&mut text, &format!("  other Nodes: {others}"));
    }
    line(&mut text, "\npod-shim differs in");
    for d in differences {
        let why = allowed_by(list, &story.name, d).unwrap_or("NOT INTENDED");
        line(&mut text, &format!("  {}: {} instead of {}  [{why}]", d.fact, d.pod_shim, d.node_creator));
    }
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}
