//! `e2e-sim`: runs a scenario file or a profile in virtual time.

/// Those of the standard library panic when nobody reads; `output::end` tells what was lost.
macro_rules! println {
    ($($text:tt)*) => { platform::say!($($text)*) };
}
macro_rules! print {
    ($($text:tt)*) => { platform::output::write(format!($($text)*).as_bytes()) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { platform::tell!($($text)*) };
}

#[path = "e2e-sim/bench.rs"]
mod bench;
#[path = "e2e-sim/beside.rs"]
mod beside;
#[path = "e2e-sim/show.rs"]
mod show;
#[path = "e2e-sim/timing.rs"]
mod timing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use harness_model::profile::fixtures_dir;
use sim::expect::Expectation;
use sim::{Setup, from_plan, plot, scenario};

use crate::timing::Stopwatch;

const AFTER_HELP: &str = "\
Examples:
  cargo xtask sim dev-500
  cargo xtask sim steady-state-converges
  cargo xtask sim my-scenario.yaml --seed 7 --out target/sim
  cargo xtask sim 50k --set clusters=400 --cycles 30
  cargo xtask sim --beside target/e2e/latest --out target/sim
  cargo xtask sim --bench

The JSON is the same for the same input and seed; what the wall clock says is on stderr, and in timing.json.

Exit codes:
  0    everything came out as expected, or nothing was expected
  1    an expectation of the scenario failed, or a figure of --bench is not reached
  2    usage: unknown scenario, profile or key, values that make no sense
  3    environment: a file that cannot be written";

/// The closed loop in virtual time: the shard's own engine, and a model of everything around it.
#[derive(Parser)]
#[command(bin_name = "cargo xtask sim", version, after_help = AFTER_HELP)]
struct Args {
    /// A scenario of fixtures/sim by name, a profile by name, or a scenario file.
    #[arg(required_unless_present_any = ["bench", "list", "beside"])]
    scenario: Option<String>,
    /// Seed of everything that is drawn, in place of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Cycles to run, in place of the scenario's; 360 are an hour of a profile.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    cycles: Option<u32>,
    /// Replaces one value of a profile (e.g. clusters=400); may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The whole report as JSON on stdout.
    #[arg(long)]
    json: bool,
    /// Run the plan of a run directory, and tell what it did beside what really happened.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["scenario", "seed", "cycles", "set", "bench", "list"])]
    beside: Option<PathBuf>,
    /// Directory to write report.json, timing.json and machines.svg into; with --beside: beside.json,
    /// predicted.svg and seen.svg.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// List scenarios and profiles.
    #[arg(long, conflicts_with_all = ["scenario", "bench"])]
    list: bool,
    /// Measure the engine from 5k to a million machines, and compare with the goals.
    #[arg(long, conflicts_with = "scenario")]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut stopwatch = Stopwatch::start();
    let result = match &args.scenario {
        _ if args.list => Ok(list()),
        Some(name) => match load(name, &args) {
            Ok((setup, expected)) => {
                stopwatch.loaded();
                simulate(setup, &expected, &args, stopwatch)
            }
            Err(error) => return complain(2, &error),
        },
        None => match &args.beside {
            Some(run) => match beside::Beside::load(run) {
                Ok(beside) => beside.tell(args.json, args.out.as_deref()),
                Err(error) => return complain(2, &error),
            },
            None => bench::run(),
        },
    };
    match result {
        Ok(code) => platform::output::end(code),
        Err(error) => complain(3, &error),
    }
}

fn complain(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("Error: {error:#}");
    platform::output::end(code)
}

fn load(name: &str, args: &Args) -> anyhow::Result<(Setup, Vec<Expectation>)> {
    let named = scenarios_dir().join(format!("{name}.yaml"));
    let path = if named.is_file() { named } else { PathBuf::from(name) };
    let (mut setup, mut expected) = if path.is_file() {
        anyhow::ensure!(args.set.is_empty(), "--set changes profiles; change the scenario's file instead");
        let scenario = scenario::load(&path)?;
        (scenario.setup(&path)?, scenario.expect)
    } else {
        let setup = from_plan::load(&fixtures_dir(), name, &args.set).with_context(|| {
            format!("`{name}` is no scenario of fixtures/sim, nor can it be read as a profile")
        })?;
        (setup, Vec::new())
    };
    setup.seed = args.seed.unwrap_or(setup.seed);
    if let Some(cycles) = args.cycles
        && cycles != setup.cycles
    {
        setup.cycles = cycles;
        setup.window = setup.window.min(cycles);
        // They were written for another length.
        if !expected.is_empty() {
            eprintln!("note: with --cycles {cycles} the scenario's expectations are not checked");
            expected.clear();
        }
    }
    Ok((setup, expected))
}

fn simulate(
    setup: Setup,
    expected: &[Expectation],
    args: &Args,
    mut stopwatch: Stopwatch,
) -> anyhow::Result<u8> {
    let report = sim::run(setup, expected, |sim| stopwatch.time(|| sim.decide()));
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("Error: {error}");
            return Ok(2);
        }
    };
    let timing = stopwatch.stop();
    if args.json {
        println!("{}", report.to_json());
    } else {
        print!("{}", show::screen(&report));
    }
    eprintln!("{timing}");
    if let Some(dir) = &args.out {
        let timing = serde_json::to_string_pretty(&timing).context("the timing does not serialise")?;
        let picture = plot::svg(&(&report).into());
        write(dir, &[("report.json", report.to_json()), ("timing.json", timing), ("machines.svg", picture)])?;
    }
    Ok(u8::from(!report.holds()))
}

fn write(dir: &Path, files: &[(&str, String)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn scenarios_dir() -> PathBuf {
    fixtures_dir().join("sim")
}

fn list() -> u8 {
    let files = std::fs::read_dir(scenarios_dir()).into_iter().flatten().flatten().map(|f| f.path());
    let mut files: Vec<PathBuf> = files.filter(|f| f.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    for path in files {
        match scenario::load(&path) {
            Ok(scenario) => println!("{:36} {}", scenario.name, scenario.description),
            Err(error) => println!("{}: {error}", path.display()),
        }
    }
    for name in harness_model::profile::profile_names(&fixtures_dir()) {
        println!("{name:36} (profile)");
    }
    0
}
