//! The contract's `shard`.

use clap::Parser;
use stub_autoscaler::shard::{Args, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    component::log::init();
    let stop = component::shutdown::token()?;
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = run(args) => ended,
    }
}
