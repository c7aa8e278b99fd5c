//! The demand side: requests are watched, rolled up, and acknowledged.

use std::fs::File;
use std::io::Write as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use api::CapacityRequest;
use api::session::ClusterCapacityNeeds;
use component::apiserver;
use component::watch::{Change, changes};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, Client};
use metrics::{counter, gauge, histogram};
use serde_json::json;
use tokio::sync::mpsc;

use crate::operator::Options;
use crate::operator::link::Link;
use crate::operator::requests::{RequestId, Requests, Snapshot};

/// Requests of one roll-up that are acknowledged as a batch.
struct Batch {
    start: Instant,
}

/// One acknowledgement to write.
struct Acknowledgement {
    id: RequestId,
    /// Dropped with the last one of its batch.
    _batch: Arc<Batch>,
}

/// The requests and the way to acknowledge them.
pub struct DemandSide {
    client: Client,
    requests: Mutex<Requests>,
    link: Arc<Link>,
    acknowledgements: mpsc::UnboundedSender<Acknowledgement>,
}

impl DemandSide {
    /// Nothing known yet. Starts the workers that acknowledge: apart from the roll-ups, which upstream makes
    /// wait for a big first batch.
    pub fn start(client: Client, link: Arc<Link>, options: &Options) -> Arc<Self> {
        let (acknowledgements, queue) = mpsc::unbounded_channel();
        let side = Arc::new(Self { client, requests: Mutex::default(), link, acknowledgements });
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        for _ in 0..options.ack_concurrency {
            tokio::spawn(acknowledge_all(side.clone(), queue.clone()));
        }
        side
    }

    /// Watches the requests for ever. `synced` is told when the first list is complete.
    ///
    /// # Errors
    /// When the watch ends, which it never does by itself.
    pub async fn watch(&self, synced: tokio::sync::oneshot::Sender<()>) -> anyhow::Result<()> {
        let api = Api::<CapacityRequest>::all(self.client.clone());
        let mut changes = pin!(changes(api, watcher::Config::default()));
        let mut synced = Some(synced);
        while let Some((_, change)) = changes.next().await {
            let mut requests = self.lock();
            match change {
                Change::Applied(request) => {
                    if let Err(error) = requests.applied(&request, unix_ns()) {
                        counter!("bigfleet_operator_requests_skipped_total").increment(1);
                        tracing::warn!(request = ?request.metadata.name, %error, "request is no demand");
                    }
                }
                Change::Deleted(request) => requests.deleted(&request),
                Change::ListStarted { gap } => {
                    if gap {
                        counter!("bigfleet_operator_watch_gaps_total").increment(1);
                    }
                    requests.listing();
                }
                Change::ListDone => {
                    requests.listed();
                    if let Some(synced) = synced.take() {
                        let _ = synced.send(());
                    }
                }
            }
        }
        bail!("the watch of CapacityRequests ended")
    }

    /// Rolls up every interval, and at once in each new session, for ever.
    ///
    /// # Errors
    /// When the roll-up log cannot be written.
    pub async fn roll_up_always(&self, options: &Options) -> anyhow::Result<()> {
        let mut log = match &options.rollup_log {
            Some(path) => Some(
                File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("opening the roll-up log {}", path.display()))?,
            ),
            None => None,
        };
        let mut ticks = tokio::time::interval(options.rollup_interval());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.link.connected() => ticks.reset(),
            }
            if self.link.session().is_none() {
                continue;
            }
            let (snapshot, at_unix_ns) = self.roll_up(options);
            if let Some(log) = &mut log {
                log_line(log, &snapshot, at_unix_ns).context("writing the roll-up log")?;
            }
        }
    }

    fn roll_up(&self, options: &Options) -> (Snapshot, i64) {
        let start = Instant::now();
        let mut requests = self.lock();
        let waiting = if options.ack { requests.take_unacknowledged() } else { Vec::new() };
        let listed = Instant::now();
        let mut snapshot = requests.snapshot();
        drop(requests);
        let built = Instant::now();
        let at_unix_ns = unix_ns();
        let offered = self.link.offer(ClusterCapacityNeeds {
            cluster_id: options.cluster_id.clone(),
            timestamp_unix_nanos: at_unix_ns,
            needs: std::mem::take(&mut snapshot.needs),
        });
        let end = Instant::now();
        phase_seconds("list", listed - start);
        phase_seconds("build", built - listed);
        phase_seconds("enqueue", end - built);
        histogram!("bigfleet_operator_rollup_duration_seconds").record((end - start).as_secs_f64());
        gauge!("bigfleet_operator_requests").set(snapshot.count as f64);
        if !waiting.is_empty() {
            self.queue_acknowledgements(waiting, offered);
        }
        (snapshot, at_unix_ns)
    }

    fn queue_acknowledgements(&self, waiting: Vec<RequestId>, offered: bool) {
        let batch = Arc::new(Batch { start: Instant::now() });
        for id in waiting {
            if offered {
                let one = Acknowledgement { id, _batch: batch.clone() };
                // The receiver lives as long as the workers, that is as long as the process.
                let _ = self.acknowledgements.send(one);
            } else {
                self.lock().acknowledge_failed(id);
            }
        }
    }

    async fn acknowledge(&self, id: RequestId) {
        let patch = json!({"status": {"phase": "Acknowledged", "acknowledgedAt": Time(Timestamp::now())}});
        let written =
            apiserver::patch_status::<CapacityRequest>(&self.client, Some(&id.namespace), &id.name, &patch);
        match written.await {
            Ok(()) => counter!("bigfleet_operator_acknowledged_total").increment(1),
            // Deleted meanwhile: nobody waits for the answer.
            Err(error) if apiserver::is_gone(&error) => {}
            Err(error) => {
                let reason = apiserver::reason(&error);
                counter!("bigfleet_operator_acknowledge_errors_total", "reason" => reason).increment(1);
                tracing::warn!(request = id.name, reason, %error, "not acknowledged; again with the next roll-up");
                self.lock().acknowledge_failed(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().expect("the requests' mutex must not be poisoned")
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        histogram!("bigfleet_operator_acknowledge_duration_seconds")
            .record(self.start.elapsed().as_secs_f64());
    }
}

async fn acknowledge_all(
    side: Arc<DemandSide>,
    queue: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Acknowledgement>>>,
) {
    loop {
        let next = queue.lock().await.recv().await;
        let Some(acknowledgement) = next else { return };
        side.acknowledge(acknowledgement.id.clone()).await;
    }
}

fn phase_seconds(phase: &'static str, time: Duration) {
    histogram!("bigfleet_operator_rollup_phase_duration_seconds", "phase" => phase)
        .record(time.as_secs_f64());
}

fn log_line(log: &mut File, snapshot: &Snapshot, at_unix_ns: i64) -> std::io::Result<()> {
    let line = json!({
        "at_unix_ns": at_unix_ns,
        "crs": snapshot.count,
        "crs_total_seen": snapshot.seen_total,
        "newest_receipt_unix_ns": snapshot.newest_receipt_unix_ns,
    });
    writeln!(log, "{line}")
}

fn unix_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}
