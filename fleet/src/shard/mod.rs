//! The shard: sessions with operators, the decision loop, workers, and an in-process fake provider.

pub mod args;
pub mod audit;
mod cycle;
mod frames;
pub mod http;
pub mod metrics;
pub mod provider;
pub mod sessions;
mod state;
#[cfg(test)]
mod tests;
mod workers;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use api::session::shard_server::ShardServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use crate::shard::args::Args;
use crate::shard::audit::Audit;
pub use crate::shard::state::Shard;
use fleet_engine::Inventory;

/// Largest frame: a roll-up of 250,000 requests outgrew gRPC's default of 4 MiB upstream.
const MAX_FRAME_BYTES: usize = 256 << 20;

/// Runs a shard until `stop` is cancelled.
///
/// # Errors
/// A seed that does not read, an address that is taken, an audit log (at any time) or data directory that cannot
/// be written.
pub async fn run(args: Args, stop: CancellationToken) -> anyhow::Result<()> {
    let handle = component::metrics::install(&metrics::BUCKETS)?;
    metrics::start_at_zero();
    let inventory = match &args.inventory {
        Some(path) => read_seed(path)?,
        None => Inventory::default(),
    };
    let epoch = args.data_dir.as_deref().map_or(Ok(1), next_epoch)?;
    let audit = Audit::open(args.audit_log.as_deref())?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("binding the session address {}; is it taken?", args.listen))?;
    let grpc = listener.local_addr().context("reading the bound session address")?;
    let (metrics_addr, ready_file) = (args.metrics_addr, args.ready_file.clone());
    let machines = inventory.len();
    let shard = Arc::new(Shard::new(args, epoch, inventory, audit));
    let paused = shard.lock().is_paused();
    ::metrics::gauge!("bigfleet_shard_actuation_paused").set(if paused { 1.0 } else { 0.0 });
    let http = http::serve(metrics_addr, Arc::clone(&shard), handle).await?;
    component::ready::announce(ready_file.as_deref(), &[("metrics", http), ("grpc", grpc)])?;
    tracing::info!(%grpc, %http, machines, epoch, "shard is up");
    serve(shard, listener, stop).await
}

/// Serves sessions on a listener and runs the loop until `stop` is cancelled.
async fn serve(shard: Arc<Shard>, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let service = ShardServer::new(sessions::Service(Arc::clone(&shard)))
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES);
    let server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let cycles = tokio::spawn(cycle::run(Arc::clone(&shard), stop.clone()));
    // Sessions never end by themselves, so the server is dropped rather than drained.
    tokio::select! {
        served = server => served.context("serving sessions")?,
        () = shard.audit.lost() => bail!("the audit log could not be written; see the line above"),
        () = stop.cancelled() => {}
    }
    cycles.await.context("the decision loop panicked")
}

fn read_seed(path: &Path) -> anyhow::Result<Inventory> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the seed inventory {}", path.display()))?;
    let seed =
        serde_json::from_str(&text).with_context(|| format!("{} is no seed inventory", path.display()))?;
    Inventory::from_seed(&seed).with_context(|| format!("the seed inventory {}", path.display()))
}

/// Counts this start in `<data-dir>/epoch`.
fn next_epoch(data_dir: &Path) -> anyhow::Result<u64> {
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("making the data directory {}", data_dir.display()))?;
    let path = data_dir.join("epoch");
    let last: u64 = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().with_context(|| {
            format!("{} holds `{}`, not a number; remove it to start at 1", path.display(), text.trim())
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let epoch = last + 1;
    std::fs::write(&path, epoch.to_string()).with_context(|| format!("writing {}", path.display()))?;
    Ok(epoch)
}
