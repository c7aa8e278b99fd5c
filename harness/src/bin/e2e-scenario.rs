//! `e2e-scenario`: runs a profile, judges a run directory, compares runs, maintains the page of results, shows plans.

/// The macros of the standard library panic when the reader is gone; `output::end` reports what was lost.
macro_rules! println {
    ($($text:tt)*) => { platform::say!($($text)*) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { platform::tell!($($text)*) };
}

#[path = "e2e-scenario/calibrate.rs"]
mod calibrate;
#[path = "e2e-scenario/compare.rs"]
mod compare;
#[path = "e2e-scenario/results.rs"]
mod results;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use harness::observe::sampler;
use harness::scenario::{self, Autoscaler, Failure, Options};
use harness::view::{Front, stream::Line};
use harness_analysis::judge;
use harness_analysis::judge::{Evidence, Expect, gates};
use harness_analysis::report::{self, history::History};
use harness_model::plan::memory::{self, Planes};
use harness_model::plan::{self, Plan};
use harness_model::profile::{self, Loaded};
use harness_model::record::RunDir;
use harness_model::summary::{LEFT_BEHIND, Summary, markdown, screen};
use harness_supervisor::protocol::Announcement;
use platform::output;

/// Runs scenarios on real control planes and judges them.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    every gate passed
  1    a gate failed
  2    usage: unknown profile or key, absurd numbers, a seed that is short
  3    environment: a missing tool, too little memory, a port taken, a component that does not start
  4    the run is invalid: its measurement cannot be trusted
  5    every gate passed, but objects of the run stay in an existing cluster (they and the next command are listed);
       or a run could not begin, because what an earlier one left there does not go away
  130  interrupted; what was measured so far is kept";

#[derive(Subcommand)]
enum Command {
    /// Run a profile under a supervisor and judge it.
    Run(RunArgs),
    /// Recompute the verdict of a run directory from its files.
    Judge {
        /// The run directory, e.g. target/e2e/latest.
        run: PathBuf,
    },
    /// Draw the report of a run directory again from its files, and print its path.
    Report {
        /// The run directory, e.g. target/e2e/latest.
        run: PathBuf,
    },
    /// Compare two run directories, or two sets of them: every figure, and every difference in judgement.
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::CompareArgs),
    /// Write a profile's ranges for a class of machines, from at least five passing runs.
    #[command(after_help = calibrate::EXAMPLES)]
    Calibrate(calibrate::CalibrateArgs),
    /// Write or check docs/results/README.md, the page about all kept summaries.
    Results(results::ResultsArgs),
    /// Print what a profile would create, need and use, without running it.
    Plan {
        #[command(flatten)]
        profile: ProfileArgs,
        /// Print the whole plan as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the profiles.
    List,
}

#[derive(Args)]
struct ProfileArgs {
    /// Name of a profile, or path of a YAML file.
    #[arg(long)]
    profile: String,
    /// Seed of everything random, in place of the profile's.
    #[arg(long)]
    seed: Option<u64>,
    /// Length of the soak, in place of the profile's (e.g. 120s).
    #[arg(long)]
    soak: Option<String>,
    /// Replace one value of the profile (e.g. shard.cycleInterval=5s); may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Directory of another autoscaler's programs, in place of the reference's (docs/bring-your-own.md).
    #[arg(long, value_name = "DIR")]
    autoscaler: Option<PathBuf>,
}

/// The input of a run.
struct Made {
    loaded: Loaded,
    plan: Plan,
    autoscaler: Option<Autoscaler>,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Directory of this run; its name is the run id.
    #[arg(long)]
    run_dir: PathBuf,
    /// Control socket of the supervisor.
    #[arg(long)]
    supervisor: PathBuf,
    /// Directory of the project's programs.
    #[arg(long)]
    bin_dir: PathBuf,
    /// Directory of the control-plane programs, for the record.
    #[arg(long)]
    tools_dir: Option<PathBuf>,
    /// Run even if the machine is too small.
    #[arg(long)]
    force: bool,
    /// Show nothing but warnings, errors and the verdict.
    #[arg(long)]
    quiet: bool,
    /// Print events, progress and the verdict as JSON, one object per line; nothing else goes to stdout.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let front = match &cli.command {
        Command::Run(args) => Front::choose(args.quiet, args.json),
        _ => Front::Lines,
    };
    front.init_log();
    let code = match cli.command {
        Command::Run(args) => return output::end_with_verdict(run(&args, &front)),
        Command::Judge { run } => return output::end_with_verdict(judge(&run, &front)),
        Command::Report { run } => draw(&run),
        Command::Compare(args) => compare::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Results(args) => results::run(&args),
        Command::Plan { profile, json } => show_plan(&profile, json),
        Command::List => list(),
    };
    output::end(code)
}

fn run(args: &RunArgs, front: &Front) -> u8 {
    let Made { loaded, plan, autoscaler } = match load(&args.profile) {
        Ok(made) => made,
        Err(error) => return complain(2, error),
    };
    if !args.force
        && let Err(error) = check_memory(&plan)
    {
        return complain(3, error);
    }
    // One thread aggregates and samples, one communicates: the harness must not use up what it measures.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(3, format!("starting the runtime: {error}")),
    };
    let dir = RunDir::new(&args.run_dir);
    let outcome = runtime.block_on(async {
        let cancel = component::shutdown::token().map_err(|e| Failure::Environment(format!("{e:#}")))?;
        let tools_dir = args.tools_dir.clone().or_else(|| announced_tools(&args.run_dir)).unwrap_or_default();
        scenario::run(&Options {
            loaded: &loaded,
            plan: &plan,
            dir: &dir,
            supervisor: &args.supervisor,
            bin_dir: &args.bin_dir,
            autoscaler: autoscaler.as_ref(),
            tools_dir: &tools_dir,
            front,
            cancel,
        })
        .await
    });
    // Tasks that still wait for an answer must not delay the verdict.
    runtime.shutdown_background();
    match outcome {
        Err(Failure::Usage(message)) => complain(2, message),
        // Before the load there is nothing to judge.
        Err(Failure::Environment(message)) => complain(3, message),
        Err(Failure::LeftBehind(message)) => complain(LEFT_BEHIND, message),
        Err(failure @ (Failure::Broken(_) | Failure::GoalMissed(_))) => {
            complain(0, &failure);
            judge(dir.root(), front)
        }
        Err(Failure::Interrupted) => judge(dir.root(), front).max(130),
        Ok(()) => judge(dir.root(), front),
    }
}

fn check_memory(plan: &Plan) -> Result<(), String> {
    let available_mib = sampler::host().available_mib;
    memory::check(&plan.profile, planes(), available_mib).map_err(|error| error.to_string())
}

/// Returns where control planes are created, as passed on by xtask.
fn planes() -> Planes {
    Planes::of(&std::env::var("E2E_PROVIDER").unwrap_or_default())
}

fn announced_tools(run_dir: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(run_dir.join("supervisor.json")).ok()?;
    serde_json::from_str::<Announcement>(&text).ok().map(|a| a.tools_dir)
}

/// Judges, writes summaries and report, prints the verdict, and returns the exit code. Failures to write what is
/// already measured do not affect the verdict, and are reported after it.
fn judge(run: &Path, front: &Front) -> u8 {
    let dir = RunDir::new(run);
    let (summary, evidence) = match weigh(&dir) {
        Ok(weighed) => weighed,
        Err(code) => return code,
    };
    let text = markdown::render(&summary);
    let mut unwritten = write_summaries(&dir, &summary, &page(&dir, &summary, &evidence), &text);
    let code = evidence.exit_code(summary.verdict);
    let verdict = match front {
        Front::Json => Line::verdict(evidence.end_us, &summary, code, run).json() + "\n",
        _ => screen::render(&summary, run),
    };
    output::write(verdict.as_bytes());
    let step_summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    unwritten.extend(step_summary.and_then(|path| append(Path::new(&path), &text).err()));
    unwritten.iter().for_each(|error| eprintln!("Warning: {error}; the verdict stands"));
    for left in evidence.left_behind() {
        eprintln!("Warning: the verdict stands, but {left}");
    }
    code
}

/// Writes only the report, leaves the recorded verdict as it is, and returns the exit code.
fn draw(run: &Path) -> u8 {
    // `latest` will point elsewhere one day; the printed path should not.
    let dir = RunDir::new(run.canonicalize().unwrap_or_else(|_| run.to_owned()));
    let (summary, evidence) = match weigh(&dir) {
        Ok(weighed) => weighed,
        Err(code) => return code,
    };
    if let Err(error) = dir.write_text(&dir.report(), page(&dir, &summary, &evidence).as_bytes()) {
        return complain(3, error);
    }
    println!("{}", dir.report().display());
    0
}

/// Returns the report, with the history of the gates from runs next to this one and from the repository.
fn page(dir: &RunDir, summary: &Summary, evidence: &Evidence) -> String {
    let history = History::find(dir, summary, &harness_analysis::results::dir_of_repository());
    report::html(dir, summary, evidence, &history)
}

/// Judges what is in a run directory; returns the exit code if it cannot be judged.
fn weigh(dir: &RunDir) -> Result<(Summary, Evidence), u8> {
    match judge::load(dir) {
        Ok((expect, evidence)) => Ok((judge::weigh(&expect, &evidence), evidence)),
        Err(error @ judge::Error::NoRun(_)) => Err(complain(2, error)),
        Err(error) => Err(complain(4, error)),
    }
}

/// Writes the files of a run that people and programs read, the summary first. Returns what could not be written.
fn write_summaries(
    dir: &RunDir,
    summary: &Summary,
    report: &str,
    text: &str,
) -> Vec<harness_model::record::Error> {
    let written = [
        dir.write_json(&dir.summary(), summary),
        dir.write_text(&dir.report(), report.as_bytes()),
        dir.write_text(&dir.summary_md(), text.as_bytes()),
    ];
    written.into_iter().filter_map(Result::err).collect()
}

/// Appends to the page that GitHub shows for a job.
fn append(path: &Path, text: &str) -> Result<(), harness_model::record::Error> {
    let file = std::fs::File::options().append(true).create(true).open(path);
    let appended = file.and_then(|mut file| file.write_all(text.as_bytes()));
    appended.map_err(|e| harness_model::record::Error::io(path, e))
}

fn show_plan(args: &ProfileArgs, json: bool) -> u8 {
    match load(args) {
        Ok(Made { loaded, plan, .. }) => {
            println!("{}", if json { plan.to_json() } else { told(&loaded, &plan) });
            0
        }
        Err(error) => complain(2, error),
    }
}

/// Renders a plan for people, with the gates that it will be judged by.
fn told(loaded: &Loaded, plan: &Plan) -> String {
    let gates = gates::announcement(&Expect::of(plan, &loaded.ranges, None));
    let model = memory::of_this_machine(&plan.profile, planes(), sampler::host().available_mib);
    format!("{}{gates}", plan.render(cores(), &model))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn list() -> u8 {
    let fixtures = profile::fixtures_dir();
    for name in profile::profile_names(&fixtures) {
        match profile::load(&fixtures, &name, &[]) {
            Ok(loaded) => println!("{name:<18} {}", loaded.profile.description),
            Err(error) => println!("{name:<18} {error}"),
        }
    }
    0
}

fn load(args: &ProfileArgs) -> Result<Made, String> {
    let mut overrides = args.set.clone();
    overrides.extend(args.seed.map(|seed| format!("seed={seed}")));
    overrides.extend(args.soak.as_ref().map(|soak| format!("phases.soak={soak}")));
    let loaded =
        profile::load(&profile::fixtures_dir(), &args.profile, &overrides).map_err(|e| e.to_string())?;
    let plan = plan::derive(&loaded).map_err(|e| e.to_string())?;
    gates::check_list(&loaded.ranges.gates)
        .map_err(|why| format!("ranges.yaml next to {}: {why}", loaded.source.display()))?;
    let autoscaler = args.autoscaler.as_deref().map(Autoscaler::in_dir).transpose()?;
    Ok(Made { loaded, plan, autoscaler })
}

fn complain(code: u8, message: impl Display) -> u8 {
    eprintln!("error: {message}");
    code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
