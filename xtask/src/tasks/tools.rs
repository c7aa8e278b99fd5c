//! `cargo xtask tools`: makes sure of the pinned tools.

use std::path::PathBuf;

use anyhow::ensure;
use tools::{Options, Pinned, Toolset, nextest};

use crate::{cargo, exit};

/// Where tools are looked for; shared by every task that needs them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ToolArgs {
    /// A directory that holds all six programs; nothing else is looked at [env: E2E_TOOLS_DIR].
    #[arg(long, value_name = "DIR")]
    pub tools_dir: Option<PathBuf>,

    /// Open no socket beyond loopback, nor let cargo or Go [env: CARGO_NET_OFFLINE=true].
    #[arg(long)]
    offline: bool,
}

/// Arguments of `cargo xtask tools`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    tools: ToolArgs,

    /// Make sure of cargo-nextest, too.
    #[arg(long)]
    nextest: bool,

    /// Print the whole set as JSON instead of its directory.
    #[arg(long)]
    json: bool,

    /// Write the digests that publishers serve of all release artefacts into fixtures/controlplane/releases.yaml, for
    /// review, and end.
    #[arg(long, conflicts_with_all = ["json", "nextest", "offline", "tools_dir"])]
    pin: bool,
}

impl ToolArgs {
    /// Whether no socket beyond loopback may be opened. cargo's own variable counts, too: it reaches the tasks that
    /// nextest's setup scripts start, and the cargo calls of them all.
    pub fn is_offline(&self) -> bool {
        self.offline || std::env::var_os("CARGO_NET_OFFLINE").is_some_and(|value| value == "true")
    }

    /// The options for the `tools` crate.
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

/// Says what is pinned now; the exit code says whether all artefacts are.
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
