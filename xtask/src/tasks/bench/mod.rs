//! `cargo xtask bench`: the figures that the project wants to reach on 2 cores and 24 GiB, measured on this machine.
//!
//! This is not a test, because figures depend on the machine. The exit code says whether all measured figures are
//! reached.

mod host_speed;
mod kwokctl;
mod load;
mod place;
mod processes;
/// The harness's own module: xtask may not depend on the harness, and there should be only one definition of the
/// median.
#[path = "../../../../harness/model/src/summary/stats.rs"]
mod stats;

use std::{
    fmt, fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tools::{ProgressMode, Toolset};

use crate::{cargo, exit, tasks::tools::ToolArgs};
pub use place::{KeeperArgs, keep};
use stats::Spread;

/// Time for five control planes to start and be verified ready, with tools and seed cached.
const START_S_MAX: f64 = 10.0;
/// Time for `e2e dev-50 --soak 120s`, with tools cached and a warm build.
const DEV_50_S_MAX: f64 = 240.0;
/// Time for dev-500 to bind all Pods.
const DEV_500_FILL_S_MAX: f64 = 840.0;
/// CPU of all processes per Pod that dev-500 binds, over its fill, in ms.
const DEV_500_CPU_MS_PER_POD_MAX: f64 = 30.0;
/// Scheduling attempts that fail, per Pod of dev-500.
const DEV_500_FAILED_ATTEMPTS_MAX: f64 = 0.5;
/// Memory of a whole dev-500, in MiB.
const DEV_500_MEMORY_MIB_MAX: f64 = 20.0 * 1024.0;
/// CPU share of harness and fleet together.
const OWN_CPU_SHARE_MAX: f64 = 0.2;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    /// How often five control planes are started; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    starts: u16,

    /// Measure only the start of control planes, without dev-50 (about four minutes), kwokctl and the simulator.
    #[arg(long)]
    only_start: bool,

    /// Measure only Pods per second, compared with a cluster that kwokctl creates from the same programs without limits
    /// on requests per second (about four minutes per round).
    #[arg(long, conflicts_with_all = ["only_start", "only_sim", "dev_500"])]
    kwokctl: bool,

    /// How often each of the two clusters of that comparison is measured; the medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Measure only the simulator: the duration of an engine cycle, from 5k to a million machines (about three
    /// minutes).
    #[arg(long, conflicts_with_all = ["only_start", "dev_500"])]
    only_sim: bool,

    /// Run only the experiment of docs/host-speed.md: six runs of dev-50, some with a busy neighbour (half an hour).
    /// Writes its page and data to docs/host-speed.
    #[arg(long, conflicts_with_all = ["only_start", "only_sim", "kwokctl", "dev_500"])]
    host_speed: bool,

    /// Further runs of dev-50 for that experiment, made without a neighbour at other times.
    #[arg(long, value_name = "RUN", num_args = 1.., requires = "host_speed")]
    with: Vec<std::path::PathBuf>,

    /// Also read the figures of this run directory of dev-500.
    #[arg(long, value_name = "RUN")]
    dev_500: Option<std::path::PathBuf>,
}

/// A figure with its goal.
struct Figure {
    name: &'static str,
    value: f64,
    goal: Goal,
    unit: &'static str,
    note: String,
}

/// The goal of a figure.
#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Runs the task.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    if args.only_sim {
        return sim();
    }
    if args.host_speed {
        return host_speed::experiment(&args.with);
    }
    let bin_dir = cargo::build_bins(false, ProgressMode::Auto)?;
    let options = ToolArgs::default().options();
    let tools = Toolset::ensure(&options)?;
    let beside_kwokctl = || kwokctl::compare(args.rounds, &bin_dir, &tools, &options);
    if args.kwokctl {
        return Ok(verdict(&[beside_kwokctl()?]));
    }
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
        figures.push(beside_kwokctl()?);
    }
    if let Some(dir) = &args.dev_500 {
        figures.extend(dev_500(&summary(dir)?)?);
    }
    let code = verdict(&figures);
    let of_sim = if args.only_start { 0 } else { sim()? };
    Ok(if code == 0 { of_sim } else { code })
}

/// Prints figures with their goals. The exit code says whether all are reached.
fn verdict(figures: &[Figure]) -> u8 {
    for f in figures {
        let mark = if f.is_reached() { '+' } else { 'x' };
        println!("{mark} {:45} {:>9.2} {:4} goal {} {}", f.name, f.value, f.unit, f.goal, f.note);
    }
    if figures.iter().all(Figure::is_reached) { 0 } else { exit::FAILED }
}

/// Returns the figures in the summary of a dev-500.
fn dev_500(run: &Value) -> anyhow::Result<Vec<Figure>> {
    let metric = |name: &str| number(run, &format!("/metrics/{name}/value"));
    let fill_s = number(run, "/phases_s/fill")?;
    let (cpu_ms, failed) = (metric("cpu_ms_per_pod")?, metric("failed_attempts_per_pod")?);
    let memory_mib = number(run, "/memory_mib/peak")?;
    Ok(vec![
        figure("dev-500: fill", fill_s, DEV_500_FILL_S_MAX, "s"),
        figure("dev-500: CPU per bound Pod", cpu_ms, DEV_500_CPU_MS_PER_POD_MAX, "ms"),
        figure("dev-500: failed attempts per Pod", failed, DEV_500_FAILED_ATTEMPTS_MAX, ""),
        figure("dev-500: peak memory", memory_mib, DEV_500_MEMORY_MIB_MAX, "MiB"),
        own_share("dev-500: CPU share of harness and fleet", run)?,
    ])
}

/// Prints the simulator's own table, which has its own goals.
fn sim() -> anyhow::Result<u8> {
    let mut command = Command::new(cargo::build_sim()?.join("e2e-sim"));
    let status = command.arg("--bench").stdin(Stdio::null()).status().context("cannot start e2e-sim")?;
    Ok(exit::of(status))
}

/// Starts five control planes several times. The first start does not count, because it may have to build the seed.
fn starts(count: u16, bin_dir: &Path, tools_dir: &Path) -> anyhow::Result<Figure> {
    let state = tempfile::tempdir().context("cannot create a directory for the runs")?;
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
    let Spread { median, min, max, .. } = spread(&taken_s)?;
    let note = format!("median of {count}; {min:.2} to {max:.2}");
    Ok(Figure { note, ..figure("five control planes verified ready", median, START_S_MAX, "s") })
}

fn dev_50() -> anyhow::Result<Value> {
    let runs = tempfile::tempdir().context("cannot create a directory for the run")?;
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
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
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
    Figure { name, value, goal: Goal::AtMost(max), unit, note: String::new() }
}

fn spread(values: &[f64]) -> anyhow::Result<Spread> {
    Spread::of(values).context("nothing was measured")
}

impl Figure {
    fn is_reached(&self) -> bool {
        match self.goal {
            Goal::AtMost(max) => self.value <= max,
            Goal::AtLeast(min) => self.value >= min,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(max) => write!(f, "<= {max}"),
            Goal::AtLeast(min) => write!(f, ">= {min}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_a_bound_from_above_or_from_below() {
        let reached = |goal| Figure { goal, ..figure("f", 1.0, 0.0, "s") }.is_reached();
        assert!(reached(Goal::AtMost(1.0)) && reached(Goal::AtLeast(1.0)));
        assert!(!reached(Goal::AtMost(0.9)) && !reached(Goal::AtLeast(1.1)));
        assert_eq!(
            (Goal::AtMost(0.5).to_string(), Goal::AtLeast(1.4).to_string()),
            ("<= 0.5".into(), ">= 1.4".into())
        );
    }

    #[test]
    fn the_kept_summaries_have_the_figures_of_a_dev_500() {
        let path = cargo::workspace_root().join("docs/results/dev-500-2026-11-26.json");
        let run = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let figures = dev_500(&run).unwrap();
        assert_eq!(figures.len(), 5);
    }
}
