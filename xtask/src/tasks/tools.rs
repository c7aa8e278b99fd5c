//! `cargo xtask tools`: makes sure of the pinned tools.

use std::path::PathBuf;

use anyhow::ensure;
use tools::{Options, Pinned, Toolset, nextest};

use crate::{cargo, exit};

/// Where tools are searched for; shared by every task that needs them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ToolArgs {
    /// Directory that holds all six programs; no other place is searched [env: E2E_TOOLS_DIR].
    #[arg(long, value_name = "DIR")]
    pub tools_dir: Option<PathBuf>,

    /// Open no socket beyond loopback, and forbid cargo and Go to do so [env: CARGO_NET_OFFLINE=true].
    #[arg(long)]
    offline: bool,
}

/// Arguments of `cargo xtask tools`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    tools: ToolArgs,

    /// Also make sure of cargo-nextest.
    #[arg(long)]
    nextest: bool,

    /// Print the whole set as JSON instead of its directory.
    #[arg(long)]
    json: bool,

    /// Write the digests that publishers serve for all release artefacts to fixtures/controlplane/releases.yaml, for
    /// review, and exit.
    #[arg(long, conflicts_with_all = ["json", "nextest", "offline", "tools_dir"])]
    pin: bool,
}

impl ToolArgs {
    /// Whether no socket beyond loopback may be opened. cargo's own variable counts, too, because it reaches the tasks
    /// that nextest's setup scripts start, and all their cargo calls.
    pub fn is_offline(&self) -> bool {
        self.offline || std::env::var_os("CARGO_NET_OFFLINE").is_some_and(|value| value == "true")
    }

    /// Returns the options for the `tools` crate.
    pub fn options(&self) -> Options {
        let mut options = Options::from_env();
        options.offline = self.is_offline();
        if let Some(dir) = &self.tools_dir {
            options.tools_dir = Some(dir.clone());
        }
        options
    }
}

/// Runs the task.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let options = args.tools.options();
    if args.pin {
        return pin(&options);
    }
    let set = Toolset::ensure(&options)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&set)?);
    } else {
        println!("{}", set.dir.display());
    }
    if args.nextest {
        println!("{}", nextest::ensure(&options)?.path.display());
    }
    Ok(0)
}

/// Pins the artefacts and prints the result. The exit code says whether all of them are pinned.
fn pin(options: &Options) -> anyhow::Result<u8> {
    ensure!(!options.offline, "--pin asks the publishers, and CARGO_NET_OFFLINE=true forbids that");
    let file = cargo::workspace_root().join("fixtures/controlplane/releases.yaml");
    let all = tools::pin(options, &file)?;
    for Pinned { tool, arch, before, now } in &all {
        let what = match (now, before) {
            (Ok(now), Some(before)) if now == before => format!("{now}, as before"),
            (Ok(now), Some(before)) => format!("{now}, before: {before}"),
            (Ok(now), None) => format!("{now}, new"),
            (Err(reason), _) => format!("left as it was: {reason}"),
        };
        println!("{tool} {arch}: {what}");
    }
    println!("compare them with what you know of the releases, then commit {}", file.display());
    Ok(if all.iter().all(|one| one.now.is_ok()) { 0 } else { exit::ENVIRONMENT })
}
