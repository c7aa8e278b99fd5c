//! The text and the tables of a report.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::report::chart::{self, WIDTH, open_svg};
use crate::report::history::History;
use crate::report::svg::{escape, text};
use harness_model::summary::screen::{bound_text, measured, percent};
use harness_model::summary::{Gate, Latency, Outcome, Summary, Verdict};

/// Metrics at the top of the page, with their titles there.
const CARDS: [(&str, &str); 8] = [
    ("fill_s", "fill"),
    ("fill_rate_pods_per_s", "Pods bound per second of the fill"),
    ("bind_latency_soak_s_p99", "create to bind in the soak, p99"),
    ("new_capacity_latency_s_p99", "the same with a new machine, p99"),
    ("failed_attempts_per_pod", "failed scheduling attempts per Pod"),
    ("machines_over_plan", "machines over plan"),
    ("cpu_ms_per_pod", "CPU per Pod of the fill"),
    ("harness_and_fleet_cpu_share", "CPU of harness and autoscaler"),
];

/// Renders the verdict, its reason, and the figures that matter most.
pub fn head(summary: &Summary) -> String {
    let class = match summary.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Invalid | Verdict::Interrupted => "other",
    };
    let mut out = format!(
        "<h1><span class=\"verdict {class}\">{}</span> {}</h1><p>{}.</p><p class=\"note\">Run {}, seed {}, started {}; \
         outcome digest {}.</p><div class=\"cards\">",
        summary.verdict.name(),
        escape(&summary.profile),
        escape(&summary.reason),
        escape(&summary.run_id),
        summary.seed,
        escape(&summary.started),
        escape(&summary.outcome_digest)
    );
    for (name, title) in CARDS {
        let Some(metric) = summary.metrics.get(name) else { continue };
        let value = measured(metric.value);
        let more = if metric.saturated { "&gt; " } else { "" };
        card(&mut out, &format!("{more}{value} <small>{}</small>", escape(&metric.unit)), title);
    }
    card(
        &mut out,
        &format!("{} <small>MiB</small>", summary.memory_mib.peak),
        "peak memory of all processes",
    );
    for (phase, component) in &summary.cpu.bottleneck {
        card(&mut out, &escape(component), &format!("most CPU in the {}", phase.name()));
    }
    for held in &summary.held_back {
        let title = format!("held back the {}: {}", held.phase.name(), escape(&held.why));
        card(&mut out, &escape(&held.component), &title);
    }
    for missing in &summary.not_shown {
        card(&mut out, "not measured", &escape(missing));
    }
    out.push_str("</div>\n");
    out
}

fn card(out: &mut String, value: &str, title: &str) {
    let _ = write!(out, "<div class=\"card\"><b>{value}</b><span>{title}</span></div>");
}

/// Renders the gates with their history.
pub fn gates(summary: &Summary, history: &History) -> String {
    let bound = |bound: Option<_>| escape(&bound.map_or_else(String::new, bound_text));
    let row = |gate: &Gate| {
        let (word, class) = outcome(gate.outcome);
        let past = if history.is_empty() { String::new() } else { history.cell(gate) };
        format!(
            "<td>{}</td><td class=\"{class}\">{word}</td><td>{} {}</td><td>{}</td><td>{}</td><td>{past}</td><td>{}</td>",
            breakable(&gate.metric),
            measured(gate.value),
            escape(&gate.unit).replace('/', "/<wbr>"),
            bound(gate.slo),
            bound(gate.range),
            escape(&gate.note)
        )
    };
    let past = if history.is_empty() { "" } else { "earlier runs" };
    let heads = ["metric", "outcome", "value", "objective", "range", past, ""];
    let rows: Vec<String> = summary.gates.iter().map(row).collect();
    let table = table("Gates", &heads, &rows);
    format!("<div class=\"gates\">{table}{}{}</div>\n", history.note(), history.figures(summary))
}

/// Returns the outcome of a gate in words, and its class in the style sheet.
pub fn outcome(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Pass => ("pass", "pass"),
        Outcome::Fail => ("fail", "fail"),
        Outcome::Unmeasured => ("not measured", "fail"),
        Outcome::Saturated => ("beyond the histogram", "fail"),
        Outcome::Unbounded => ("without a bound", "fail"),
        Outcome::NotApplicable => ("does not apply", "other"),
    }
}

/// Renders the rules of validity.
pub fn validity(summary: &Summary) -> String {
    let rule = |finding: &harness_model::summary::Finding| {
        let (class, word) = if finding.ok { ("pass", "holds") } else { ("fail", "broken") };
        format!(
            "<td>{}</td><td class=\"{class}\">{word}</td><td>{}</td>",
            breakable(&finding.rule),
            escape(&finding.detail)
        )
    };
    table("Validity", &["rule", "", "found"], &summary.validity.iter().map(rule).collect::<Vec<_>>())
}

/// Returns a name in snake case that may be broken at its underscores where the page is narrow.
pub fn breakable(snake: &str) -> String {
    escape(snake).replace('_', "_<wbr>")
}

/// Renders the machines and the Pods on them, Pods that waited, CPU and memory by component, and all metrics.
pub fn details(summary: &Summary) -> String {
    let packing = |p: &harness_model::summary::Packing| {
        format!(
            "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            escape(&p.cluster),
            escape(&p.archetype),
            p.nodes,
            p.nodes_asked_max,
            p.planned_text(),
            p.lower_bound,
            p.density,
            percent(&p.utilisation)
        )
    };
    let stuck = |p: &harness_model::summary::StuckPod| {
        let bound = if p.bound { "yes" } else { "no" };
        let (pod, reason) = (escape(&p.pod), escape(&p.reason));
        format!(
            "<td>{}/{pod}</td><td>{}</td><td>{bound}</td><td>{reason}</td>",
            escape(&p.cluster),
            p.unbound_s
        )
    };
    let used = |(name, share): (&String, &f64)| {
        let mib = summary.memory_mib.by_component.get(name).copied().unwrap_or_default();
        format!("<td>{}</td><td>{:.1} %</td><td>{mib}</td>", escape(name), share * 100.0)
    };
    let metric = |(name, m): (&String, &harness_model::summary::Metric)| {
        let value = measured(m.value);
        format!(
            "<td>{}</td><td>{value} {}</td><td>{}</td>",
            breakable(name),
            escape(&m.unit),
            escape(&m.note)
        )
    };
    let heads =
        ["cluster", "archetype", "machines", "most asked for", "planned", "fewest", "density", "used"];
    let rows = |rows: &mut dyn Iterator<Item = String>| rows.collect::<Vec<_>>();
    table("Machines when quiet", &heads, &rows(&mut summary.packing.iter().map(packing)))
        + &table(
            "Pods unbound for more than a minute",
            &["Pod", "s", "bound in the end", "scheduler's last message"],
            &rows(&mut summary.stuck_pods.iter().map(stuck)),
        )
        + &table(
            "CPU and memory",
            &["component", "share of CPU", "peak MiB"],
            &rows(&mut summary.cpu.share.iter().map(used)),
        )
        + &table("All metrics", &["metric", "value", ""], &rows(&mut summary.metrics.iter().map(metric)))
}

/// Renders a table, unless it is empty. Cells are markup.
fn table(title: &str, heads: &[&str], rows: &[String]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    let rows: String = rows.iter().map(|row| format!("<tr>{row}</tr>")).collect();
    format!("<h2>{title}</h2><div class=\"scroll\"><table><tr>{heads}</tr>{rows}</table></div>\n")
}

/// Renders the stages of the chain: from p50 to p99 on a logarithmic axis, for each phase.
pub fn stages(summary: &Summary) -> String {
    let mut out = String::new();
    for (phase, stages) in summary.stages.iter().filter(|(_, stages)| !stages.is_empty()) {
        let _ = write!(
            out,
            "<figure><figcaption>Stages of the chain in the {}: from p50 to p99</figcaption>",
            phase.name()
        );
        bars(&mut out, stages);
        out.push_str("</figure>\n");
    }
    out
}

fn bars(out: &mut String, stages: &BTreeMap<String, Latency>) {
    const LEFT: f64 = 250.0;
    const RIGHT: f64 = 90.0;
    const ROW: f64 = 18.0;
    /// From 1 ms to 1000 s.
    const DECADES: f64 = 6.0;
    let x = |ms: f64| LEFT + (ms.max(1.0).log10() / DECADES).min(1.0) * (WIDTH - LEFT - RIGHT);
    let height = ROW * (stages.len() + 1) as f64;
    open_svg(out, "Stages of the chain", height + 4.0);
    for (n, words) in ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1000 s"].into_iter().enumerate() {
        let at = x(10_f64.powi(n as i32));
        let _ = write!(out, "<path class=\"grid\" d=\"M{at:.1},{ROW} V{height}\"/>");
        text(out, at, 12.0, "middle", words);
    }
    for (n, (name, l)) in stages.iter().enumerate() {
        let y = ROW * (n + 1) as f64;
        text(out, LEFT - 8.0, y + 13.0, "end", &escape(&name.replace('_', " ")));
        let (from, to) = (x(l.ms_p50), x(l.ms_p99));
        let _ = write!(
            out,
            "<rect class=\"s0\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"10\"><title>{} samples, p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, most {:.0} ms</title></rect>",
            y + 4.0,
            (to - from).max(2.0),
            l.count,
            l.ms_p50,
            l.ms_p90,
            l.ms_p99,
            l.ms_max
        );
        text(out, WIDTH - RIGHT + 6.0, y + 13.0, "start", &format!("{:.0} / {:.0} ms", l.ms_p50, l.ms_p99));
    }
    out.push_str("</svg>");
}

/// Renders the Nodes by the number of Pods on them when quiet, over all clusters and archetypes.
pub fn packing(summary: &Summary) -> String {
    let mut nodes: BTreeMap<u64, u64> = BTreeMap::new();
    for (pods, count) in summary.packing.iter().flat_map(|p| &p.pods_per_node) {
        *nodes.entry(*pods).or_default() += count;
    }
    let (Some(fullest), Some(most)) = (nodes.keys().max(), nodes.values().max()) else {
        return String::new();
    };
    let (left, width, height) = (chart::LEFT, WIDTH - chart::LEFT - chart::RIGHT, 120.0);
    let mut out = "<figure><figcaption>Nodes by Pods on them when quiet</figcaption>".to_owned();
    open_svg(&mut out, "Nodes by Pods on them", height + 46.0);
    let step = width / (*fullest + 1) as f64;
    for (pods, count) in &nodes {
        let tall = (height * *count as f64 / *most as f64).max(1.5);
        let _ = write!(
            out,
            "<rect class=\"s0\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"><title>{count} Nodes with {pods} Pods</title></rect>",
            left + step * *pods as f64,
            20.0 + height - tall,
            (step - 1.0).max(1.0)
        );
    }
    for pods in [0, fullest / 2, *fullest] {
        text(&mut out, left + step * (pods as f64 + 0.5), height + 36.0, "middle", &pods.to_string());
    }
    text(&mut out, left - 6.0, 26.0, "end", &most.to_string());
    out.push_str("</svg></figure>\n");
    out
}
