//! `pod-shim`: the legacy maker of fake Nodes and first-fit binder, kept as the contrast to kube-scheduler.

use anyhow::Context;
use clap::Parser;
use component::{ComponentArgs, client, log, metrics, ready, shutdown};
use harness::pod_shim::{self, Options};

/// Makes fake Nodes and binds Pods to them first-fit. A legacy contrast, not a scheduler (ADR-0023 retired it).
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
    let handle = metrics::install(&pod_shim::BUCKETS)?;
    let address = metrics::serve(cli.common.metrics_addr, handle).await?;
    let client = client::connect(&cli.common.kubeconfig, cli.common.qps, cli.common.burst).await?;
    let on_ready = || ready::announce(cli.common.ready_file.as_deref(), &[("metrics", address)]);
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = pod_shim::run(client, &cli.options, on_ready) => {
            ended.context("pod-shim ended; see the lines above")
        }
    }
}
