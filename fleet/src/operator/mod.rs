//! The operator: one cluster's side of the session with a shard. It tells the shard what the cluster needs,
//! announces the machines that come, and empties the Nodes that go.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Args};
use component::args::parse_loopback;
use component::metrics::Buckets;
use kube::Client;
use metrics::{counter, histogram};
use tokio::sync::oneshot;

use crate::operator::demand::DemandSide;
use crate::operator::drain::Drains;
use crate::operator::drain::run::Drainer;
use crate::operator::keeper::Keeper;
use crate::operator::link::Link;
use crate::operator::session::Session;

pub mod demand;
pub mod drain;
pub mod keeper;
pub mod link;
pub mod objects;
pub mod phase;
pub mod requests;
pub mod rollup;
pub mod session;

const DEFAULT_ROLLUP_INTERVAL: Duration = Duration::from_secs(10);

/// Histogram buckets, upstream's where upstream has the metric.
pub const BUCKETS: [Buckets; 5] = [
    Buckets { name: "bigfleet_operator_rollup_duration_seconds", start: 0.001, factor: 2.0, count: 16 },
    Buckets { name: "bigfleet_operator_rollup_phase_duration_seconds", start: 0.001, factor: 2.0, count: 16 },
    Buckets { name: "bigfleet_operator_acknowledge_duration_seconds", start: 0.01, factor: 2.0, count: 16 },
    Buckets {
        name: "bigfleet_operator_node_state_update_duration_seconds",
        start: 0.001,
        factor: 2.0,
        count: 17,
    },
    Buckets { name: "bigfleet_operator_drain_duration_seconds", start: 0.1, factor: 2.0, count: 14 },
];

/// Flags of the operator beside the common ones.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The cluster's name towards the shard.
    #[arg(long)]
    pub cluster_id: String,
    /// The shard's gRPC address; must be a loopback address.
    #[arg(long, value_parser = parse_loopback)]
    pub shard_addr: SocketAddr,
    /// Between two roll-ups, e.g. 10s or 500ms; 0 means the default.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub rollup_interval: Duration,
    /// Requests that are acknowledged at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub ack_concurrency: u16,
    /// Whether requests are acknowledged at all (one status write per request).
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub ack: bool,
    /// Whether the shard is told when a Node is gone; false: as upstream, machines are free at once.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub wait_for_eviction: bool,
    /// File to append one JSON line per roll-up to: at_unix_ns, crs, crs_total_seen, newest_receipt_unix_ns.
    #[arg(long)]
    pub rollup_log: Option<PathBuf>,
}

impl Options {
    fn rollup_interval(&self) -> Duration {
        if self.rollup_interval.is_zero() { DEFAULT_ROLLUP_INTERVAL } else { self.rollup_interval }
    }
}

/// Runs until a watch ends, which it never does by itself. Calls `on_ready` once the caches are filled; a
/// session is not waited for.
///
/// # Errors
/// When the UpcomingNodes cannot be listed, `on_ready` or the roll-up log fails, or a watch ends.
pub async fn run(
    client: Client,
    options: Options,
    on_ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    show_counters();
    let (keeper, unfinished) =
        Keeper::load(client.clone()).await.context("listing the UpcomingNodes that exist")?;
    let link = Arc::new(Link::default());
    let drainer = Drainer {
        client: client.clone(),
        keeper: keeper.clone(),
        wait_for_eviction: options.wait_for_eviction,
    };
    let drains = Drains::new(drainer, link.clone());
    let demand = DemandSide::start(client, link.clone(), &options);
    let (synced, sync) = oneshot::channel();
    let serve = async {
        // An empty first roll-up tells the shard that nothing is needed (ADR-0036): none before the list.
        sync.await.context("the watch ended before its first list")?;
        keeper.start();
        drains.resume(unfinished);
        on_ready()?;
        let Options { cluster_id, shard_addr: shard, .. } = options.clone();
        Session { cluster_id, shard, link, keeper: keeper.clone(), drains }.run().await;
        Ok(())
    };
    tokio::select! {
        ended = demand.watch(synced) => ended,
        ended = demand.roll_up_always(&options) => ended,
        ended = serve => ended,
    }
}

/// A metric that was never touched would be missing, and missing reads as unmeasured.
fn show_counters() {
    for name in [
        "bigfleet_operator_acknowledged_total",
        "bigfleet_operator_session_reconnects_total",
        "bigfleet_operator_outbox_dropped_total",
        "bigfleet_operator_requests_skipped_total",
        "bigfleet_operator_watch_gaps_total",
        "bigfleet_operator_available_capacity_frames_total",
    ] {
        counter!(name).absolute(0);
    }
    for name in
        ["bigfleet_operator_rollup_duration_seconds", "bigfleet_operator_acknowledge_duration_seconds"]
    {
        let _ = histogram!(name);
    }
    for outcome in ["granted", "gone", "blocked", "error", "impossible"] {
        counter!("bigfleet_operator_evictions_total", "outcome" => outcome).absolute(0);
    }
    for outcome in ["started", "success", "failed"] {
        counter!("bigfleet_operator_drains_total", "outcome" => outcome).absolute(0);
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    // Go's flag package takes a bare 0, and upstream gives it.
    let text = if text == "0" { "0s" } else { text };
    let parsed: kube::core::Duration =
        text.parse().map_err(|error| format!("{error}; write e.g. 10s or 500ms"))?;
    if parsed.is_negative() { Err("must not be negative".to_owned()) } else { Ok(parsed.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_upstream_has_them() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert!(parse_duration("10").unwrap_err().contains("10s"));
        assert!(parse_duration("-1s").is_err());
    }
}
