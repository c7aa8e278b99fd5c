//! The session with the shard: dial, say Hello, exchange frames, dial again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::names;
use api::session::operator_message::Payload;
use api::session::shard_client::ShardClient;
use api::session::shard_message::Payload as Inbound;
use api::session::{BootstrapRequest, BootstrapResponse, Hello, OperatorMessage};
use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Endpoint;

use crate::operator::drain::Drains;
use crate::operator::keeper::Keeper;
use crate::operator::link::Link;

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Upstream raised gRPC's 4 MiB on both sides: a roll-up of 250,000 requests broke it.
const MAX_FRAME_BYTES: usize = 256 << 20;
/// How long a bootstrap blob is good for, in seconds; upstream's.
const BLOB_TTL_SECONDS: i64 = 600;

/// One operator's side of the session.
pub struct Session {
    /// The cluster.
    pub cluster_id: String,
    /// Where the shard listens.
    pub shard: SocketAddr,
    /// Where other parts put their frames.
    pub link: Arc<Link>,
    /// Takes the machines' states.
    pub keeper: Arc<Keeper>,
    /// Takes the instructions.
    pub drains: Arc<Drains>,
}

impl Session {
    /// Keeps a session up for ever.
    pub async fn run(self) {
        let mut delay = FIRST_DELAY;
        loop {
            let before = self.link.session();
            let error = self.once(&mut delay).await.err();
            self.link.close();
            gauge!("bigfleet_operator_session_up").set(0.0);
            counter!("bigfleet_operator_session_reconnects_total").increment(1);
            let error = error.map(|error| format!("{error:#}"));
            tracing::warn!(?before, error, delay_ms = delay.as_millis() as u64, "no session; dialling again");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    /// One session, until it breaks. Resets the delay once it is up.
    async fn once(&self, delay: &mut Duration) -> anyhow::Result<()> {
        let channel = Endpoint::from_shared(format!("http://{}", self.shard))
            .context("the shard's address")?
            .connect_timeout(CONNECT_TIMEOUT)
            .connect()
            .await
            .with_context(|| format!("dialling the shard at {}; is it running?", self.shard))?;
        let mut client = ShardClient::new(channel)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        let (frames, stream) = mpsc::channel(1);
        let hello = Hello {
            cluster_id: self.cluster_id.clone(),
            protocol_version: names::PROTOCOL_VERSION.to_owned(),
        };
        frames.send(message(Payload::Hello(hello))).await.context("the stream ended before Hello")?;
        let mut inbound =
            client.session(ReceiverStream::new(stream)).await.context("opening the session")?.into_inner();
        *delay = FIRST_DELAY;
        gauge!("bigfleet_operator_session_up").set(1.0);
        let mut outgoing = self.link.open();
        tracing::info!(shard = %self.shard, session = outgoing.session, "session is up");
        // Sending has a task of its own: a shard slow to read must not keep us from reading.
        let _sender = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(frame) = outgoing.next().await {
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
        }));
        while let Some(frame) = inbound.message().await.context("reading from the shard")? {
            if let Some(payload) = frame.payload {
                self.receive(payload);
            }
        }
        Ok(())
    }

    fn receive(&self, payload: Inbound) {
        match payload {
            Inbound::Ack(ack) => tracing::debug!(ack.echo, ack.shard_epoch, "ack"),
            Inbound::BootstrapRequest(request) => {
                self.link.send(Payload::BootstrapResponse(bootstrap(&self.cluster_id, request)));
            }
            Inbound::ReclaimInstruction(instruction) => {
                tracing::info!(
                    instruction = instruction.instruction_id,
                    nodes = ?instruction.nodes,
                    grace_seconds = instruction.grace_period_seconds,
                    "reclaim"
                );
                self.drains.instructed(instruction);
            }
            Inbound::NodeStateUpdate(frame) => self.keeper.frame(frame),
            // Only a hint; nothing of ours reads it.
            Inbound::AvailableCapacity(_) => {
                counter!("bigfleet_operator_available_capacity_frames_total").increment(1);
            }
        }
    }
}

/// The stub blob: there is no machine to boot.
fn bootstrap(cluster_id: &str, request: BootstrapRequest) -> BootstrapResponse {
    BootstrapResponse {
        request_id: request.request_id,
        user_data: format!("#cloud-config\n# joins cluster {cluster_id}\n").into_bytes(),
        ttl_seconds: BLOB_TTL_SECONDS,
        error: String::new(),
    }
}

fn message(payload: Payload) -> OperatorMessage {
    OperatorMessage { payload: Some(payload) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_answers_its_request() {
        let request = BootstrapRequest { request_id: "0f".into(), ..BootstrapRequest::default() };
        let response = bootstrap("kwok-cluster-1", request);
        assert_eq!((response.request_id.as_str(), response.ttl_seconds), ("0f", 600));
        assert!(String::from_utf8(response.user_data).unwrap().contains("kwok-cluster-1"));
        assert!(response.error.is_empty());
    }
}
