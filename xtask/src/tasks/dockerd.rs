//! `cargo xtask dockerd -- COMMAND`: a Docker engine for as long as a command runs.
//!
//! This is for machines without Docker, such as a container with root access. Nothing of the engine stays, and the
//! host's firewall is not changed.

use std::{
    ffi::OsString,
    io::IsTerminal,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use tools::{Options, ProgressMode, cache_root};

use crate::{
    cargo,
    engine::{self, Engine, Spec},
    exit,
    signals::Signals,
    supervisor,
};

/// Arguments of `cargo xtask dockerd`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    /// Directory in which the engine keeps images [default: `docker` in the cache directory].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Remove that directory afterwards.
    #[arg(long)]
    remove_data: bool,

    /// Install dockerd (Debian's package docker.io) if it is missing. On a system with an init system, the package also
    /// starts Debian's own daemon.
    #[arg(long)]
    install: bool,

    /// Command to run; it finds the engine through DOCKER_HOST.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the task and returns the command's exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    if !rustix::process::geteuid().is_root() {
        bail!("dockerd needs root; run this with sudo, or use an existing Docker engine (DOCKER_HOST)");
    }
    let dockerd = find_dockerd(args.install)?;
    let signals = Signals::take()?;
    let bin_dir = cargo::build_bins(false, ProgressMode::Auto)?;
    let data_root = match &args.data_root {
        Some(dir) => std::path::absolute(dir)?,
        None => cache_root(&Options::from_env())?.join("docker"),
    };
    let spec = Spec { dockerd: &dockerd, bin_dir: &bin_dir, data_root: &data_root };
    let engine = match Engine::start(&spec, |pid| signals.pass_to(pid)) {
        Err(_) if signals.interrupted() => return Ok(exit::INTERRUPTED),
        result => result?,
    };
    let outcome = command(&args.command, &engine.host(), &bin_dir, &signals);
    signals.pass_to(engine.pid());
    // Whatever happened to the command, the engine stops now.
    let stopped = engine.stop();
    if args.remove_data {
        std::fs::remove_dir_all(&data_root)
            .with_context(|| format!("cannot remove {}", data_root.display()))?;
    }
    let code = outcome?;
    stopped?;
    Ok(if signals.interrupted() { exit::INTERRUPTED } else { code })
}

/// Runs the command from the main thread, with our stdin and output.
fn command(args: &[OsString], host: &str, bin_dir: &Path, signals: &Signals) -> anyhow::Result<u8> {
    let (program, rest) = args.split_first().context("no command is given")?;
    let mut command = supervisor::shim(bin_dir, std::process::id(), Path::new(program));
    // This is often `cargo xtask e2e`, which must not rebuild everything because cargo ran this program, too.
    cargo::forget(&mut command);
    command.args(rest).env("DOCKER_HOST", host);
    for name in ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
        command.env_remove(name);
    }
    // At a terminal, the command may want to read what is typed, which a separate process group would prevent.
    let shares_terminal = std::io::stdin().is_terminal();
    if !shares_terminal {
        command.process_group(0);
    }
    let mut child = command.spawn().context("cannot start e2e-shim")?;
    if shares_terminal {
        signals.pass_to_neighbour(child.id());
    } else {
        signals.pass_to(child.id());
    }
    Ok(exit::of(child.wait().context("cannot wait for the command")?))
}

fn find_dockerd(install: bool) -> anyhow::Result<PathBuf> {
    const REMEDY: &str = "`apt-get install docker.io`, or give --install";
    if let Some(found) = engine::find_program("dockerd") {
        return Ok(found);
    }
    if !install {
        bail!("there is no dockerd: {REMEDY}");
    }
    let status = Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends", "docker.io"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        // stdout belongs to the command.
        .stdout(std::io::stderr())
        .status()
        .context("cannot start apt-get: dockerd can be installed on Debian and Ubuntu only")?;
    if !status.success() {
        bail!("`apt-get install docker.io` failed; if it knows no such package, `apt-get update` first");
    }
    engine::find_program("dockerd").context("docker.io is installed, but there is no dockerd on PATH")
}
