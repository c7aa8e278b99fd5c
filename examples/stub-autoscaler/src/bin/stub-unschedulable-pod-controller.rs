//! The contract's `unschedulable-pod-controller`.

use clap::Parser;
use component::{ComponentArgs, Program};
use stub_autoscaler::pods::{Options, run};

/// Keeps one CapacityRequest per live Pod.
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
    let program = Program::start(&cli.common, &[]).await?;
    let work = run(program.client.clone(), cli.options, || program.announce());
    program.run("the controller", work).await
}
