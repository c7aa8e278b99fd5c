//! `operator`: rolls up one cluster's demand for a shard, announces machines and drains Nodes.

use anyhow::Context;
use clap::Parser;
use component::{ComponentArgs, client, log, metrics, ready, shutdown};
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
    log::init();
    let stop = shutdown::token()?;
    let handle = metrics::install(&BUCKETS)?;
    let address = metrics::serve(cli.common.metrics_addr, handle).await?;
    let client = client::connect(&cli.common.kubeconfig, cli.common.qps, cli.common.burst).await?;
    let on_ready = || ready::announce(cli.common.ready_file.as_deref(), &[("metrics", address)]);
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = run(client, cli.options, on_ready) => {
            ended.context("the operator ended; see the lines above")
        }
    }
}
