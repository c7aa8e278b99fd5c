//! Tasks that belong to another program, which is built and then replaces this process.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, anyhow};
use tools::{ProgressMode, ensure_programs};

use crate::{
    cargo, exit,
    tasks::{provider::ProviderArgs, tools::ToolArgs},
};

/// Arguments that another program interprets; `--help` shows that program's help.
#[derive(Debug, Default, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Forwarded {
    /// Passed on to the program; `--help` explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

#[cfg(test)]
impl Forwarded {
    /// Returns the arguments that will be passed on.
    pub fn words(&self) -> Vec<String> {
        self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }
}

/// Runs `e2e-scenario <verb> …`.
pub fn to_scenario(verb: &str, args: &Forwarded) -> anyhow::Result<u8> {
    let dir = cargo::build_bins(false, ProgressMode::Auto)?;
    let mut command = Command::new(dir.join("e2e-scenario"));
    command.arg(verb);
    // `cargo xtask plan dev-50` reads better than the flag that the program expects.
    if verb == "plan" && args.args.first().is_some_and(|arg| !is_flag(arg)) {
        command.arg("--profile");
    }
    exec(command.args(&args.args))
}

/// Runs `e2e-scenario report …`; if no run directory is given, for the last run.
pub fn to_report(args: &Forwarded) -> anyhow::Result<u8> {
    if args.args.is_empty() {
        let latest = cargo::runs_dir()?.join("latest").into_os_string();
        return to_scenario("report", &Forwarded { args: vec![latest] });
    }
    to_scenario("report", args)
}

/// Runs `e2e-supervisor <verb> …`, after making sure of the tools where they are needed.
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
        // The other verbs find the runs of this checkout wherever they are. `up` and `e2e` create them there by
        // default.
        _ => _ = command.arg("--near").arg(cargo::runs_dir()?),
    }
    // `kubectl get nodes`: the program expects a separator before kubectl's own arguments.
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

/// Runs `e2e-sim …`.
pub fn to_sim(args: &Forwarded) -> anyhow::Result<u8> {
    let dir = cargo::build_sim()?;
    exec(Command::new(dir.join("e2e-sim")).args(&args.args))
}

/// Runs `e2e-codegen …`. It is always rebuilt, because it writes what is compiled into it.
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
