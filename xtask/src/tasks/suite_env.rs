//! `cargo xtask suite-env`: the environment of the suites, created by nextest's setup scripts.
//!
//! A script's parent is nextest itself. The supervisor started here outlives the script and ends with nextest.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, bail};
use rustix::{
    event::{PollFd, PollFlags},
    process::{Pid, PidfdFlags},
};
use tools::{ProgressMode, Toolset};

use crate::{
    cargo, exit, host, run_dir,
    signals::Signals,
    supervisor::{self, Owner, Spec, Supervisor},
    tasks::{
        e2e::{OutputArgs, Overrides, Scenario},
        provider::{Environment, ProviderArgs},
        tools::ToolArgs,
    },
};

/// Arguments of `cargo xtask suite-env`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run this profile's scenario and export its run directory. Without it, only a supervisor is started.
    #[arg(long, value_name = "PROFILE")]
    scenario: Option<String>,

    #[command(flatten)]
    overrides: Overrides,

    #[command(flatten)]
    provider: ProviderArgs,

    #[command(flatten)]
    tools: ToolArgs,
}

/// What nextest passes to a setup script.
struct Nextest {
    pid: u32,
    run_id: String,
    env_file: PathBuf,
}

/// Runs the task.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let nextest = Nextest::from_env()?;
    end_with(nextest.pid)?;
    let signals = Signals::take()?;
    let options = args.tools.options();
    let set = Toolset::ensure(&options)?;
    let provider = args.provider.ensure(&options, &set)?;
    let bin_dir = cargo::build_bins(args.tools.is_offline(), ProgressMode::Auto)?;
    let runs = cargo::runs_dir()?;
    host::refuse_if_lacking(&runs)?;
    let Some(profile) = &args.scenario else {
        let run_id = format!("suites-{}", nextest.run_id);
        let dir = run_dir::create(&runs, &run_id)?;
        let supervisor = start(&nextest, &run_id, &dir, &bin_dir, &set, &provider)?;
        let ours: [(&str, &Path); 4] = [
            ("E2E_SUPERVISOR", &supervisor.socket),
            ("E2E_BIN_DIR", &bin_dir),
            ("E2E_TOOLS_DIR", &set.dir),
            ("E2E_RUN_ID", Path::new(&run_id)),
        ];
        return nextest.export(&ours.into_iter().chain(provider.variables()).collect::<Vec<_>>());
    };
    let run_id = run_dir::new_id(profile);
    let dir = run_dir::create(&runs, &run_id)?;
    // A separate supervisor, so that everything that it started ends with the scenario.
    let supervisor = start(&nextest, &run_id, &dir, &bin_dir, &set, &provider)?;
    let scenario = Scenario {
        profile,
        overrides: &args.overrides,
        run_id: &run_id,
        run_dir: &dir,
        socket: &supervisor.socket,
        bin_dir: &bin_dir,
        tools_dir: &set.dir,
        force: false,
        output: OutputArgs::default(),
        log: None,
    };
    let code = scenario.run(&signals);
    if let Err(error) = supervisor.stop() {
        eprintln!("Warning: {error:#}");
    }
    match code? {
        // A failed gate or an invalid run is left to the claims: they name what is wrong.
        0 | exit::FAILED | exit::INVALID => nextest.export(&[(&run_variable(profile), &dir)]),
        code => {
            eprintln!(
                "Error: the scenario {profile} could not be run (exit code {code}); see {}",
                dir.display()
            );
            Ok(code)
        }
    }
}

fn start(
    nextest: &Nextest,
    run_id: &str,
    run_dir: &Path,
    bin_dir: &Path,
    set: &Toolset,
    provider: &Environment,
) -> anyhow::Result<Supervisor> {
    let owner = Owner::Other(nextest.pid);
    // E2E_LOG is inherited from nextest's environment.
    let log = None;
    supervisor::start(&Spec { run_id, run_dir, bin_dir, tools_dir: &set.dir, owner, provider, log }, |_| ())
}

/// Returns the variable that holds a profile's run directory: `E2E_RUN_DEV_50` for `dev-50`.
fn run_variable(profile: &str) -> String {
    format!("E2E_RUN_{}", profile.to_ascii_uppercase().replace('-', "_"))
}

impl Nextest {
    fn from_env() -> anyhow::Result<Nextest> {
        let var = |name: &str| {
            std::env::var(name).with_context(|| {
                format!(
                    "{name} is not set: suite-env is called by nextest; use `cargo nextest run -p suites`"
                )
            })
        };
        let parent = rustix::process::getppid().context("the parent process has ended")?;
        Ok(Nextest {
            pid: parent.as_raw_pid().unsigned_abs(),
            run_id: var("NEXTEST_RUN_ID")?,
            env_file: var("NEXTEST_ENV")?.into(),
        })
    }

    /// Passes variables to the tests.
    fn export(&self, variables: &[(&str, &Path)]) -> anyhow::Result<u8> {
        let what = || format!("cannot write {}", self.env_file.display());
        let mut file =
            OpenOptions::new().append(true).create(true).open(&self.env_file).with_context(what)?;
        for (name, value) in variables {
            let Some(value) = value.to_str().filter(|value| !value.contains('\n')) else {
                bail!("{name}={} cannot be passed to the tests", value.display());
            };
            writeln!(file, "{name}={value}").with_context(what)?;
        }
        Ok(0)
    }
}

/// Ends this process as soon as `pid` ends, because a killed nextest cannot notify its scripts.
fn end_with(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("the parent process has no id")?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).context("cannot watch nextest")?;
    thread::spawn(move || {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        while rustix::event::poll(&mut fds, None).is_err() {}
        // Children were started so that they die with us.
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_appended_one_per_line() {
        let dir = tempfile::tempdir().unwrap();
        let nextest = Nextest { pid: 1, run_id: "id".to_owned(), env_file: dir.path().join("env") };
        nextest.export(&[("A", Path::new("/x"))]).unwrap();
        nextest.export(&[(&run_variable("dev-50"), Path::new("/y"))]).unwrap();
        assert_eq!(std::fs::read_to_string(&nextest.env_file).unwrap(), "A=/x\nE2E_RUN_DEV_50=/y\n");
        assert!(nextest.export(&[("A", Path::new("x\ny"))]).is_err());
    }
}
