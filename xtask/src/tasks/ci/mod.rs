//! `cargo xtask ci`: every check and test, those that fail soonest first. `--nightly` runs what it leaves out.

mod kind;
mod nightly;
mod step;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use tools::nextest::{self, Nextest};

use self::step::{Step, repeat};
use crate::{cargo, exit, tasks::tools::ToolArgs};

/// Arguments of `cargo xtask ci`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    /// Run only the steps whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Run only the steps that are left out otherwise; docs/ci.md lists them.
    #[arg(long)]
    nightly: bool,

    /// If no Docker engine runs, start one for the suites on kind clusters. Needs root; installs docker.io if it is
    /// missing.
    #[arg(long, conflicts_with = "nightly")]
    dockerd: bool,

    #[command(flatten)]
    tools: ToolArgs,
}

/// What is run, and what is not.
struct Plan {
    steps: Vec<Step>,
    /// One line each.
    not_run: Vec<String>,
}

impl Plan {
    fn new(args: &Args) -> anyhow::Result<Plan> {
        let runner = nextest::ensure(&args.tools.options())?;
        let mut plan = if args.nightly {
            let ci = "everything that `cargo xtask ci` runs".to_owned();
            Plan { steps: nightly::steps(&runner)?, not_run: vec![ci] }
        } else {
            Plan::daily(&runner, args.dockerd)?
        };
        plan.steps.retain(|step| args.only.as_ref().is_none_or(|text| step.name.contains(text)));
        if args.tools.is_offline() {
            plan.steps.iter_mut().for_each(|step| cargo::forbid_network(&mut step.command));
        }
        Ok(plan)
    }

    fn daily(runner: &Nextest, may_start_dockerd: bool) -> anyhow::Result<Plan> {
        let nightly =
            nightly::ALL.map(|n| format!("{} ({}): `cargo xtask ci --nightly` runs it", n.name, n.why));
        let mut not_run = nightly.to_vec();
        let on_kind = kind::step(runner, may_start_dockerd);
        if let Err(reason) = &on_kind {
            not_run.push(format!("{}: {reason}", kind::NAME));
        }
        let mut steps = checks()?;
        steps.extend(tests(runner, on_kind.ok()));
        Ok(Plan { steps, not_run })
    }

    fn say_what_is_not_run(&self) {
        self.not_run.iter().for_each(|line| println!("NOT RUN: {line}"));
    }
}

/// Runs the task. Stops at the first step that fails.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mut plan = Plan::new(args)?;
    let steps = std::mem::take(&mut plan.steps);
    let count = steps.len();
    // Also printed before everything else, so that what is not run is not mistaken for passed.
    plan.say_what_is_not_run();
    for (idx, step) in steps.into_iter().enumerate() {
        let is_last = idx + 1 == count;
        let (name, shown, repeat) = (step.name.clone(), step.shown, repeat(&step.command));
        println!("[{}/{count}] {name}: {repeat}", idx + 1);
        let started = Instant::now();
        if is_last {
            plan.say_what_is_not_run();
        }
        if let Some(output) = step.run()? {
            println!("{output}");
            println!("FAILED {name} after {}; to repeat it: {repeat}", seconds(started.elapsed()));
            return Ok(exit::FAILED);
        }
        // nextest's own summary should be the last thing on the screen.
        if !(shown && is_last) {
            println!("[{}/{count}] {name}: ok ({})", idx + 1, seconds(started.elapsed()));
        }
    }
    Ok(0)
}

fn checks() -> anyhow::Result<Vec<Step>> {
    let mut doc = cargo::cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    Ok(vec![
        Step::quiet("format", cargo::cargo(&["fmt", "--all", "--check"])),
        Step::quiet("clippy", cargo::cargo(&clippy)),
        // The very command that a run executes: a different choice of packages has different features, and causes a
        // rebuild.
        Step::quiet("programs", cargo::build_bins_command()?),
        Step::quiet("generated files", built("e2e-codegen", &["--check"])?),
        Step::quiet("results book", built("e2e-scenario", &["results", "--check"])?),
        Step::quiet("docs", doc),
    ])
}

/// Returns a command for one of the programs that were just built, as `cargo xtask codegen` and `cargo xtask results`
/// call them.
fn built(program: &str, args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(cargo::bin_dir()?.join(program));
    command.args(args);
    cargo::clean(&mut command);
    Ok(command)
}

/// Three parts of one set of tests. They are selected by filter and not by package, so that they are built only once.
fn tests(runner: &Nextest, on_kind: Option<Step>) -> Vec<Step> {
    let nextest = |filter: &str| nextest_command(Command::new(&runner.path), runner, "ci", filter);
    let whole_runs = "package(xtask) & binary(/^(nothing_left|runs)$/)";
    let mut steps = vec![
        Step::shown("unit tests", nextest(&format!("not package(suites) - ({whole_runs})"))),
        // Lists the claims of the suites, which the step for unit tests has built.
        Step::quiet("mutants apply", cargo::cargo(&["xtask", "mutants", "--check"])),
        // The name says what the profile `ci` leaves out, so that it is not mistaken for passed. The reasons are in
        // .config/nextest.toml.
        Step::shown("suites but dev_500", nextest("package(suites)")),
    ];
    steps.extend(on_kind);
    steps.push(Step::shown("whole runs", nextest(whole_runs)));
    steps
}

/// Returns a `nextest run` over the whole workspace, with the environment that the tests expect.
fn nextest_command(mut program: Command, runner: &Nextest, profile: &str, filter: &str) -> Command {
    program.args(["nextest", "run", "--workspace", "--profile", profile, "--filterset", filter]);
    cargo::clean(&mut program);
    // A backtrace is of no use here and makes a panicking trial six times slower.
    program.env("RUST_BACKTRACE", "0").env("E2E_NEXTEST", &runner.path);
    program
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
