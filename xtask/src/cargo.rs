//! Where things are built, and how cargo is called from a program that cargo itself started.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use tools::{ProgressMode, run_quietly};

use crate::cargo_env::is_set_by_cargo;

/// Returns the root of the workspace.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("must have one: xtask is a member of the workspace")
}

/// Returns the directory of the workspace's programs, which is the one that this program was built into.
pub fn bin_dir() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot determine the directory of this program")?;
    // Under `cargo test`, the program is one directory deeper.
    let dir = exe.parent().context("this program has no directory")?;
    Ok(if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_owned() } else { dir.to_owned() })
}

/// Returns the root of all run directories, `target/e2e`.
pub fn runs_dir() -> anyhow::Result<PathBuf> {
    Ok(bin_dir()?.parent().context("the build directory has no parent")?.join("e2e"))
}

/// Returns a cargo command that runs in the workspace, without the variables that `cargo run` set for this program.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    clean(&mut command);
    command
}

/// Removes from a command's environment what `cargo run` added to ours, and makes the command run in the workspace.
pub fn clean(command: &mut Command) {
    forget(command);
    command.current_dir(workspace_root());
    // These were given relative to the user's directory, and would be a different place in the workspace.
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
        let given = std::env::var_os(name).filter(|dir| !dir.is_empty());
        if let Some(dir) = given.and_then(|dir| std::path::absolute(dir).ok()) {
            command.env(name, dir);
        }
    }
}

/// Removes from a command's environment what `cargo run` added to ours, because the command may call cargo.
pub fn forget(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if is_set_by_cargo(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
}

/// Forbids a command (cargo, or something that calls it) to use the network.
pub fn forbid_network(command: &mut Command) {
    command.env("CARGO_NET_OFFLINE", "true");
}

/// Builds the programs that a run consists of, in one cargo call, and returns their directory.
pub fn build_bins(offline: bool, progress: ProgressMode) -> anyhow::Result<PathBuf> {
    let mut command = build_bins_command()?;
    if offline {
        forbid_network(&mut command);
    }
    let label = "build the programs of the harness and the fleet";
    let failed = run_quietly(&mut command, label, progress).context("cannot run cargo")?;
    if let Some(output) = failed {
        bail!("the programs do not build: `cargo build -p harness -p fleet -p tools --bins`\n{output}");
    }
    bin_dir()
}

/// Builds the simulator, which no run on control planes needs, and returns its directory.
pub fn build_sim() -> anyhow::Result<PathBuf> {
    let mut command = cargo(&["build", "--package", "sim", "--bins"]);
    in_own_profile(&mut command)?;
    let failed =
        run_quietly(&mut command, "build the simulator", ProgressMode::Auto).context("cannot run cargo")?;
    if let Some(output) = failed {
        bail!("the simulator does not build: `cargo build -p sim --bins`\n{output}");
    }
    bin_dir()
}

/// Returns the command that [`build_bins`] runs.
pub fn build_bins_command() -> anyhow::Result<Command> {
    let mut command =
        cargo(&["build", "--package", "harness", "--package", "fleet", "--package", "tools", "--bins"]);
    in_own_profile(&mut command)?;
    Ok(command)
}

/// Builds with the same profile as this program. The directory of a profile has its name, except for dev.
fn in_own_profile(command: &mut Command) -> anyhow::Result<()> {
    if bin_dir()?.ends_with("release") {
        command.arg("--release");
    }
    Ok(())
}
