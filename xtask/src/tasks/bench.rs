//! `cargo xtask bench`: the figures that the project wants to reach on 2 cores and 24 GiB, measured here and now.
//!
//! Not a test: figures depend on the machine. The exit code says whether all that were measured are reached.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tools::{ProgressMode, Toolset};

use crate::{cargo, exit, tasks::tools::ToolArgs};

/// What the start of five control planes may take, verified ready, tools and seed cached.
const START_S_MAX: f64 = 10.0;
/// What `e2e dev-50 --soak 120s` may take, tools cached, build warm.
const DEV_50_S_MAX: f64 = 360.0;
/// How long dev-500 may take to bind all Pods.
const DEV_500_FILL_S_MAX: f64 = 1200.0;
/// Memory of a whole dev-500, MiB.
const DEV_500_MEMORY_MIB_MAX: f64 = 20.0 * 1024.0;
/// CPU share of harness and fleet together.
const OWN_CPU_SHARE_MAX: f64 = 0.25;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    /// Starts of five control planes; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    starts: u16,

    /// Leave out dev-50 (about four minutes).
    #[arg(long)]
    only_start: bool,

    /// Only the simulator: what an engine cycle takes, from 5k to a million machines (about three minutes).
    #[arg(long, conflicts_with_all = ["only_start", "dev_500"])]
    only_sim: bool,

    /// Also read the figures of this run directory of dev-500.
    #[arg(long, value_name = "RUN")]
    dev_500: Option<std::path::PathBuf>,
}

/// A figure beside its goal.
struct Figure {
    name: &'static str,
    value: f64,
    max: f64,
    unit: &'static str,
    note: String,
}

/// Runs the task.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    if args.only_sim {
        return sim();
    }
    let bin_dir = cargo::build_bins(false, ProgressMode::Auto)?;
    let tools = Toolset::ensure(&ToolArgs::default().options())?;
    let mut figures = vec![starts(args.starts, &bin_dir, &tools.dir)?];
    if !args.only_start {
        let started = Instant::now();
        let run = dev_50()?;
        let note = format!("verdict {}", run["verdict"].as_str().unwrap_or("?"));
        figures.push(seconds(
            "dev-50 with a soak of 120 s, everything",
            started.elapsed(),
            DEV_50_S_MAX,
            note,
        ));
        figures.push(own_share("dev-50: CPU share of harness and fleet", &run)?);
    }
    if let Some(dir) = &args.dev_500 {
        let run = summary(dir)?;
        let fill_s = number(&run, "/phases_s/fill")?;
        let memory_mib = number(&run, "/memory_mib/peak")?;
        figures.push(figure("dev-500: fill", fill_s, DEV_500_FILL_S_MAX, "s"));
        figures.push(figure("dev-500: peak memory", memory_mib, DEV_500_MEMORY_MIB_MAX, "MiB"));
        figures.push(own_share("dev-500: CPU share of harness and fleet", &run)?);
    }
    for f in &figures {
        let mark = if f.value <= f.max { '+' } else { 'x' };
        println!("{mark} {:45} {:>9.2} {:4} goal <= {} {}", f.name, f.value, f.unit, f.max, f.note);
    }
    let reached = figures.iter().all(|f| f.value <= f.max);
    let code = if args.only_start { 0 } else { sim()? };
    Ok(if reached { code } else { exit::FAILED })
}

/// The simulator's own table, with its own goals.
fn sim() -> anyhow::Result<u8> {
    let mut command = Command::new(cargo::build_sim()?.join("e2e-sim"));
    let status = command.arg("--bench").stdin(Stdio::null()).status().context("cannot start e2e-sim")?;
    Ok(exit::of(status))
}

/// Five control planes, several times; the first start may have to build the seed and does not count.
fn starts(count: u16, bin_dir: &Path, tools_dir: &Path) -> anyhow::Result<Figure> {
    let state = tempfile::tempdir().context("cannot make a directory for the runs")?;
    let supervisor = |args: &[&str]| {
        let mut command = Command::new(bin_dir.join("e2e-supervisor"));
        command.args(args).arg("--state-dir").arg(state.path()).env("E2E_TOOLS_DIR", tools_dir);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
        let status = status.context("cannot start e2e-supervisor")?;
        ensure!(status.success(), "`e2e-supervisor {}` ended with {status}", args.join(" "));
        Ok(())
    };
    let mut taken_s = Vec::new();
    for n in 0..=count {
        let started = Instant::now();
        supervisor(&["up", "--clusters", "5"])?;
        if n > 0 {
            taken_s.push(started.elapsed().as_secs_f64());
        }
        supervisor(&["down"])?;
    }
    taken_s.sort_by(f64::total_cmp);
    let note = format!("median of {count}; {:.2} to {:.2}", taken_s[0], taken_s[taken_s.len() - 1]);
    let median = taken_s[taken_s.len() / 2];
    Ok(Figure { note, ..figure("five control planes verified ready", median, START_S_MAX, "s") })
}

fn dev_50() -> anyhow::Result<Value> {
    let runs = tempfile::tempdir().context("cannot make a directory for the run")?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(["e2e", "dev-50", "--soak", "120s", "--run-dir-root"]).arg(runs.path());
    command.stdin(Stdio::null()).status().context("cannot start a run of dev-50")?;
    let mut dirs = fs::read_dir(runs.path())?.flatten().map(|entry| entry.path());
    let dir =
        dirs.find(|dir| dir.join("summary.json").is_file()).context("the run of dev-50 has no summary")?;
    summary(&dir)
}

fn summary(dir: &Path) -> anyhow::Result<Value> {
    let path = dir.join("summary.json");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", path.display()))
}

fn number(summary: &Value, pointer: &str) -> anyhow::Result<f64> {
    summary.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("the summary has no {pointer}"))
}

fn own_share(name: &'static str, summary: &Value) -> anyhow::Result<Figure> {
    Ok(figure(name, number(summary, "/cpu/harness_and_fleet_share")?, OWN_CPU_SHARE_MAX, ""))
}

fn seconds(name: &'static str, taken: Duration, max: f64, note: String) -> Figure {
    Figure { note, ..figure(name, taken.as_secs_f64(), max, "s") }
}

fn figure(name: &'static str, value: f64, max: f64, unit: &'static str) -> Figure {
    Figure { name, value, max, unit, note: String::new() }
}
