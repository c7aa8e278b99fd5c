//! `--bench`: the cost of a cycle from 5k to a million machines, beside what the project wants to reach.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::timing::Timing;

/// One row: how the fleet is called, and what must hold.
struct Row {
    name: &'static str,
    args: &'static [&'static str],
    p99_ms_max: Option<f64>,
    total_s_max: Option<f64>,
    memory_mib_max: Option<f64>,
    /// Whether it is a point of the growth curve: the same clusters, only more of them.
    on_curve: bool,
}

const ROWS: [Row; 5] = [
    Row {
        name: "5k",
        args: &["5k", "--cycles", "360"],
        p99_ms_max: None,
        total_s_max: None,
        memory_mib_max: None,
        on_curve: true,
    },
    Row {
        name: "50,000 machines, 2,600 Needs",
        args: &["many-gangs-50k"],
        p99_ms_max: Some(50.0),
        total_s_max: None,
        memory_mib_max: None,
        on_curve: false,
    },
    Row {
        name: "50k, one hour",
        args: &["50k", "--cycles", "360"],
        p99_ms_max: None,
        total_s_max: Some(60.0),
        memory_mib_max: Some(4096.0),
        on_curve: true,
    },
    Row {
        name: "500,000 machines",
        args: &["50k", "--set", "clusters=380", "--cycles", "60"],
        p99_ms_max: Some(1000.0),
        total_s_max: None,
        memory_mib_max: None,
        on_curve: true,
    },
    Row {
        name: "1m",
        args: &["1m", "--cycles", "60"],
        p99_ms_max: None,
        total_s_max: None,
        memory_mib_max: None,
        on_curve: true,
    },
];

/// Runs each row in a process of its own, so that memory is its own, too.
pub fn run() -> anyhow::Result<u8> {
    let dir = tempfile::tempdir().context("making a directory for the reports")?;
    println!(
        "{:30} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "fleet", "machines", "Needs", "p50 ms", "p99 ms", "max ms", "total s", "peak MiB", "ns/(n lg n)"
    );
    let mut missed = Vec::new();
    let mut curve = Vec::new();
    for row in &ROWS {
        let (size, timing) = measure(row, dir.path())?;
        let machines = size["machines"].as_f64().unwrap_or(0.0);
        let per_unit_ns = timing.engine_cycle_ms_p50 * 1e6 / (machines * machines.log2());
        println!(
            "{:30} {machines:>9} {:>7} {:>9.2} {:>9.2} {:>9.2} {:>9.1} {:>9.0} {per_unit_ns:>10.2}",
            row.name,
            size["needs"].as_u64().unwrap_or(0),
            timing.engine_cycle_ms_p50,
            timing.engine_cycle_ms_p99,
            timing.engine_cycle_ms_max,
            timing.total_seconds,
            timing.peak_memory_mib
        );
        if row.on_curve {
            curve.push(per_unit_ns);
        }
        let goals = [
            ("cycle p99, ms", timing.engine_cycle_ms_p99, row.p99_ms_max),
            ("everything, s", timing.total_seconds, row.total_s_max),
            ("peak memory, MiB", timing.peak_memory_mib, row.memory_mib_max),
        ];
        for (what, value, max) in goals {
            let Some(max) = max else { continue };
            let mark = if value <= max { '+' } else { 'x' };
            println!("{mark} {}: {what} {value:.1}, goal <= {max}", row.name);
            missed.extend((value > max).then_some(row.name));
        }
    }
    let growth = curve.last().copied().unwrap_or(0.0) / curve.first().copied().unwrap_or(1.0);
    let mark = if growth <= GROWTH_MAX { '+' } else { 'x' };
    println!("{mark} cost per n log n, 1m over 5k: {growth:.2}, goal <= {GROWTH_MAX}");
    Ok(u8::from(!missed.is_empty() || growth > GROWTH_MAX))
}

/// n log n, with room for caches that a million machines do not fit in.
const GROWTH_MAX: f64 = 2.0;

fn measure(row: &Row, dir: &Path) -> anyhow::Result<(Value, Timing)> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args(row.args).arg("--out").arg(dir);
    let status =
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().context("starting this program")?;
    ensure!(status.success(), "`cargo xtask sim {}` ended with {status}", row.args.join(" "));
    let read = |name: &str| std::fs::read(dir.join(name)).with_context(|| format!("reading {name}"));
    let report: Value = serde_json::from_slice(&read("report.json")?).context("the report is no JSON")?;
    let timing = serde_json::from_slice(&read("timing.json")?).context("the timing is no JSON")?;
    Ok((report["size"].clone(), timing))
}
