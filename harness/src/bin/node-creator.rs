//! `node-creator`: makes the fake Node of each UpcomingNode that is Ready.

use anyhow::Context;
use clap::Parser;
use component::{ComponentArgs, client, log, metrics, ready, shutdown};
use harness::node_creator::{self, Options};

/// Makes the fake Node of each UpcomingNode that is Ready (ADR-0023), and deletes it when that goes.
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
    let handle = metrics::install(&node_creator::BUCKETS)?;
    let address = metrics::serve(cli.common.metrics_addr, handle).await?;
    let client = client::connect(&cli.common.kubeconfig, cli.common.qps, cli.common.burst).await?;
    let on_ready = || ready::announce(cli.common.ready_file.as_deref(), &[("metrics", address)]);
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = node_creator::run(client, &cli.options, on_ready) => {
            ended.context("node-creator ended; see the lines above")
        }
    }
}
