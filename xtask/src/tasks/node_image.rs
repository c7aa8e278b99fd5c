//! `cargo xtask node-image`: makes sure of the image of a kind node.

use std::path::PathBuf;

use tools::{Toolset, docker::Docker, node_image};

use crate::{exit, tasks::tools::ToolArgs};

/// Arguments of `cargo xtask node-image`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    #[command(flatten)]
    tools: ToolArgs,

    /// Load the image from this file, which --to-archive wrote, instead of building it.
    #[arg(long, value_name = "FILE")]
    from_archive: Option<PathBuf>,

    /// Write the image to this file without loading it; needs no Docker.
    #[arg(long, value_name = "FILE", conflicts_with = "from_archive")]
    to_archive: Option<PathBuf>,
}

/// Runs the task.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let options = args.tools.options();
    if let Some(file) = &args.to_archive {
        let set = Toolset::ensure(&options)?;
        println!("{}", node_image::to_archive(&options, &set, file)?);
        return Ok(0);
    }
    // Checked first: without an engine, minutes of building would be wasted.
    let docker = Docker::find()?;
    let set = Toolset::ensure(&options)?;
    let image = match &args.from_archive {
        Some(file) => node_image::from_archive(&options, &set, &docker, file)?,
        None => node_image::ensure(&options, &set, &docker)?,
    };
    println!("{}", image.reference);
    Ok(0)
}
