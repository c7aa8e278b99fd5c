//! Prometheus metrics on a loopback listener.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

/// Buckets of one histogram: `start * factor^k` for `count` values of k, in the metric's unit.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// Full metric name.
    pub name: &'static str,
    /// First upper bound.
    pub start: f64,
    /// Ratio of neighbours.
    pub factor: f64,
    /// Number of finite bounds.
    pub count: u32,
}

/// Installs the process's recorder with explicit buckets and returns the handle that renders it.
///
/// Histograms without explicit buckets would come out as summaries, which cannot be added up.
///
/// # Errors
/// When a recorder is installed already.
pub fn install(buckets: &[Buckets]) -> anyhow::Result<PrometheusHandle> {
    let throttle = Buckets { name: crate::client::WAITED, start: 0.001, factor: 2.0, count: 16 };
    let mut builder = PrometheusBuilder::new();
    for b in buckets.iter().chain([&throttle]) {
        let bounds: Vec<f64> = (0..b.count).map(|k| b.start * b.factor.powi(k as i32)).collect();
        builder = builder
            .set_buckets_for_metric(Matcher::Full(b.name.to_owned()), &bounds)
            .with_context(|| format!("setting the buckets of {}", b.name))?;
    }
    builder.install_recorder().context("installing the metrics recorder")
}

/// Serves `/metrics` and `/healthz` on `addr` in the background; returns the bound address.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(addr: SocketAddr, handle: PrometheusHandle) -> anyhow::Result<SocketAddr> {
    let listener =
        TcpListener::bind(addr).await.with_context(|| format!("binding the metrics address {addr}"))?;
    let bound = listener.local_addr().context("reading the bound metrics address")?;
    let app = Router::new()
        .route("/metrics", get(move || std::future::ready(handle.render())))
        .route("/healthz", get(|| std::future::ready("ok")));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics server ended");
        }
    });
    Ok(bound)
}
