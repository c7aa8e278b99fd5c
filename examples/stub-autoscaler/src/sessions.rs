//! The shard's sessions with operators, one per cluster, and the frames that it sends.

use std::sync::Arc;

use anyhow::Context;
use api::session::operator_message::Payload;
use api::session::shard_message::Payload as Answer;
use api::session::shard_server::{Shard as ShardService, ShardServer};
use api::session::{Ack, MachineState, NodeStateUpdate, OperatorMessage, ShardMessage};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::MAX_FRAME_BYTES;
use crate::decide::{Machine, State};
use crate::shard::{Known, Shard};

/// The way to an operator.
pub(crate) type Session = mpsc::UnboundedSender<Result<ShardMessage, Status>>;

/// Serves sessions for ever.
pub(crate) async fn serve(shard: Arc<Shard>, listener: TcpListener) -> anyhow::Result<()> {
    let service = ShardServer::new(Service(shard))
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES);
    let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(service);
    server.serve_with_incoming(TcpListenerStream::new(listener)).await.context("serving sessions")
}

struct Service(Arc<Shard>);

#[tonic::async_trait]
impl ShardService for Service {
    type SessionStream = UnboundedReceiverStream<Result<ShardMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<OperatorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let cluster = match inbound.message().await?.and_then(|message| message.payload) {
            Some(Payload::Hello(hello)) if !hello.cluster_id.is_empty() => hello.cluster_id,
            _ => return Err(Status::invalid_argument("the first frame must be Hello with a cluster_id")),
        };
        let (session, outbound) = mpsc::unbounded_channel();
        self.0.greet(&cluster, session);
        let shard = self.0.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                match message.payload {
                    Some(Payload::Rollup(rollup)) => shard.rolled_up(&cluster, &rollup),
                    Some(Payload::ReclaimAck(ack)) => shard.acknowledged(&ack),
                    // Nothing was asked for: there is no machine to boot.
                    Some(Payload::Hello(_) | Payload::BootstrapResponse(_)) | None => {}
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(outbound)))
    }
}

impl Known {
    /// Sends a frame to a cluster's operator.
    pub(crate) fn send(&self, cluster: &str, answer: Answer) {
        if let Some(session) = self.sessions.get(cluster) {
            let _ = session.send(Ok(ShardMessage { payload: Some(answer) }));
        }
    }
}

pub(crate) fn ack(echo: &str) -> Answer {
    Answer::Ack(Ack { echo: echo.to_owned(), coordinator_term: 0, shard_epoch: 1 })
}

pub(crate) fn node_state_update(machine: &Machine) -> Answer {
    let state = match machine.state {
        State::Speculative => MachineState::Speculative,
        State::Creating => MachineState::Creating,
        State::Idle => MachineState::Idle,
        State::Configuring => MachineState::Configuring,
        State::Configured => MachineState::Configured,
        State::Draining => MachineState::Draining,
    };
    Answer::NodeStateUpdate(NodeStateUpdate {
        supersedes_key: format!("node:{}", machine.id),
        machine_id: machine.id.clone(),
        cluster_id: machine.cluster.clone().unwrap_or_default(),
        state: state.into(),
        node_name: machine.id.clone(),
        provider_id: machine.id.clone(),
        last_error: String::new(),
        labels: machine.labels.clone(),
        resources: Some(machine.resources.clone().into()),
        taints: Vec::new(),
    })
}
