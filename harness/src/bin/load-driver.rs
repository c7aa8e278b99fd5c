//! `load-driver`: creates the workloads of one cluster and keeps them moving.

use clap::Parser;
use component::{ComponentArgs, Program};
use harness_programs::load_driver::{self, Options};

/// Creates the workloads of one cluster (ADR-0038), and keeps them moving when asked to.
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
    let program = Program::start(&cli.common, &[]).await?;
    let work = load_driver::run(program.client.clone(), &cli.options, || program.announce());
    program.run("load-driver", work).await
}
