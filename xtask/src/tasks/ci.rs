//! `cargo xtask ci`: every check and test, in the order of what fails soonest.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use tools::{ProgressMode, nextest, run_quietly};

use crate::{cargo, exit, tasks::tools::ToolArgs};

/// Arguments of `cargo xtask ci`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    /// Only the steps whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Start a Docker engine for the suites on kind clusters where none runs: as root; installs docker.io if need be.
    #[arg(long)]
    dockerd: bool,

    #[command(flatten)]
    tools: ToolArgs,
}

/// One step.
struct Step {
    name: String,
    command: Command,
    /// Its output is what people want to see: it is not held back.
    shown: bool,
}

/// Runs the task; stops at the first step that fails.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let options = args.tools.options();
    let mut steps = checks()?;
    let runner = nextest::ensure(&options)?;
    let on_kind = kind::step(&runner, args.dockerd);
    let not_run = on_kind.as_ref().err().cloned();
    steps.extend(tests(&runner, on_kind.ok()));
    steps.retain(|step| args.only.as_ref().is_none_or(|text| step.name.contains(text)));
    if args.tools.is_offline() {
        steps.iter_mut().for_each(|step| cargo::forbid_network(&mut step.command));
    }
    let count = steps.len();
    // Said before everything else, too: what is not run must not be taken for passed.
    let say_what_is_not_run = || {
        if let Some(reason) = &not_run {
            println!("NOT RUN, and not among the {count}: {}: {reason}", kind::NAME);
        }
    };
    say_what_is_not_run();
    for (idx, step) in steps.into_iter().enumerate() {
        let shown = step.shown;
        let repeat = repeat(&step.command);
        println!("[{}/{count}] {}: {repeat}", idx + 1, step.name);
        let started = Instant::now();
        if idx + 1 == count {
            say_what_is_not_run();
        }
        let name = step.name.clone();
        if let Some(output) = step.run()? {
            println!("{output}");
            println!("FAILED {name} after {}; to repeat it: {repeat}", seconds(started.elapsed()));
            return Ok(exit::FAILED);
        }
        // The last thing to be read is nextest's own summary.
        if !(shown && idx + 1 == count) {
            println!("[{}/{count}] {name}: ok ({})", idx + 1, seconds(started.elapsed()));
        }
    }
    Ok(0)
}

impl Step {
    fn quiet(name: impl Into<String>, command: Command) -> Step {
        Step { name: name.into(), command, shown: false }
    }

    fn shown(name: impl Into<String>, command: Command) -> Step {
        Step { name: name.into(), command, shown: true }
    }

    /// `None` when it passed, else what it wrote (as far as it was held back).
    fn run(mut self) -> anyhow::Result<Option<String>> {
        if self.shown {
            let what = format!("cannot start `{}`", repeat(&self.command));
            let status = self.command.stdin(Stdio::null()).status().context(what)?;
            return Ok((!status.success()).then(|| format!("{status}")));
        }
        run_quietly(&mut self.command, &self.name, ProgressMode::Auto)
            .with_context(|| format!("cannot run the step {}", self.name))
    }
}

fn checks() -> anyhow::Result<Vec<Step>> {
    let mut doc = cargo::cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let mut steps = vec![
        Step::quiet("format", cargo::cargo(&["fmt", "--all", "--check"])),
        Step::quiet("clippy", cargo::cargo(&clippy)),
        // The very call that a run makes: packages chosen otherwise have other features, and are built anew.
        Step::quiet("programs", cargo::build_bins_command()?),
        Step::quiet("generated files", built("e2e-codegen", &["--check"])?),
        Step::quiet("results book", built("e2e-scenario", &["results", "--check"])?),
        Step::quiet("docs", doc),
    ];
    for member in members()? {
        // Features that another crate happens to switch on hide a missing dependency.
        steps.push(Step::quiet(
            format!("{member} alone"),
            cargo::cargo(&["check", "--package", &member, "--all-targets"]),
        ));
    }
    Ok(steps)
}

/// One of the programs that were just built, as `cargo xtask codegen` and `cargo xtask results` call them.
fn built(program: &str, args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(cargo::bin_dir()?.join(program));
    command.args(args);
    cargo::clean(&mut command);
    Ok(command)
}

/// Three parts of one set of tests: chosen by filter and not by package, they are built once.
fn tests(runner: &nextest::Nextest, on_kind: Option<Step>) -> Vec<Step> {
    let nextest = |filter: &str| {
        let mut command = Command::new(&runner.path);
        command.args(nextest_args(filter));
        for_tests(&mut command, runner);
        command
    };
    let whole_runs = "package(xtask) & binary(/^(nothing_left|runs)$/)";
    let mut steps = vec![
        Step::shown("unit tests", nextest(&format!("not package(suites) - ({whole_runs})"))),
        // Lists the claims of the suites, which the unit tests' step has built.
        Step::quiet("mutants apply", cargo::cargo(&["xtask", "mutants", "--check"])),
        // What the profile `ci` leaves out is said, lest it be taken for passed; the reasons are in .config/nextest.toml.
        Step::shown("suites but dev_500", nextest("package(suites)")),
    ];
    steps.extend(on_kind);
    steps.push(Step::shown("whole runs", nextest(whole_runs)));
    steps
}

fn nextest_args(filter: &str) -> [&str; 7] {
    ["nextest", "run", "--workspace", "--profile", "ci", "--filterset", filter]
}

fn for_tests(command: &mut Command, runner: &nextest::Nextest) {
    cargo::clean(command);
    // A backtrace tells nothing here and makes a panicking trial six times slower.
    command.env("RUST_BACKTRACE", "0").env("E2E_NEXTEST", &runner.path);
}

/// The step on kind clusters, where there is an engine for it.
mod kind {
    use std::process::Command;

    use tools::{docker::Docker, nextest};

    use super::{Step, for_tests, nextest_args};
    use crate::{cargo, engine};

    /// Name of the step.
    pub const NAME: &str = "suites on kind clusters";
    /// The same claims and snapshots as without kind, those about kind itself and a cluster made by hand, and those about
    /// what whole runs leave.
    const FILTER: &str = "(package(suites) \
                          & binary(/^(kind_clusters|existing_clusters|node_creator_parity|density_100|dev_50)$/)) \
                          + (package(xtask) & binary(/^(nothing_left|runs)$/))";

    /// The step, on request with an engine of its own where none runs; or why it is not run here.
    pub fn step(runner: &nextest::Nextest, may_start: bool) -> Result<Step, String> {
        let mut command = match Docker::find() {
            Ok(_) => Command::new(&runner.path),
            Err(error) if !may_start => {
                return Err(format!("{error} (or give --dockerd: then one is started, as root)"));
            }
            Err(error) => {
                if !rustix::process::geteuid().is_root() {
                    return Err(format!("{error} (as root, one would be started)"));
                }
                if engine::find_program("dockerd").is_none() && engine::find_program("apt-get").is_none() {
                    return Err(format!("{error} (there is neither dockerd nor apt-get to install it)"));
                }
                let mut command = cargo::cargo(&["xtask", "dockerd", "--install", "--"]);
                command.arg(&runner.path);
                command
            }
        };
        command.args(nextest_args(FILTER));
        for_tests(&mut command, runner);
        command.env("E2E_PROVIDER", "kind");
        Ok(Step::shown(NAME, command))
    }
}

/// The workspace's packages, by the workspace's own list.
fn members() -> anyhow::Result<Vec<String>> {
    let output = cargo::cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run `cargo metadata`")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` gave no JSON")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` names no packages")?;
    Ok(packages.iter().filter_map(|package| package["name"].as_str()).map(str::to_owned).collect())
}

/// The command as one would type it.
fn repeat(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default();
    // `cargo-nextest nextest run` is `cargo nextest run` for whoever has it on PATH.
    let mut words = vec![if name == "cargo-nextest" { program.to_string() } else { name.to_owned() }];
    let flags = command.get_envs().find(|(name, _)| *name == "RUSTDOCFLAGS").and_then(|(_, value)| value);
    if let Some(flags) = flags {
        words.insert(0, format!("RUSTDOCFLAGS='{}'", flags.to_string_lossy()));
    }
    words.extend(command.get_args().map(|arg| {
        let arg = arg.to_string_lossy();
        if arg.contains([' ', '(']) { format!("'{arg}'") } else { arg.into_owned() }
    }));
    words.join(" ")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests_of_ci {
    use super::*;

    #[test]
    fn the_command_to_repeat_a_step_is_what_one_types() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").env("OTHER", "x");
        assert_eq!(repeat(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_failing_step_gives_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 1"]);
        assert_eq!(Step::quiet("x", command).run().unwrap().as_deref(), Some("why"));
        assert_eq!(Step::quiet("x", Command::new("true")).run().unwrap(), None);
    }

    #[test]
    fn every_member_is_checked_alone() {
        let members = members().unwrap();
        for name in
            ["api", "component", "stub-autoscaler", "fleet", "harness", "sim", "suites", "tools", "xtask"]
        {
            assert!(members.iter().any(|member| member == name), "{name} is not in {members:?}");
        }
    }
}
