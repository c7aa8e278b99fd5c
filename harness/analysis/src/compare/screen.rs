//! A comparison as text.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::{Change, Comparison, Difference, Figure, Group, Head, Reading};
use harness_model::summary::screen::{bound_text, number};
use harness_model::summary::{Bound, Finding, Gate};

/// Longest list of plan keys; the rest follows from the first ones, and `--json` has them all.
const DIFFERENCES_SHOWN_MAX: usize = 25;

/// Renders the whole comparison, without colour. It shows all metrics, and the other figures that differ.
pub fn render(comparison: &Comparison) -> String {
    let mut out = String::new();
    heads(comparison, &mut out);
    gates(&comparison.gates, &mut out);
    validity(&comparison.validity, &mut out);
    if !comparison.host_speed_note.is_empty() {
        let _ = writeln!(out, "\n  {}", comparison.host_speed_note);
    }
    let groups = comparison.figures.chunk_by(|x, y| x.group == y.group);
    for (i, group) in groups.enumerate() {
        figures(group, i == 0, &mut out);
    }
    for (what, differing) in [("tools", &comparison.tools), ("host", &comparison.host)] {
        if differing.is_empty() {
            let _ = writeln!(out, "\n  {what}: the same");
        } else {
            let _ = writeln!(out, "\n  {what}, where different\n{}", differences(differing));
        }
    }
    out
}

/// Renders `key: A | B`, one per line.
pub fn differences(differing: &[Difference]) -> String {
    let shown = differing.iter().take(DIFFERENCES_SHOWN_MAX);
    let mut lines: Vec<String> =
        shown.map(|d| format!("    {}: {} | {}", d.key, value(d.a.as_ref()), value(d.b.as_ref()))).collect();
    let more = differing.len().saturating_sub(DIFFERENCES_SHOWN_MAX);
    if more > 0 {
        lines.push(format!("    and {more} more"));
    }
    lines.join("\n")
}

fn heads(comparison: &Comparison, out: &mut String) {
    let (a, b) = (&comparison.a, &comparison.b);
    for (letter, head) in [('A', a), ('B', b)] {
        let Head { run_id, started, seed, reason, .. } = head;
        let _ = writeln!(out, "{letter}  {}  {run_id}, {started}, seed {seed}", head.verdict.name());
        let _ = writeln!(out, "   {reason}\n   {}", head.run_dir.display());
    }
    let same = |x: &str, y: &str| if x == y { "the same" } else { "different" };
    let _ = writeln!(
        out,
        "\n  plans: {}; outcome digests: {}",
        same(&a.plan_digest, &b.plan_digest),
        same(&a.outcome_digest, &b.outcome_digest)
    );
    if !comparison.plan.is_empty() {
        let _ = writeln!(out, "{}", differences(&comparison.plan));
    }
}

fn gates(changes: &[Change<Gate>], out: &mut String) {
    if changes.is_empty() {
        let _ = writeln!(out, "\n  gates: the same outcomes, within the same bounds");
        return;
    }
    let _ = writeln!(out, "\n  gates, where different");
    for change in changes {
        let (a, b) = (change.a.as_ref(), change.b.as_ref());
        let outcome = |g: Option<&Gate>| g.map_or_else(|| "no gate".into(), |g| word(g.outcome));
        let mut line = format!("    {}: {} -> {}", change.name, outcome(a), outcome(b));
        let slo = |g: Option<&Gate>| g.and_then(|g| g.slo);
        let range = |g: Option<&Gate>| g.and_then(|g| g.range);
        for (name, a, b) in [("objective", slo(a), slo(b)), ("range", range(a), range(b))] {
            if a != b {
                let text = |bound: Option<Bound>| bound.map_or_else(|| "none".into(), bound_text);
                let _ = write!(line, "  {name} {} -> {}", text(a), text(b));
            }
        }
        let _ = writeln!(out, "{line}");
    }
}

fn validity(changes: &[Change<Finding>], out: &mut String) {
    if changes.is_empty() {
        let _ = writeln!(out, "\n  validity: all rules hold in both");
        return;
    }
    let _ = writeln!(out, "\n  validity, where broken or unknown");
    let state = |finding: Option<&Finding>| match finding {
        None => "not checked".to_owned(),
        Some(f) if f.ok => "holds".to_owned(),
        Some(f) => format!("broken ({})", f.detail),
    };
    for change in changes {
        let _ =
            writeln!(out, "    {}: {} | {}", change.name, state(change.a.as_ref()), state(change.b.as_ref()));
    }
}

fn figures(group: &[Figure], with_heading: bool, out: &mut String) {
    let shown: Vec<&Figure> =
        group.iter().filter(|f| matches!(f.group, Group::Metrics | Group::Speed) || f.a != f.b).collect();
    let equal = group.len() - shown.len();
    let title = group.first().map_or("", |f| f.group.title());
    if shown.is_empty() {
        let _ = writeln!(out, "\n  {title}: the same in both");
        return;
    }
    let note = if equal > 0 { format!(" ({equal} more the same)") } else { String::new() };
    if with_heading {
        let _ = writeln!(out, "\n  {title:<50} {:>12} {:>12} {:>12} {:>9}", "A", "B", "difference", "%");
    } else {
        let _ = writeln!(out, "\n  {title}{note}");
    }
    for figure in shown {
        let name = format!("{} {}", figure.name, figure.unit);
        let percent = figure.percent.map_or_else(String::new, |p| format!("{p:+.1}"));
        let row = format!(
            "    {name:<48} {:>12} {:>12} {:>12} {percent:>9}",
            reading(figure.a),
            reading(figure.b),
            figure.difference.map_or_else(String::new, signed),
        );
        let _ = writeln!(out, "{}", row.trim_end());
    }
}

fn reading(reading: Option<Reading>) -> String {
    match reading {
        None => "-".into(),
        Some(r) if r.saturated => format!("> {}", number(r.value)),
        Some(r) => number(r.value),
    }
}

fn signed(difference: f64) -> String {
    if difference > 0.0 { format!("+{}", number(difference)) } else { number(difference) }
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "absent".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Returns the word for an outcome in `summary.json`.
fn word(outcome: impl Serialize) -> String {
    serde_json::to_value(outcome).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
