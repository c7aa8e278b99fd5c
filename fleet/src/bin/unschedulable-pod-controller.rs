//! `unschedulable-pod-controller`: writes one CapacityRequest per live Pod.

use clap::Parser;
use component::{ComponentArgs, Program};
use fleet::pod_requests::{Options, controller};

/// Writes one CapacityRequest per live Pod (ADR-0039) and deletes it when the Pod ends.
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
    let on_ready = || {
        tracing::info!("Starting Controller");
        program.announce()
    };
    let work = controller::run(program.client.clone(), &cli.options, on_ready);
    program.run("the controller", work).await
}
