//! `pod-shim`: the legacy program that creates fake Nodes and binds first-fit, kept as the contrast to kube-scheduler.

use clap::Parser;
use component::{ComponentArgs, Program};
use harness_programs::pod_shim::{self, Options};

/// Creates fake Nodes and binds Pods to them first-fit. A legacy contrast, not a scheduler (ADR-0023 retired it).
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
    let program = Program::start(&cli.common, &pod_shim::BUCKETS).await?;
    let work = pod_shim::run(program.client.clone(), &cli.options, || program.announce());
    program.run("pod-shim", work).await
}
