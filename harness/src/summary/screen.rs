//! The verdict on one screen.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::record::Phase;
use crate::summary::{Bound, Gate, Outcome, Packing, Summary, Verdict};

/// Ratio of the host's slowest to its fastest from which it is said.
const NOTABLE_SLOWDOWN: f64 = 1.25;

/// Lines of the verdict, without colour, 100 columns at most unless a scheduler's message is longer.
pub fn render(summary: &Summary, run_dir: &Path) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}  {} ({}): {}",
        summary.verdict.name(),
        summary.profile,
        summary.run_id,
        summary.reason
    );
    phases(summary, &mut out);
    let _ = writeln!(out, "\n  gates");
    for gate in &summary.gates {
        let _ = writeln!(out, "    {}", gate_line(gate));
    }
    let broken: Vec<_> = summary.validity.iter().filter(|f| !f.ok).collect();
    if broken.is_empty() {
        let _ = writeln!(out, "\n  validity: all {} rules hold", summary.validity.len());
    } else {
        let _ = writeln!(out, "\n  validity");
        for finding in broken {
            let _ = writeln!(out, "    x {}: {}", finding.rule, finding.detail);
        }
    }
    resources(summary, &mut out);
    stuck(summary, &mut out);
    let _ = writeln!(out, "\n  outcome digest {}", summary.outcome_digest);
    let _ = writeln!(out, "  files in {}", run_dir.display());
    if let Some(next) = next_command(summary, run_dir) {
        let _ = writeln!(out, "  next: {next}");
    }
    out
}

/// One gate on one line.
pub fn gate_line(gate: &Gate) -> String {
    if gate.outcome == Outcome::NotApplicable {
        return format!("- {:<32} does not apply: {}", gate.metric, gate.note);
    }
    let mark = if gate.outcome == Outcome::Pass { "+" } else { "x" };
    let value = match (gate.outcome, gate.value) {
        (Outcome::Saturated, Some(value)) => format!("> {}", number(value)),
        (_, Some(value)) => number(value),
        (_, None) => "not measured".into(),
    };
    let mut line = format!("{mark} {:<32} {value} {}", gate.metric, gate.unit);
    for (name, bound) in [("objective", gate.slo), ("range", gate.range)] {
        if let Some(bound) = bound {
            let _ = write!(line, "  {name} {}", bound_text(bound));
        }
    }
    if gate.outcome == Outcome::Unbounded {
        line.push_str("  has neither objective nor range");
    }
    line
}

/// A bound as people write it.
pub fn bound_text(bound: Bound) -> String {
    match (bound.min, bound.max) {
        (Some(min), Some(max)) => format!("{}..{}", number(min), number(max)),
        (Some(min), None) => format!(">= {}", number(min)),
        (None, Some(max)) => format!("<= {}", number(max)),
        (None, None) => "none".into(),
    }
}

/// A value, or that there is none.
pub fn measured(value: Option<f64>) -> String {
    value.map_or_else(|| "not measured".into(), number)
}

/// Four digits where they matter.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v == v.trunc() && v < 1e15 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn phases(summary: &Summary, out: &mut String) {
    let lengths: Vec<_> =
        summary.phases_s.iter().map(|(p, s)| format!("{} {} s", p.name(), number(*s))).collect();
    let _ = writeln!(out, "  {}", lengths.join(", "));
    let (mut created, mut bound, mut pending, mut deleted) = (0, 0, 0, 0);
    for account in summary.pods.values() {
        created += account.created;
        bound += account.bound;
        pending += account.pending;
        deleted += account.deleted;
    }
    let _ = writeln!(
        out,
        "  Pods: {created} created = {bound} bound + {pending} pending + {deleted} deleted, in {} clusters",
        summary.pods.len()
    );
    machines(summary, out);
}

fn machines(summary: &Summary, out: &mut String) {
    let sum = |of: fn(&Packing) -> u64| summary.packing.iter().map(of).sum::<u64>();
    let planned = Packing {
        planned: sum(|p| p.planned),
        planned_most: Some(sum(|p| p.planned_most.unwrap_or(p.planned))),
        ..Packing::default()
    };
    let _ = writeln!(
        out,
        "  machines: {} (most asked for {}), {} planned, {} the fewest that hold the Pods",
        sum(|p| p.nodes),
        sum(|p| p.nodes_asked_max),
        planned.planned_text(),
        sum(|p| p.lower_bound)
    );
    let mut pods_per_node: BTreeMap<u64, u64> = BTreeMap::new();
    for (pods, nodes) in summary.packing.iter().flat_map(|p| &p.pods_per_node) {
        *pods_per_node.entry(*pods).or_default() += nodes;
    }
    let _ = writeln!(out, "  Nodes by Pods on them: {}", histogram(&pods_per_node));
    let _ = writeln!(out, "  used of allocatable: {}", percent(&summary.utilisation));
}

/// `3 × 100, 1 × 50`: so many Nodes with so many Pods, the fullest first; the end is cut off.
pub fn histogram(pods_per_node: &BTreeMap<u64, u64>) -> String {
    const LISTED_MAX: usize = 8;
    let listed = pods_per_node.iter().rev().take(LISTED_MAX);
    let mut texts: Vec<String> = listed.map(|(pods, nodes)| format!("{nodes} × {pods}")).collect();
    let others: u64 = pods_per_node.iter().rev().skip(LISTED_MAX).map(|(_, nodes)| nodes).sum();
    if others > 0 {
        texts.push(format!("{others} with fewer"));
    }
    texts.join(", ")
}

/// `cpu 88 %, memory 88 %`.
pub fn percent(shares: &BTreeMap<String, f64>) -> String {
    if shares.is_empty() {
        return "not measured".into();
    }
    let texts: Vec<String> =
        shares.iter().map(|(name, share)| format!("{name} {:.0} %", share * 100.0)).collect();
    texts.join(", ")
}

fn resources(summary: &Summary, out: &mut String) {
    let mut shares: Vec<_> = summary.cpu.share.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    let shares: Vec<_> = shares.iter().map(|(name, s)| format!("{name} {:.0} %", **s * 100.0)).collect();
    let used = match shares.is_empty() {
        true => "not measured".to_owned(),
        false => format!("{} s; {}", number(summary.cpu.total_s), shares.join(", ")),
    };
    let _ = writeln!(out, "  CPU: {used}");
    let bottleneck = |phase: Phase| summary.cpu.bottleneck.get(&phase).map_or("unknown", String::as_str);
    let _ = writeln!(
        out,
        "  bottleneck: {} in the fill, {} in the soak; peak memory {} MiB",
        bottleneck(Phase::Fill),
        bottleneck(Phase::Soak),
        summary.memory_mib.peak
    );
    for held in &summary.held_back {
        let _ = writeln!(out, "  held back by {}", held.line());
    }
    let slowdown = summary.metrics.get("host_slowdown_p90").and_then(|m| m.value);
    if let Some(slowdown) = slowdown.filter(|x| *x >= NOTABLE_SLOWDOWN) {
        let _ = writeln!(
            out,
            "  host: its cores took up to {slowdown:.1} times as long for the same work; compare runs with care"
        );
    }
}

fn stuck(summary: &Summary, out: &mut String) {
    if summary.stuck_pods.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n  Pods unbound for more than 60 s ({} listed in summary.json)",
        summary.stuck_pods.len()
    );
    for pod in summary.stuck_pods.iter().take(5) {
        let state = if pod.bound { "bound after" } else { "unbound for" };
        let _ = writeln!(out, "    {} {}: {state} {} s: {}", pod.cluster, pod.pod, pod.unbound_s, pod.reason);
    }
}

/// What to type next after a run that did not pass.
pub fn next_command(summary: &Summary, run_dir: &Path) -> Option<String> {
    let dir = run_dir.display();
    match summary.verdict {
        Verdict::Pass => None,
        Verdict::Interrupted => Some(format!("cargo xtask e2e {} --seed {}", summary.profile, summary.seed)),
        Verdict::Invalid => Some(format!("grep -l '\"level\":\"ERROR\"' {dir}/logs -r")),
        Verdict::Fail if summary.stuck_pods.iter().any(|p| !p.bound) => {
            Some(format!("cargo xtask up --clusters 1 --profile {} --with-fleet", summary.profile))
        }
        Verdict::Fail => Some(format!("cargo xtask judge {dir}")),
    }
}
