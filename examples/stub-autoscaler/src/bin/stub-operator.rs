//! The contract's `operator`.

use clap::Parser;
use component::{ComponentArgs, Program};
use stub_autoscaler::operator::{BUCKETS, Options, run};

/// Rolls up one cluster's demand, announces machines and empties Nodes.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    common: ComponentArgs,
    #[command(flatten)]
    options: Options,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let program = Program::start(&cli.common, &BUCKETS).await?;
    let work = run(program.client.clone(), cli.options, || program.announce());
    program.run("the operator", work).await
}
