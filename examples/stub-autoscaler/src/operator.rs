//! The operator: tells the shard what its cluster needs, and hands the shard's answers to `machines`.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use api::capacity_request::{CapacityRequestPhase, CapacityRequestStatus};
use api::session::operator_message::Payload;
use api::session::shard_client::ShardClient;
use api::session::shard_message::Payload as Answer;
use api::session::{BootstrapResponse, ClusterCapacityNeeds, Hello, OperatorMessage};
use api::{CapacityRequest, names};
use clap::{ArgAction, Args};
use component::apiserver;
use component::metrics::Buckets;
use component::watch::{Change, changes};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, Client};
use metrics::histogram;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;

use crate::cache::Cache;
use crate::demand::{self, Share};
use crate::machines::Machines;
use crate::{MAX_FRAME_BYTES, millis, unix_nanos};

const ROLLUP_SECONDS: &str = "bigfleet_operator_rollup_duration_seconds";
const ACKNOWLEDGE_SECONDS: &str = "bigfleet_operator_acknowledge_duration_seconds";

/// Histograms need buckets: without, they would come out as summaries, and those count as not measured.
pub const BUCKETS: [Buckets; 2] = [
    Buckets { name: ROLLUP_SECONDS, start: 0.001, factor: 2.0, count: 16 },
    Buckets { name: ACKNOWLEDGE_SECONDS, start: 0.01, factor: 2.0, count: 16 },
];

/// Frames on their way to the shard.
pub(crate) type Outbox = mpsc::UnboundedSender<OperatorMessage>;

/// The operator's flags beside the common ones.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The cluster's name towards the shard.
    #[arg(long)]
    cluster_id: String,
    /// The shard's gRPC address.
    #[arg(long)]
    shard_addr: SocketAddr,
    /// Acknowledgements at once.
    #[arg(long, default_value_t = 16)]
    ack_concurrency: u16,
    /// Time between two roll-ups.
    #[arg(long, default_value = "1000ms", value_parser = millis)]
    rollup_interval: Duration,
    /// File to append a line to at each roll-up.
    #[arg(long)]
    rollup_log: Option<PathBuf>,
    /// Must be true: the shard is always told that a Node is gone.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    wait_for_eviction: bool,
}

/// A request to acknowledge, and since when a roll-up carries it.
type Waiting = (String, Instant);

struct Operator {
    client: Client,
    options: Options,
    rollup_log: Option<File>,
    /// By namespace and name.
    requests: Mutex<Cache<Request>>,
    listed: Notify,
    acknowledgements: mpsc::UnboundedSender<Waiting>,
}

struct Request {
    /// `None` when it cannot be understood: then it is no demand, and is not acknowledged.
    share: Option<Share>,
    /// Acknowledged, or about to be.
    acknowledged: bool,
}

/// Runs until the session with the shard ends. Calls `on_ready` when the first list of requests is complete.
///
/// # Errors
/// When a flag asks for what is left out here, `on_ready` fails, or the session or the watch ends.
pub async fn run(
    client: Client,
    options: Options,
    on_ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    ensure!(options.wait_for_eviction, "this operator knows no --wait-for-eviction=false");
    // Shown from the start: what was never shown is not measured.
    let _ = (histogram!(ROLLUP_SECONDS), histogram!(ACKNOWLEDGE_SECONDS));
    let open = |path: &PathBuf| File::options().create(true).append(true).open(path);
    let rollup_log = options.rollup_log.as_ref().map(open).transpose().context("opening the roll-up log")?;
    let (acknowledgements, waiting) = mpsc::unbounded_channel();
    // Apart from the roll-ups: a first one with thousands of requests must not hold up the next.
    let at_once = usize::from(options.ack_concurrency);
    let acknowledge = UnboundedReceiverStream::new(waiting)
        .for_each_concurrent(at_once, |(key, since)| acknowledge(&client, key, since));
    let operator = Operator {
        client: client.clone(),
        options,
        rollup_log,
        requests: Mutex::default(),
        listed: Notify::new(),
        acknowledgements,
    };
    let session = async {
        // A roll-up replaces all demand: none is sent before all requests are known.
        operator.listed.notified().await;
        on_ready()?;
        operator.session().await
    };
    tokio::select! {
        ended = operator.watch() => ended,
        ended = session => ended,
        () = acknowledge => bail!("nothing is acknowledged any more"),
    }
}

impl Operator {
    async fn watch(&self) -> anyhow::Result<()> {
        let api = Api::<CapacityRequest>::all(self.client.clone());
        let mut changes = pin!(changes(api, watcher::Config::default()));
        while let Some((_, change)) = changes.next().await {
            let mut requests = self.requests();
            match change {
                Change::Applied(request) => requests.insert(key(&request), read(&request)),
                Change::Deleted(request) => requests.remove(&key(&request)),
                Change::ListStarted { .. } => requests.list_started(),
                Change::ListDone => {
                    requests.list_done();
                    self.listed.notify_one();
                }
            }
        }
        bail!("the watch of CapacityRequests ended")
    }

    async fn session(&self) -> anyhow::Result<()> {
        let shard = Endpoint::from_shared(format!("http://{}", self.options.shard_addr))?;
        let shard = shard.connect().await.context("dialling the shard")?;
        let mut shard = ShardClient::new(shard)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        let (outbox, frames) = mpsc::unbounded_channel();
        let cluster_id = self.options.cluster_id.clone();
        let protocol_version = names::PROTOCOL_VERSION.to_owned();
        send(&outbox, Payload::Hello(Hello { cluster_id, protocol_version }));
        let mut answers = shard.session(UnboundedReceiverStream::new(frames)).await?.into_inner();
        let mut machines = Machines::new(self.client.clone(), outbox.clone());
        let mut ticks = tokio::time::interval(self.options.rollup_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let answer = tokio::select! {
                _ = ticks.tick() => {
                    self.roll_up(&outbox)?;
                    continue;
                }
                answer = answers.message() => answer?.context("the shard ended the session")?,
            };
            match answer.payload {
                Some(Answer::NodeStateUpdate(state)) => machines.stands(state),
                Some(Answer::ReclaimInstruction(instruction)) => machines.reclaim(instruction),
                // There is no machine to boot, but a shard may want to know what it would boot with.
                Some(Answer::BootstrapRequest(request)) => {
                    let request_id = request.request_id;
                    let response = BootstrapResponse { request_id, ..BootstrapResponse::default() };
                    send(&outbox, Payload::BootstrapResponse(response));
                }
                Some(Answer::Ack(_) | Answer::AvailableCapacity(_)) | None => {}
            }
        }
    }

    /// Tells the shard all demand, and sees that the requests it hears of for the first time are acknowledged.
    fn roll_up(&self, outbox: &Outbox) -> anyhow::Result<()> {
        let (start, now_unix_ns) = (Instant::now(), unix_nanos());
        let mut requests = self.requests();
        let needs = demand::roll_up(requests.values().filter_map(|request| request.share.as_ref()));
        send(
            outbox,
            Payload::Rollup(ClusterCapacityNeeds {
                cluster_id: self.options.cluster_id.clone(),
                timestamp_unix_nanos: i64::try_from(now_unix_ns).unwrap_or(i64::MAX),
                needs,
            }),
        );
        for (key, request) in requests.iter_mut().filter(|(_, r)| r.share.is_some() && !r.acknowledged) {
            request.acknowledged = self.acknowledgements.send((key.clone(), start)).is_ok();
        }
        drop(requests);
        if let Some(mut log) = self.rollup_log.as_ref() {
            writeln!(log, "{}", json!({"at_unix_ns": now_unix_ns})).context("writing the roll-up log")?;
        }
        histogram!(ROLLUP_SECONDS).record(start.elapsed().as_secs_f64());
        Ok(())
    }

    fn requests(&self) -> MutexGuard<'_, Cache<Request>> {
        self.requests.lock().expect("the operator's mutex must not be poisoned")
    }
}

async fn acknowledge(client: &Client, key: String, since: Instant) {
    let (namespace, name) = key.split_once('/').unwrap_or_default();
    let acknowledged_at = Some(Time(Timestamp::now()));
    let status = CapacityRequestStatus { phase: CapacityRequestPhase::Acknowledged, acknowledged_at };
    let patch = json!({ "status": status });
    loop {
        match apiserver::patch_status::<CapacityRequest>(client, Some(namespace), name, &patch).await {
            Ok(()) => return histogram!(ACKNOWLEDGE_SECONDS).record(since.elapsed().as_secs_f64()),
            // Nobody waits for the answer any more.
            Err(error) if apiserver::is_gone(&error) => return,
            Err(error) => tracing::warn!(key, %error, "not acknowledged; trying again"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Puts a frame into the outbox; it is lost only when the session has ended.
pub(crate) fn send(outbox: &Outbox, payload: Payload) {
    let _ = outbox.send(OperatorMessage { payload: Some(payload) });
}

fn key(request: &CapacityRequest) -> String {
    let metadata = &request.metadata;
    let [namespace, name] = [&metadata.namespace, &metadata.name].map(|text| text.as_deref().unwrap_or(""));
    format!("{namespace}/{name}")
}

fn read(request: &CapacityRequest) -> Request {
    let share = Share::of(&request.spec);
    if let Err(error) = &share {
        tracing::warn!(request = key(request), error = %format!("{error:#}"), "not understood");
    }
    let phase = request.status.as_ref().map(|status| status.phase);
    Request { share: share.ok(), acknowledged: phase == Some(CapacityRequestPhase::Acknowledged) }
}
