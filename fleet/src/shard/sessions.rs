//! Sessions with operators: one per cluster, the newest counts.

use std::sync::Arc;

use api::session::operator_message::Payload;
use api::session::shard_server::Shard as ShardService;
use api::session::{BootstrapResponse, Hello, OperatorMessage, ReclaimAck, ShardMessage};
use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::shard::frames;
use crate::shard::state::Shard;
use crate::shard::workers;

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    /// Frames for the operator. Unbounded: what is sent is bounded by the machines and roll-ups there are,
    /// and the loop must never wait for a slow operator.
    pub(crate) outbox: mpsc::UnboundedSender<Result<ShardMessage, Status>>,
    ended: CancellationToken,
}

/// The gRPC service.
#[derive(Clone, Debug)]
pub struct Service(pub Arc<Shard>);

#[tonic::async_trait]
impl ShardService for Service {
    type SessionStream = UnboundedReceiverStream<Result<ShardMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<OperatorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = match inbound.message().await?.and_then(|m| m.payload) {
            Some(Payload::Hello(hello)) if !hello.cluster_id.is_empty() => hello,
            _ => {
                return Err(Status::invalid_argument("the first frame must be Hello with a cluster_id"));
            }
        };
        let (outbox, frames) = mpsc::unbounded_channel();
        let ended = CancellationToken::new();
        let id = install(&self.0, &hello, Session { id: 0, outbox, ended: ended.clone() });
        let shard = Arc::clone(&self.0);
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    () = ended.cancelled() => break,
                    message = inbound.message() => message,
                };
                match message {
                    Ok(Some(message)) => receive(&shard, &hello.cluster_id, message),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::info!(cluster = hello.cluster_id, %status, "session broke");
                        break;
                    }
                }
            }
            remove(&shard, &hello.cluster_id, id);
        });
        Ok(Response::new(UnboundedReceiverStream::new(frames)))
    }
}

/// Puts a session in the place of the cluster's former one, and tells the operator all it must know:
/// the machines bound to its cluster, and the drains that it still owes.
fn install(shard: &Shard, hello: &Hello, mut session: Session) -> u64 {
    let cluster = hello.cluster_id.as_str();
    let mut guard = shard.lock();
    let state = &mut *guard;
    let id = state.next_serial();
    session.id = id;
    let event = match state.sessions.insert(cluster.to_owned(), session) {
        Some(former) => {
            former.ended.cancel();
            state.blobs.retain(|_, blob| blob.session != former.id);
            "replaced"
        }
        None => "installed",
    };
    lifecycle(event, state.sessions.len());
    state.send(cluster, frames::ack("hello", shard.epoch));
    for machine in state.inventory.iter().filter(|m| m.cluster.as_deref() == Some(cluster)) {
        state.send(cluster, frames::node_state_update(cluster, machine));
    }
    let owed: Vec<_> = state
        .drains
        .iter_mut()
        .filter(|(_, drain)| drain.job.action.cluster == cluster)
        .map(|(id, drain)| {
            // The operator acknowledges the start anew.
            drain.acks = 0;
            frames::reclaim_instruction(id, &drain.job.action)
        })
        .collect();
    tracing::info!(cluster, event, version = hello.protocol_version, owed = owed.len(), "session");
    for instruction in owed {
        state.send(cluster, instruction);
    }
    id
}

fn remove(shard: &Shard, cluster: &str, id: u64) {
    let mut state = shard.lock();
    // A newer session of the cluster stays.
    if state.sessions.get(cluster).is_some_and(|s| s.id == id) {
        state.sessions.remove(cluster);
        lifecycle("removed", state.sessions.len());
    }
    // Who waits for a blob of this session learns that there will be none.
    state.blobs.retain(|_, blob| blob.session != id);
}

fn lifecycle(event: &'static str, active: usize) {
    counter!("bigfleet_shard_session_lifecycle_total", "event" => event).increment(1);
    gauge!("bigfleet_shard_active_sessions").set(active as f64);
}

impl Session {
    /// Number of this session, unique within the shard's life.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

fn receive(shard: &Arc<Shard>, cluster: &str, message: OperatorMessage) {
    match message.payload {
        Some(Payload::Rollup(rollup)) => match shard.accept_rollup(cluster, &rollup) {
            Ok(verdict) => {
                tracing::debug!(cluster, rows = rollup.needs.len(), ?verdict, "roll-up");
                shard.lock().send(cluster, frames::ack("rollup", shard.epoch));
            }
            Err(error) => tracing::warn!(cluster, %error, "roll-up rejected; the last good demand stays"),
        },
        Some(Payload::BootstrapResponse(response)) => blob(shard, response),
        Some(Payload::ReclaimAck(ack)) => reclaim_ack(shard, cluster, &ack),
        Some(Payload::Hello(_)) => tracing::warn!(cluster, "a second Hello is ignored"),
        None => tracing::warn!(cluster, "a frame without a known payload is ignored"),
    }
}

fn blob(shard: &Shard, response: BootstrapResponse) {
    let Some(pending) = shard.lock().blobs.remove(&response.request_id) else {
        tracing::debug!(request = response.request_id, "bootstrap response comes too late");
        return;
    };
    let answer = if response.error.is_empty() { Ok(()) } else { Err(response.error) };
    // Nobody listens any more: the wait timed out in this instant.
    let _ = pending.answer.send(answer);
}

/// The first acknowledgement says that the drain began, the second that the Node is gone, and a negative
/// count that the drain failed. A count of zero says that the Node is gone, whichever answer it is: a
/// restarted operator may well say twice that it began.
fn reclaim_ack(shard: &Arc<Shard>, cluster: &str, ack: &ReclaimAck) {
    let mut state = shard.lock();
    let Some(drain) = state.drains.get_mut(&ack.instruction_id) else {
        tracing::debug!(cluster, instruction = ack.instruction_id, "acknowledgement of no open drain");
        return;
    };
    if drain.job.action.cluster != cluster {
        tracing::warn!(cluster, instruction = ack.instruction_id, "acknowledged by another cluster; ignored");
        return;
    }
    drain.acks += 1;
    let failed = ack.nodes_started < 0;
    let gone = ack.nodes_started == 0 || drain.acks >= 2;
    if !failed && !gone {
        return;
    }
    let drain = state.drains.remove(&ack.instruction_id);
    drop(state);
    if let Some(drain) = drain {
        tokio::spawn(workers::end_drain(Arc::clone(shard), drain.job, failed));
    }
}
