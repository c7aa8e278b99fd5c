//! `load-driver`: makes the workloads of one cluster and keeps them moving.

use anyhow::Context;
use clap::Parser;
use component::{ComponentArgs, client, log, metrics, ready, shutdown};
use harness::load_driver::{self, Options};

/// Makes the workloads of one cluster (ADR-0038), and keeps them moving when asked to.
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
    let on_ready = || ready::announce(cli.common.ready_file.as_deref(), &[("metrics", address)]);
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = load_driver::run(client, &cli.options, on_ready) => {
            ended.context("load-driver ended; see the lines above")
        }
    }
}
