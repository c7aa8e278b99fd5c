//! The verdict on one screen.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::record::Phase;
use crate::summary::{Bound, Gate, HostSpeed, IndexSpread, Outcome, Packing, Summary, Verdict};

/// Renders the verdict, without colour, in 100 columns at most unless a scheduler's message is longer.
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

/// Renders one gate on one line.
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
    if !gate.note.is_empty() {
        let _ = write!(line, "  ({})", gate.note);
    }
    line
}

/// Formats a bound as people write it.
pub fn bound_text(bound: Bound) -> String {
    match (bound.min, bound.max) {
        (Some(min), Some(max)) => format!("{}..{}", number(min), number(max)),
        (Some(min), None) => format!(">= {}", number(min)),
        (None, Some(max)) => format!("<= {}", number(max)),
        (None, None) => "none".into(),
    }
}

/// Formats a value, or says that it was not measured.
pub fn measured(value: Option<f64>) -> String {
    value.map_or_else(|| "not measured".into(), number)
}

/// Formats a number with the digits that matter, at most four decimals.
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

/// Formats the Nodes by their Pods, fullest first: `3 × 100, 1 × 50` is 3 Nodes with 100 Pods and one with 50. The end
/// is summed up.
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

/// Formats shares, for example `cpu 88 %, memory 88 %`.
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
    for missing in &summary.not_shown {
        let _ = writeln!(out, "  not measured: {missing}");
    }
    let _ = writeln!(out, "  host speed: {}", host_speed(summary.host_speed.as_ref()));
}

/// Formats the host's speed: `0.62 (0.58..0.66) in the fill, ...; at reference speed (1.00): cpu_ms_per_pod 24.1`.
pub fn host_speed(speed: Option<&HostSpeed>) -> String {
    let Some(speed) = speed else { return "not measured; no figure is normalised".to_owned() };
    let spread = |of: &IndexSpread| format!("{:.2} ({:.2}..{:.2})", of.median, of.min, of.max);
    let before = speed.before_start.iter().map(|of| format!("{} before the start", spread(of)));
    let loaded = speed.under_load.iter().map(|(phase, of)| format!("{} in the {}", spread(of), phase.name()));
    let index: Vec<String> = before.chain(loaded).collect();
    let figures: Vec<String> =
        speed.normalised.iter().map(|(metric, value)| format!("{metric} {}", number(*value))).collect();
    let figures = if figures.is_empty() { "no figure is normalised".to_owned() } else { figures.join(", ") };
    format!("{}; at reference speed (1.00): {figures}", index.join(", "))
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

/// Returns the command to type next after a run that did not pass.
pub fn next_command(summary: &Summary, run_dir: &Path) -> Option<String> {
    let dir = run_dir.display();
    match summary.verdict {
        Verdict::Pass => None,
        Verdict::Interrupted => Some(format!("cargo xtask e2e {} --seed {}", summary.profile, summary.seed)),
        Verdict::Invalid => Some(logs_with_errors(run_dir)),
        Verdict::Fail if summary.stuck_pods.iter().any(|p| !p.bound) => {
            Some(format!("cargo xtask up --clusters 1 --profile {} --with-fleet", summary.profile))
        }
        Verdict::Fail => Some(format!("cargo xtask judge {dir}")),
    }
}

/// Returns a command that lists the logs that contain errors: JSON lines of our programs, etcd and kwok, klog lines of
/// the others (`E1130 …`; in a kind node after a time and a stream), and panics.
fn logs_with_errors(run_dir: &Path) -> String {
    let json = r#""level":"(ERROR|error|fatal|panic)""#;
    let klog = "(^| F )[EF][0-9]{4} [0-9]{2}:";
    format!("grep -rlE '{json}|{klog}|^thread .* panicked' {}/logs", run_dir.display())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_hint_for_an_invalid_run_lists_the_logs_with_errors_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs/kwok-cluster-0");
        std::fs::create_dir_all(&logs).unwrap();
        let with_errors = [
            ("operator", r#"{"timestamp":"2026-11-30T17:00:00Z","level":"ERROR","fields":{"message":"x"}}"#),
            ("etcd", r#"{"level":"error","ts":"2026-11-30T17:00:00.1Z","caller":"x.go:1","msg":"x"}"#),
            ("etcd-2", r#"{"level":"fatal","ts":"2026-11-30T17:00:00.1Z","msg":"discovery failed"}"#),
            ("kwok", r#"{"time":"2026-11-30T17:00:00.1Z","level":"ERROR","msg":"x"}"#),
            ("kube-apiserver", "E1130 17:00:00.123456    1234 status.go:71] \"Unhandled Error\""),
            ("kube-scheduler", "F1130 17:00:00.123456       1 server.go:1] failed"),
            ("kube-controller-manager", "2026-11-30T17:00:00.1Z stderr F E1130 17:00:00.1  1 x.go:1] x"),
            ("shard", "thread 'main' (12) panicked at fleet/src/x.rs:1:1:"),
        ];
        let without = [
            ("quiet", r#"{"timestamp":"2026-11-30T17:00:00Z","level":"WARN","fields":{"message":"ERROR"}}"#),
            ("quiet-etcd", r#"{"level":"warn","ts":"2026-11-30T17:00:00.1Z","msg":"no error"}"#),
            ("quiet-apiserver", "I1130 17:00:00.123456    1234 x.go:1] \"E1130\" F1130"),
            ("quiet-kind", "2026-11-30T17:00:00.1Z stderr F W1130 17:00:00.1  1 x.go:1] x"),
            ("audit", r#"{"kind":"Event","level":"Metadata","verb":"list"}"#),
        ];
        for (name, line) in with_errors.into_iter().chain(without) {
            std::fs::write(logs.join(format!("{name}.log")), format!("first line\n{line}\n")).unwrap();
        }
        let output = Command::new("sh").arg("-c").arg(logs_with_errors(dir.path())).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let mut listed: Vec<_> =
            told.lines().filter_map(|path| Path::new(path).file_stem()?.to_str()).collect();
        listed.sort_unstable();
        let mut expected = with_errors.map(|(name, _)| name);
        expected.sort_unstable();
        assert_eq!(listed, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}
