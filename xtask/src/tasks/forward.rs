//! Tasks that are another program's: built, then replaced by it.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, anyhow};
use tools::{ProgressMode, ensure_programs};

use crate::{
    cargo, exit,
    tasks::{provider::ProviderArgs, tools::ToolArgs},
};

/// Arguments that are not ours to understand; `--help` shows the other program's help.
#[derive(Debug, Default, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Forwarded {
    /// Passed on; `--help` explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

#[cfg(test)]
impl Forwarded {
    /// What will be passed on.
    pub fn words(&self) -> Vec<String> {
        self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }
}

/// `e2e-scenario <verb> …`.
pub fn to_scenario(verb: &str, args: &Forwarded) -> anyhow::Result<u8> {
    let dir = cargo::build_bins(false, ProgressMode::Auto)?;
    let mut command = Command::new(dir.join("e2e-scenario"));
    command.arg(verb);
    // `cargo xtask plan dev-50` reads better than what the program wants.
    if verb == "plan" && args.args.first().is_some_and(|arg| !is_flag(arg)) {
        command.arg("--profile");
    }
    exec(command.args(&args.args))
}

/// `e2e-scenario report …`; without a run directory that of the last run.
pub fn to_report(args: &Forwarded) -> anyhow::Result<u8> {
    if args.args.is_empty() {
        let latest = cargo::runs_dir()?.join("latest").into_os_string();
        return to_scenario("report", &Forwarded { args: vec![latest] });
    }
    to_scenario("report", args)
}

/// `e2e-supervisor <verb> …`, with the tools at hand.
pub fn to_supervisor(verb: &str, args: &Forwarded) -> anyhow::Result<u8> {
    let help = args.args.iter().any(|arg| arg == "--help" || arg == "-h");
    let dir = cargo::build_bins(false, ProgressMode::Auto)?;
    let mut command = Command::new(dir.join("e2e-supervisor"));
    command.arg(verb);
    let given = |name: &str| args.args.iter().any(|arg| arg.to_string_lossy().starts_with(name));
    match verb {
        "adopt" => {}
        "up" if given("--state-dir") => {}
        "up" => _ = command.arg("--state-dir").arg(cargo::runs_dir()?),
        // The others find the runs of this checkout wherever they are; `up` and `e2e` put them there unless told.
        _ => _ = command.arg("--near").arg(cargo::runs_dir()?),
    }
    // `kubectl get nodes`: the program wants a separator before what is kubectl's.
    if verb == "kubectl" && args.args.first().is_some_and(|arg| !is_flag(arg)) {
        command.arg("--");
    }
    if ["up", "kubectl"].contains(&verb) && !help {
        let options = ToolArgs::default().options();
        let set = if verb == "up" {
            let provider = ProviderArgs::among(&args.args)?;
            if let Err(error) = provider.kubeconfigs() {
                eprintln!("Error: {error:#}");
                return Ok(exit::USAGE);
            }
            let set = provider.ensure_tools(&options)?;
            provider.ensure(&options, &set)?.give(&mut command);
            set
        } else {
            ensure_programs(&options, &["kubectl"])?
        };
        command.env("E2E_TOOLS_DIR", set.dir);
    }
    exec(command.args(&args.args))
}

/// `e2e-sim …`.
pub fn to_sim(args: &Forwarded) -> anyhow::Result<u8> {
    let dir = cargo::build_sim()?;
    exec(Command::new(dir.join("e2e-sim")).args(&args.args))
}

/// `e2e-codegen …`. Always built anew, because it writes what is compiled into it.
pub fn to_codegen(args: &Forwarded) -> anyhow::Result<u8> {
    let mut command = cargo::cargo(&["run", "--quiet", "--package", "harness", "--bin", "e2e-codegen", "--"]);
    exec(command.args(&args.args))
}

fn is_flag(arg: &OsString) -> bool {
    arg.to_string_lossy().starts_with('-')
}

fn exec(command: &mut Command) -> anyhow::Result<u8> {
    command.env_remove("KUBECONFIG");
    let error = command.exec();
    Err(anyhow!(error)).with_context(|| format!("cannot start {}", command.get_program().display()))
}
