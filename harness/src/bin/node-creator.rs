//! `node-creator`: creates the fake Node of each UpcomingNode that is Ready.

use clap::Parser;
use component::{ComponentArgs, Program};
use harness_programs::node_creator::{self, Options};

/// Creates the fake Node of each UpcomingNode that is Ready (ADR-0023), and deletes it when the UpcomingNode is gone.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: ComponentArgs,
    #[command(flatten)]
    options: Options,
}

// One thread: this program waits for the apiserver, and a second thread doubles its CPU.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let program = Program::start(&cli.common, &node_creator::BUCKETS).await?;
    let work = node_creator::run(program.client.clone(), &cli.options, || program.announce());
    program.run("node-creator", work).await
}
