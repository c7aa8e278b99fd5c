//! The summary as Markdown: `summary.md`, and the job summary of GitHub Actions.

use std::fmt::Write;

use crate::summary::screen::{bound_text, histogram, host_speed, measured, number, percent};
use crate::summary::{Outcome, Summary};

/// Renders the whole summary.
pub fn render(summary: &Summary) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {} {}\n", summary.verdict.name(), summary.profile);
    let _ = writeln!(out, "{}.\n", summary.reason);
    let _ = writeln!(
        out,
        "Run `{}`, seed {}, started {}. Outcome digest `{}`.\n",
        summary.run_id, summary.seed, summary.started, summary.outcome_digest
    );
    gates(summary, &mut out);
    validity(summary, &mut out);
    stages(summary, &mut out);
    packing(summary, &mut out);
    cpu(summary, &mut out);
    stuck(summary, &mut out);
    metrics(summary, &mut out);
    out
}

fn gates(summary: &Summary, out: &mut String) {
    let _ =
        writeln!(out, "## Gates\n\n| metric | value | objective | range | outcome |\n|---|---|---|---|---|");
    for gate in &summary.gates {
        let value = measured(gate.value);
        let more = if gate.outcome == Outcome::Saturated { "> " } else { "" };
        let bound = |b: Option<_>| b.map_or_else(String::new, bound_text);
        let outcome = serde_json::to_value(gate.outcome).unwrap_or_default();
        let separator = if gate.note.is_empty() { "" } else { ": " };
        let _ = writeln!(
            out,
            "| {} | {more}{value} {} | {} | {} | {}{separator}{} |",
            gate.metric,
            gate.unit,
            bound(gate.slo),
            bound(gate.range),
            outcome.as_str().unwrap_or_default(),
            cell(&gate.note)
        );
    }
}

fn validity(summary: &Summary, out: &mut String) {
    let _ = writeln!(out, "\n## Validity\n\n| rule | holds | found |\n|---|---|---|");
    for finding in &summary.validity {
        let holds = if finding.ok { "yes" } else { "**no**" };
        let _ = writeln!(out, "| {} | {holds} | {} |", finding.rule, cell(&finding.detail));
    }
}

fn stages(summary: &Summary, out: &mut String) {
    for (phase, stages) in &summary.stages {
        if stages.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n## Stages of the chain: {}\n", phase.name());
        let _ = writeln!(
            out,
            "| stage | samples | p50 ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|---|---|"
        );
        for (name, l) in stages {
            let _ = writeln!(
                out,
                "| {name} | {} | {:.0} | {:.0} | {:.0} | {:.0} |",
                l.count, l.ms_p50, l.ms_p90, l.ms_p99, l.ms_max
            );
        }
    }
}

fn packing(summary: &Summary, out: &mut String) {
    let _ = writeln!(
        out,
        "\n## Machines when quiet\n\n| cluster | archetype | machines | most asked for | planned | lower bound | density \
         | Nodes by Pods on them | used | fullest Node ever |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for p in &summary.packing {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            p.cluster,
            p.archetype,
            p.nodes,
            p.nodes_asked_max,
            p.planned_text(),
            p.lower_bound,
            p.density,
            histogram(&p.pods_per_node),
            percent(&p.utilisation),
            percent(&p.node_utilisation_max)
        );
    }
    let _ = writeln!(out, "\nUsed of all Nodes' allocatable: {}.", percent(&summary.utilisation));
}

fn cpu(summary: &Summary, out: &mut String) {
    let _ = writeln!(out, "\n## CPU and memory\n\n| component | CPU share | peak MiB |\n|---|---|---|");
    let mut shares: Vec<_> = summary.cpu.share.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    for (name, share) in shares {
        let mib = summary.memory_mib.by_component.get(name).copied().unwrap_or_default();
        let _ = writeln!(out, "| {name} | {:.1} % | {mib} |", share * 100.0);
    }
    let used = match summary.cpu.share.is_empty() {
        true => "CPU was not measured".to_owned(),
        false => format!("{} CPU seconds from fill to soak", number(summary.cpu.total_s)),
    };
    let _ = writeln!(out, "\n{used}; peak memory {} MiB.", summary.memory_mib.peak);
    let _ = writeln!(out, "Host speed: {}.", host_speed(summary.host_speed.as_ref()));
    for (phase, component) in &summary.cpu.bottleneck {
        let _ = writeln!(out, "Bottleneck of the {}: **{component}**.", phase.name());
    }
    for held in &summary.held_back {
        let _ = writeln!(out, "\nHeld back by **{}**.", held.line());
    }
    for missing in &summary.not_shown {
        let _ = writeln!(out, "\nNot measured: {missing}.");
    }
}

fn stuck(summary: &Summary, out: &mut String) {
    if summary.stuck_pods.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n## Pods unbound for more than a minute\n\n| Pod | unbound s | bound in the end | scheduler's last message |\n|---|---|---|---|"
    );
    for pod in &summary.stuck_pods {
        let bound = if pod.bound { "yes" } else { "no" };
        let _ = writeln!(
            out,
            "| {}/{} | {} | {bound} | {} |",
            pod.cluster,
            pod.pod,
            pod.unbound_s,
            cell(&pod.reason)
        );
    }
}

fn metrics(summary: &Summary, out: &mut String) {
    let _ = writeln!(out, "\n## All metrics\n\n| metric | value | note |\n|---|---|---|");
    for (name, metric) in &summary.metrics {
        let value = measured(metric.value);
        let more = if metric.saturated { "> " } else { "" };
        let _ = writeln!(out, "| {name} | {more}{value} {} | {} |", metric.unit, cell(&metric.note));
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
