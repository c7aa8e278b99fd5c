//! The experiment of `docs/host-speed.md`: is CPU per Pod at reference speed stable when the host's speed is not?
//!
//! The protocol is described on that page and was written before the experiment. This file makes the runs and the page.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

use crate::{cargo, exit};

/// The runs, each with its neighbour: mode and threads.
const RUNS: [Option<(&str, u32)>; 6] =
    [None, Some(("memory", 2)), Some(("compute", 2)), None, Some(("memory", 4)), Some(("compute", 4))];
/// Lifetime of a neighbour at most, in seconds: longer than any run takes.
const NEIGHBOUR_S: u32 = 1800;
const SOAK: &str = "30s";
/// The least factor that plain CPU per Pod has to span.
const PLAIN_SPAN_MIN: f64 = 1.6;
/// The limit that the span of CPU per Pod at reference speed has to stay below.
const NORMALISED_SPAN_MAX: f64 = 1.15;
/// The least share of the fill's CPU for a component to be considered as the one that follows the index least.
const SHARE_MIN: f64 = 0.03;

/// One run in the experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Point {
    run_id: String,
    started: String,
    neighbour: String,
    verdict: String,
    machine: String,
    index_version: u64,
    index_before_start: Option<f64>,
    index_fill: f64,
    index_fill_by_part: BTreeMap<String, f64>,
    fill_s: f64,
    fill_s_normalised: f64,
    cpu_ms_per_pod: f64,
    cpu_ms_per_pod_normalised: f64,
    cpu_ms_per_pod_by_component: BTreeMap<String, f64>,
}

/// Everything that is written to the files.
#[derive(Debug, Serialize)]
struct Outcome {
    points: Vec<Point>,
    /// Runs that do not count, and why.
    left_out: Vec<String>,
    plain_span: f64,
    normalised_span: f64,
    condition_met: bool,
    goal_met: bool,
    /// Span of CPU per Pod at reference speed, by component.
    span_by_component: BTreeMap<String, f64>,
    /// Span that CPU per Pod would have if this part alone were the index.
    span_by_part: BTreeMap<String, f64>,
}

/// Makes the runs and writes the page. `with` adds further runs without a neighbour.
pub fn experiment(with: &[PathBuf]) -> anyhow::Result<u8> {
    let neighbour = build_neighbour()?;
    let root = cargo::runs_dir()?.join("host-speed");
    let mut found = Vec::new();
    for (n, beside) in RUNS.into_iter().enumerate() {
        let told = told(beside);
        println!("run {} of {}, neighbour: {told}", n + 1, RUNS.len());
        found.push((told, dev_50(&root, &neighbour, beside)?));
    }
    for run in with {
        found.push((told(None), super::summary(run)?));
    }
    let outcome = weigh(found);
    let dir = cargo::workspace_root().join("docs").join("host-speed");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let page = page(&outcome, &date);
    let json = serde_json::to_string_pretty(&outcome)? + "\n";
    for (name, text) in [(format!("{date}.md"), &page), (format!("{date}.json"), &json)] {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    println!("{page}");
    Ok(if outcome.condition_met && outcome.goal_met { 0 } else { exit::FAILED })
}

fn build_neighbour() -> anyhow::Result<PathBuf> {
    let mut command = cargo::cargo(&["build", "--package", "host-speed", "--bins"]);
    let dir = cargo::bin_dir()?;
    if dir.ends_with("release") {
        command.arg("--release");
    }
    let status = command.stdin(Stdio::null()).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo build --package host-speed --bins` ended with {status}");
    }
    Ok(dir.join("e2e-neighbour"))
}

fn told(neighbour: Option<(&str, u32)>) -> String {
    match neighbour {
        None => "none".to_owned(),
        Some((mode, threads)) => format!("{mode}, {threads} thread{}", if threads == 1 { "" } else { "s" }),
    }
}

/// A neighbour, which is killed when dropped.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended already, which does no harm.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dev_50(root: &Path, program: &Path, neighbour: Option<(&str, u32)>) -> anyhow::Result<Value> {
    let runs_before = run_dirs(root);
    let beside = neighbour.map(|(mode, threads)| {
        let mut command = Command::new(program);
        command.args([mode, &threads.to_string(), &NEIGHBOUR_S.to_string()]).stdin(Stdio::null());
        command.spawn().map(Beside).with_context(|| format!("cannot start {}", program.display()))
    });
    let _beside = beside.transpose()?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["e2e", "dev-50", "--soak", SOAK, "--run-dir-root"]).arg(root).stdin(Stdio::null());
    let status = command.status().context("cannot start a run of dev-50")?;
    let mut new = run_dirs(root).into_iter().filter(|dir| !runs_before.contains(dir));
    let dir = new.next().with_context(|| format!("dev-50 ended with {status} and left no summary"))?;
    super::summary(&dir)
}

fn run_dirs(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    // `latest`, for example, is not a run directory.
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).filter(|dir| dir.join("summary.json").is_file()).collect()
}

fn weigh(found: Vec<(String, Value)>) -> Outcome {
    let (mut points, mut left_out): (Vec<Point>, Vec<String>) = Default::default();
    for (neighbour, summary) in found {
        match point(neighbour, &summary) {
            Ok(point) => points.push(point),
            Err(error) => left_out.push(format!("{}: {error:#}", text(&summary, "/run_id"))),
        }
    }
    let span_of = |of: &dyn Fn(&Point) -> Option<f64>| span(points.iter().map(of));
    let plain_span = span_of(&|p| Some(p.cpu_ms_per_pod)).unwrap_or(f64::NAN);
    let normalised_span = span_of(&|p| Some(p.cpu_ms_per_pod_normalised)).unwrap_or(f64::NAN);
    let component = |name: &String| {
        let matters = points.iter().all(|p| {
            p.cpu_ms_per_pod_by_component.get(name).is_some_and(|ms| *ms >= SHARE_MIN * p.cpu_ms_per_pod)
        });
        let at_reference = |p: &Point| Some(p.cpu_ms_per_pod_by_component.get(name)? * p.index_fill);
        Some((name.clone(), span_of(&at_reference).filter(|_| matters)?))
    };
    let part = |name: &String| {
        let by_part = |p: &Point| Some(p.cpu_ms_per_pod * p.index_fill_by_part.get(name)?);
        Some((name.clone(), span_of(&by_part)?))
    };
    let first = points.first();
    let span_by_component =
        first.iter().flat_map(|p| p.cpu_ms_per_pod_by_component.keys()).filter_map(component).collect();
    let span_by_part = first.iter().flat_map(|p| p.index_fill_by_part.keys()).filter_map(part).collect();
    Outcome {
        condition_met: plain_span >= PLAIN_SPAN_MIN,
        goal_met: normalised_span < NORMALISED_SPAN_MAX,
        plain_span,
        normalised_span,
        span_by_component,
        span_by_part,
        points,
        left_out,
    }
}

/// Returns the largest value over the smallest; `None` if a value is missing, or there are no values.
fn span(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    let smallest = values.iter().copied().reduce(f64::min)?;
    Some(values.iter().copied().reduce(f64::max)? / smallest)
}

fn point(neighbour: String, summary: &Value) -> anyhow::Result<Point> {
    let number = |pointer: &str| super::number(summary, pointer);
    let map = |pointer: &str| -> BTreeMap<String, f64> {
        let entries = summary.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
    };
    if number("/metrics/bound_ratio/value")? < 1.0 {
        bail!("not all Pods were bound in the fill");
    }
    Ok(Point {
        run_id: text(summary, "/run_id"),
        started: text(summary, "/started"),
        neighbour,
        verdict: text(summary, "/verdict"),
        machine: format!("{} cores, {}", summary["host"]["cores"], text(summary, "/host/cpu_model")),
        index_version: number("/host_speed/index_version")? as u64,
        index_before_start: number("/host_speed/before_start/median").ok(),
        index_fill: number("/host_speed/under_load/fill/median")?,
        index_fill_by_part: map("/host_speed/fill_by_part"),
        fill_s: number("/metrics/fill_s/value")?,
        fill_s_normalised: number("/host_speed/normalised/fill_s")?,
        cpu_ms_per_pod: number("/metrics/cpu_ms_per_pod/value")?,
        cpu_ms_per_pod_normalised: number("/host_speed/normalised/cpu_ms_per_pod")?,
        cpu_ms_per_pod_by_component: map("/cpu/fill_ms_per_pod"),
    })
}

fn text(summary: &Value, pointer: &str) -> String {
    summary.pointer(pointer).and_then(Value::as_str).unwrap_or("not recorded").to_owned()
}

fn page(outcome: &Outcome, date: &str) -> String {
    let mut out = format!(
        "# Host speed: the experiment of {date}\n\nMade by `cargo xtask bench --host-speed`; the protocol is in \
         [host-speed.md](../host-speed.md), the data in `{date}.json`.\n\n"
    );
    let machine = outcome.points.first().map_or("no machine", |point| point.machine.as_str());
    let _ = writeln!(out, "Machine: {machine}. Profile dev-50, soak {SOAK}.\n");
    let _ = writeln!(
        out,
        "| started | neighbour | verdict | index before the start | index of the fill | CPU per Pod, ms | the same at \
         reference speed | fill, s | the same at reference speed |\n|---|---|---|---|---|---|---|---|---|"
    );
    for p in &outcome.points {
        let before = p.index_before_start.map_or_else(|| "-".to_owned(), |index| format!("{index:.2}"));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {before} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} |",
            p.started.get(..16).unwrap_or(&p.started),
            p.neighbour,
            p.verdict,
            p.index_fill,
            p.cpu_ms_per_pod,
            p.cpu_ms_per_pod_normalised,
            p.fill_s,
            p.fill_s_normalised
        );
    }
    for told in &outcome.left_out {
        let _ = writeln!(out, "\nNot counted: {told}.");
    }
    let met = |is_met: bool| if is_met { "met" } else { "**missed**" };
    let _ = writeln!(
        out,
        "\nCPU per Pod spans a factor of {:.2} as it is (at least {PLAIN_SPAN_MIN}: {}), and of {:.2} at reference speed \
         (less than {NORMALISED_SPAN_MAX}: {}).",
        outcome.plain_span,
        met(outcome.condition_met),
        outcome.normalised_span,
        met(outcome.goal_met)
    );
    if let Some((name, span)) = outcome.span_by_component.iter().max_by(|a, b| a.1.total_cmp(b.1)) {
        let _ = writeln!(
            out,
            "The component that follows the index least is {name}: its CPU per Pod at reference speed spans {span:.2}."
        );
    }
    for (title, spans) in [
        ("CPU per Pod at reference speed, by component", &outcome.span_by_component),
        ("CPU per Pod, if one part of the work alone were the index", &outcome.span_by_part),
    ] {
        let _ = writeln!(out, "\n## {title}\n\n| | largest over smallest |\n|---|---|");
        let mut spans: Vec<_> = spans.iter().collect();
        spans.sort_by(|a, b| b.1.total_cmp(a.1));
        for (name, span) in spans {
            let _ = writeln!(out, "| {name} | {span:.2} |");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(run_id: &str, index: f64, cpu_ms: f64, etcd_ms: f64) -> Value {
        json!({
            "run_id": run_id, "started": "2026-12-01T10:00:00Z", "verdict": "fail",
            "host": {"cores": 2, "cpu_model": "x"},
            "metrics": {"bound_ratio": {"value": 1.0}, "fill_s": {"value": 60.0}, "cpu_ms_per_pod": {"value": cpu_ms}},
            "cpu": {"fill_ms_per_pod": {"kube-apiserver": cpu_ms - etcd_ms, "etcd": etcd_ms, "shard": 0.01}},
            "host_speed": {
                "index_version": 1, "before_start": {"median": 1.0}, "under_load": {"fill": {"median": index}},
                "fill_by_part": {"json": index, "memory": 1.0},
                "normalised": {"fill_s": 60.0 * index, "cpu_ms_per_pod": cpu_ms * index},
            },
        })
    }

    fn weighed(summaries: &[Value]) -> Outcome {
        weigh(summaries.iter().map(|summary| ("none".to_owned(), summary.clone())).collect())
    }

    #[test]
    fn an_index_that_follows_the_run_meets_the_goal() {
        let outcome = weighed(&[summary("a", 1.0, 25.0, 2.0), summary("b", 0.5, 50.0, 4.0)]);
        assert_eq!((outcome.plain_span, outcome.normalised_span), (2.0, 1.0));
        assert!(outcome.condition_met && outcome.goal_met);
        assert_eq!(outcome.span_by_part, [("json".to_owned(), 1.0), ("memory".to_owned(), 2.0)].into());
        assert!(!outcome.span_by_component.contains_key("shard"), "too little of all CPU to matter");
    }

    #[test]
    fn a_missed_goal_names_who_follows_the_index_least() {
        let outcome = weighed(&[summary("a", 1.0, 25.0, 2.0), summary("b", 0.5, 70.0, 24.0)]);
        assert!(outcome.condition_met && !outcome.goal_met);
        let page = page(&outcome, "2026-12-01");
        assert!(page.contains("(less than 1.15: **missed**)"), "{page}");
        assert!(
            page.contains("follows the index least is etcd: its CPU per Pod at reference speed spans 6.00"),
            "{page}"
        );
    }

    #[test]
    fn runs_that_do_not_count_are_named_and_none_is_no_success() {
        let mut unbound = summary("a", 1.0, 25.0, 2.0);
        unbound["metrics"]["bound_ratio"]["value"] = json!(0.9);
        let mut old = summary("b", 1.0, 25.0, 2.0);
        old.as_object_mut().unwrap().remove("host_speed");
        let outcome = weighed(&[unbound, old]);
        assert_eq!(outcome.left_out[0], "a: not all Pods were bound in the fill");
        assert!(
            outcome.left_out[1].starts_with("b: the summary has no /host_speed"),
            "{:?}",
            outcome.left_out
        );
        assert!(!outcome.condition_met && !outcome.goal_met);
    }
}
