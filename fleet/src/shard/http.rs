//! The shard's HTTP side: metrics, health, and what it thinks.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use api::actuation::Actuation as Answer;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::shard::state::{Actuation, Shard};
use fleet_engine::{Machine, NeedReport};

/// One element of `/debug/needs`: a Need as of the last cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeedView {
    /// Cluster id.
    pub cluster: String,
    /// Fingerprint of the profile.
    pub fingerprint: String,
    /// Co-location group; empty for plain Needs.
    pub group: String,
    /// Priority.
    pub priority: i32,
    /// What is asked for, resource name to Quantity.
    pub aggregate: std::collections::BTreeMap<String, String>,
    /// What is uncovered, machines in flight counted as cover.
    pub residual: std::collections::BTreeMap<String, String>,
    /// Number of machines claimed.
    pub machines: usize,
    /// Their ids, sorted.
    pub machine_ids: Vec<String>,
    /// Why it is short; absent when it is not.
    pub unmet_reason: Option<String>,
    /// For how many cycles in a row it has been short.
    pub unmet_cycles: u64,
    /// Whether acquisition rests.
    pub parked: bool,
}

/// One element of `/debug/machines`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineView {
    /// Machine id, which is the Node's name.
    pub id: String,
    /// State's name, e.g. `Configured`.
    pub state: String,
    /// Cluster it is bound to, or for Failed was.
    pub cluster: Option<String>,
    /// Fingerprint it was taken for; empty for a Configured seed.
    pub fingerprint: Option<String>,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Why it failed.
    pub last_error: String,
}

impl From<&NeedReport> for NeedView {
    fn from(need: &NeedReport) -> Self {
        let mut machine_ids: Vec<String> = need.machines.iter().map(ToString::to_string).collect();
        machine_ids.sort();
        Self {
            cluster: need.key.cluster.clone(),
            fingerprint: need.key.fingerprint.clone(),
            group: need.key.group.clone(),
            priority: need.priority,
            aggregate: need.aggregate.to_texts(),
            residual: need.residual.to_texts(),
            machines: machine_ids.len(),
            machine_ids,
            unmet_reason: need.unmet.map(|reason| reason.name().to_owned()),
            unmet_cycles: need.unmet_cycles,
            parked: need.parked,
        }
    }
}

impl From<&Machine> for MachineView {
    fn from(machine: &Machine) -> Self {
        Self {
            id: machine.id.to_string(),
            state: machine.state.name().to_owned(),
            cluster: machine.cluster.clone(),
            fingerprint: machine.assigned.as_ref().map(|a| a.fingerprint.clone()),
            instance_type: machine.instance_type.clone(),
            zone: machine.zone.clone(),
            last_error: machine.last_error.clone(),
        }
    }
}

/// Serves in the background; returns the bound address.
pub(crate) async fn serve(
    addr: SocketAddr,
    shard: Arc<Shard>,
    handle: PrometheusHandle,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(addr)
        .await
        .with_context(|| format!("binding the metrics address {addr}; is it taken?"))?;
    let bound = listener.local_addr().context("reading the bound metrics address")?;
    let needs = Arc::clone(&shard);
    let (looked_at, paused, resumed) = (Arc::clone(&shard), Arc::clone(&shard), Arc::clone(&shard));
    let app = Router::new()
        .route("/actuation", get(move || std::future::ready(json(&actuation_of(&looked_at)))))
        .route("/actuation/pause", post(move || std::future::ready(turn(&paused, Actuation::Paused))))
        .route(
            "/actuation/resume",
            post(move || std::future::ready(turn(&resumed, Actuation::ResumesWithRollup))),
        )
        .route("/metrics", get(move || std::future::ready(handle.render())))
        .route("/healthz", get(|| std::future::ready("ok")))
        .route("/readyz", get(|| std::future::ready("ok")))
        .route("/debug/needs", get(move || std::future::ready(json(&needs_of(&needs)))))
        .route("/debug/machines", get(move || std::future::ready(json(&machines_of(&shard)))));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics server ended");
        }
    });
    Ok(bound)
}

fn actuation_of(shard: &Shard) -> Answer {
    Answer { paused: shard.lock().is_paused() }
}

/// Sets the kill switch; what runs already is resumed by asking again.
fn turn(shard: &Shard, to: Actuation) -> &'static str {
    let mut state = shard.lock();
    if to == Actuation::Paused || state.is_paused() {
        state.set_actuation(to);
    }
    "ok"
}

fn needs_of(shard: &Shard) -> Vec<NeedView> {
    let mut needs: Vec<NeedView> = shard.lock().last_needs.iter().map(NeedView::from).collect();
    needs.sort_by(|a, b| (&a.cluster, &a.fingerprint, &a.group).cmp(&(&b.cluster, &b.fingerprint, &b.group)));
    needs
}

fn machines_of(shard: &Shard) -> Vec<MachineView> {
    shard.lock().inventory.iter().map(MachineView::from).collect()
}

fn json<T: Serialize>(value: &T) -> impl IntoResponse + use<T> {
    let text = serde_json::to_string(value).expect("texts and numbers must serialise");
    ([(CONTENT_TYPE, "application/json")], text)
}
