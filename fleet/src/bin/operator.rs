//! `operator`: rolls up one cluster's demand for a shard, announces machines and drains Nodes.

use clap::Parser;
use component::{ComponentArgs, Program};
use fleet::operator::{BUCKETS, Options, run};

/// Rolls up one cluster's CapacityRequests for a shard, keeps its UpcomingNodes, and drains its Nodes.
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
    let program = Program::start(&cli.common, &BUCKETS).await?;
    let work = run(program.client.clone(), cli.options, || program.announce());
    program.run("the operator", work).await
}
