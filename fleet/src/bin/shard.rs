//! The shard program.

use clap::Parser;
use fleet::shard::args::Args;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    component::log::init();
    fleet::shard::run(args, component::shutdown::token()?).await
}
