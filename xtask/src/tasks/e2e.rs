//! `cargo xtask e2e`: one run of a profile, from start to verdict.

use std::{
    io::IsTerminal,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use tools::ProgressMode;

use crate::{
    cargo, exit, host, run_dir,
    signals::Signals,
    supervisor::{self, Owner, Spec},
    tasks::{
        forward::{self, Forwarded},
        provider::ProviderArgs,
        tools::ToolArgs,
    },
};

/// Arguments of `cargo xtask e2e`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    /// Name of a profile in fixtures/profiles, or path of a profile file.
    #[arg(default_value = "dev-50")]
    profile: String,

    #[command(flatten)]
    overrides: Overrides,

    /// Run even if the machine is too small for the profile.
    #[arg(long)]
    force: bool,

    /// Leave the control planes running until `cargo xtask down`.
    #[arg(long)]
    keep: bool,

    /// List the profiles and exit.
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    log: LogArgs,

    /// Directory in which run directories are created [default: target/e2e].
    #[arg(long, value_name = "DIR")]
    run_dir_root: Option<PathBuf>,

    #[command(flatten)]
    provider: ProviderArgs,

    #[command(flatten)]
    tools: ToolArgs,
}

/// What is shown of a run while it is in progress.
#[derive(Debug, Default, Clone, Copy, clap::Args)]
pub struct OutputArgs {
    /// Show nothing but warnings, errors and the verdict.
    #[arg(long)]
    quiet: bool,

    /// Print events, progress and the verdict as JSON, one object per line, and nothing else on stdout.
    #[arg(long, conflicts_with = "list")]
    json: bool,
}

/// How much the programs of a run log.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct LogArgs {
    /// Log level of all programs of the run, e.g. debug. The shell's RUST_LOG does not reach them, because it would
    /// distort the measurement [default: info] [env: E2E_LOG].
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

/// What a run changes in its profile. All of it is recorded in the run directory.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct Overrides {
    /// Length of the soak, e.g. 120s or 30m.
    #[arg(long, value_name = "DURATION")]
    pub soak: Option<String>,

    /// Seed of everything that is random.
    #[arg(long)]
    pub seed: Option<u64>,

    /// Override a value of the profile; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<String>,

    /// Directory with another autoscaler's programs `shard`, `operator` and `unschedulable-pod-controller`, to use
    /// instead of the reference (docs/bring-your-own.md).
    #[arg(long, value_name = "DIR")]
    pub autoscaler: Option<PathBuf>,
}

/// One start of `e2e-scenario run`.
pub struct Scenario<'a> {
    /// The profile's name or file.
    pub profile: &'a str,
    /// What the run changes in it.
    pub overrides: &'a Overrides,
    /// The supervisor's run id, for `E2E_RUN_ID`.
    pub run_id: &'a str,
    /// The directory for the results.
    pub run_dir: &'a Path,
    /// The supervisor's socket.
    pub socket: &'a Path,
    /// The directory of the workspace's programs.
    pub bin_dir: &'a Path,
    /// The directory of the control-plane programs.
    pub tools_dir: &'a Path,
    /// Whether to run even if the machine is too small.
    pub force: bool,
    /// What is shown of it.
    pub output: OutputArgs,
    /// Its log level, if one was requested.
    pub log: Option<&'a str>,
}

/// Runs the task and returns the exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    if args.list {
        return forward::to_scenario("list", &Forwarded::default());
    }
    if let Some(known) = run_dir::profiles_unless_known(&args.profile)? {
        eprintln!("Error: no profile `{}`; known: {}; or give a file", args.profile, known.join(", "));
        return Ok(exit::USAGE);
    }
    let signals = Signals::take()?;
    let bin_dir = cargo::build_bins(args.tools.is_offline(), args.output.progress())?;
    if let Some(code) = args.overrides.refused(&args.profile, &bin_dir)? {
        return Ok(code);
    }
    if let Err(error) = enough_clusters(args, &bin_dir) {
        eprintln!("Error: {error:#}");
        return Ok(exit::USAGE);
    }
    let options = tools::Options { progress: args.output.progress(), ..args.tools.options() };
    let set = args.provider.ensure_tools(&options)?;
    let provider = args.provider.ensure(&options, &set)?;
    host::refuse_if_lacking(&cargo::runs_dir()?)?;
    let root = match &args.run_dir_root {
        Some(root) => std::path::absolute(root)?,
        None => cargo::runs_dir()?,
    };
    let run_id = run_dir::new_id(&args.profile);
    let dir = run_dir::create(&root, &run_id)?;

    let owner = if args.keep { Owner::Nobody } else { Owner::Us };
    let spec = Spec {
        run_id: &run_id,
        run_dir: &dir,
        bin_dir: &bin_dir,
        tools_dir: &set.dir,
        owner,
        provider: &provider,
        log: args.log.log.as_deref(),
    };
    let supervisor = match supervisor::start(&spec, |pid| signals.pass_to(pid)) {
        Err(_) if signals.interrupted() => return Ok(exit::INTERRUPTED),
        result => result?,
    };
    let scenario = Scenario {
        profile: &args.profile,
        overrides: &args.overrides,
        run_id: &run_id,
        run_dir: &dir,
        socket: &supervisor.socket,
        bin_dir: &bin_dir,
        tools_dir: &set.dir,
        force: args.force,
        output: args.output,
        log: args.log.log.as_deref(),
    };
    let outcome = scenario.run(&signals);
    signals.pass_to(supervisor.pid());
    if args.keep && !args.output.is_quiet() {
        eprintln!("the control planes keep running: see `cargo xtask status`; `cargo xtask down` stops them");
    } else if !args.keep
        && let Err(error) = supervisor.stop()
    {
        eprintln!("Warning: {error:#}");
    }
    match outcome {
        Ok(_) | Err(_) if signals.interrupted() => {
            if !args.output.is_quiet() {
                eprintln!("interrupted; what was recorded is in {}", dir.display());
            }
            Ok(exit::INTERRUPTED)
        }
        Ok(code) => Ok(code),
        Err(error) => Err(error.context(format!("the run is recorded in {}", dir.display()))),
    }
}

/// Fails unless one existing cluster is given for each cluster that the profile asks for.
fn enough_clusters(args: &Args, bin_dir: &Path) -> anyhow::Result<()> {
    let Some(given) = args.provider.kubeconfigs()? else { return Ok(()) };
    let wanted = args.overrides.clusters(&args.profile, bin_dir)?;
    if given.len() != wanted {
        let (profile, given) = (&args.profile, given.len());
        bail!(
            "clusters wanted by {profile}: {wanted}; given with --kubeconfig: {given}; give one for each, or \
             --set clusters={given}"
        );
    }
    Ok(())
}

impl OutputArgs {
    /// Whether users should see only what goes wrong.
    fn is_quiet(self) -> bool {
        self.quiet || self.json
    }

    /// Whether the scenario draws a dashboard. `harness::view::Front` decides in the same way.
    fn has_dashboard(self) -> bool {
        !self.is_quiet()
            && std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
    }

    fn progress(self) -> ProgressMode {
        if self.is_quiet() { ProgressMode::Hidden } else { ProgressMode::Auto }
    }

    fn add_to(self, command: &mut Command) {
        for (flag, is_set) in [("--quiet", self.quiet), ("--json", self.json)] {
            if is_set {
                command.arg(flag);
            }
        }
    }
}

impl Overrides {
    fn add_to(&self, command: &mut Command) {
        if let Some(soak) = &self.soak {
            command.args(["--soak", soak]);
        }
        if let Some(seed) = self.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        for key_value in &self.set {
            command.args(["--set", key_value]);
        }
        if let Some(dir) = &self.autoscaler {
            command.arg("--autoscaler").arg(dir);
        }
    }

    /// Returns how many clusters the profile asks for.
    fn clusters(&self, profile: &str, bin_dir: &Path) -> anyhow::Result<usize> {
        let mut command = Command::new(bin_dir.join("e2e-scenario"));
        command.args(["plan", "--json", "--profile", profile]);
        self.add_to(&mut command);
        let output = command.stdin(Stdio::null()).output().context("cannot start e2e-scenario")?;
        let plan: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("the planner did not print JSON")?;
        Ok(plan["clusters"].as_array().context("the plan names no clusters")?.len())
    }

    /// Returns the exit code if the profile cannot be run as requested. The planner prints the reason on stderr, before
    /// minutes are spent on tools and before a run directory exists.
    pub fn refused(&self, profile: &str, bin_dir: &Path) -> anyhow::Result<Option<u8>> {
        let mut command = Command::new(bin_dir.join("e2e-scenario"));
        command.args(["plan", "--profile", profile]);
        self.add_to(&mut command);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
        let status = status.context("cannot start e2e-scenario")?;
        Ok((!status.success()).then(|| exit::of(status)))
    }
}

impl Scenario<'_> {
    /// Runs it with our stdin and output, from the main thread, and returns its exit code.
    pub fn run(&self, signals: &Signals) -> anyhow::Result<u8> {
        let program = self.bin_dir.join("e2e-scenario");
        let mut command = supervisor::shim(self.bin_dir, std::process::id(), Path::new("/bin/sh"));
        // Outside the terminal's foreground process group, it would be stopped when it writes there after
        // `stty tostop`.
        command.args(["-c", r#"trap "" TTOU; exec "$@""#, "sh"]).arg(&program);
        command.args(["run", "--profile", self.profile]);
        self.overrides.add_to(&mut command);
        command.arg("--run-dir").arg(self.run_dir).arg("--supervisor").arg(self.socket);
        command.arg("--bin-dir").arg(self.bin_dir).arg("--tools-dir").arg(self.tools_dir);
        if self.force {
            command.arg("--force");
        }
        self.output.add_to(&mut command);
        command.env("E2E_RUN_ID", self.run_id).env_remove("KUBECONFIG").stdin(Stdio::null());
        command.envs(self.log.map(|level| (supervisor::LOG_VARIABLE, level)));
        // In its own process group, so that a Ctrl-C at the terminal reaches only us, and we pass it on exactly once.
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        signals.child_tells(self.output.has_dashboard());
        signals.pass_to(child.id());
        let status = child.wait().context("cannot wait for the scenario");
        signals.child_tells(false);
        let status = status?;
        match status.code() {
            Some(_) => Ok(exit::of(status)),
            None => bail!("the scenario was killed ({status}); see {}/logs", self.run_dir.display()),
        }
    }
}

/// A setting that dev-50 accepts, shown when a setting is malformed.
const EXAMPLE: &str = "churnPerMinute=0.02";

fn key_value(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("expected KEY=VALUE, e.g. {EXAMPLE}")),
    }
}
