//! `unschedulable-pod-controller`: writes one CapacityRequest per live Pod.

use anyhow::Context;
use clap::Parser;
use component::{ComponentArgs, client, log, metrics, ready, shutdown};
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
    log::init();
    let stop = shutdown::token()?;
    let handle = metrics::install(&[])?;
    let address = metrics::serve(cli.common.metrics_addr, handle).await?;
    let client = client::connect(&cli.common.kubeconfig, cli.common.qps, cli.common.burst).await?;
    let on_ready = || {
        tracing::info!("Starting Controller");
        ready::announce(cli.common.ready_file.as_deref(), &[("metrics", address)])
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = controller::run(client, &cli.options, on_ready) => {
            ended.context("the controller ended; see the lines above")
        }
    }
}
