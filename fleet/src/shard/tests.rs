//! A shard and a scripted operator over loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::inventory::{CapacityType, Inventory as Seed, SeedMachine, SeedState};
use api::session::node_selector_requirement::Operator;
use api::session::operator_message::Payload as Up;
use api::session::shard_client::ShardClient;
use api::session::shard_message::Payload as Down;
use api::session::{
    BootstrapResponse, CapacityNeed, ClusterCapacityNeeds, Hello, MachineState, NodeSelectorRequirement,
    OperatorMessage, ReclaimAck, ReclaimInstruction, ShardMessage,
};
use clap::Parser;
use component::poll::{Look, until};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;

use super::{Args, Audit, Inventory, Shard, serve};
use crate::shard::audit::Record;
use crate::shard::state::Actuation;
use fleet_engine::State;

/// So long that only a bug can reach it.
const CEILING: Duration = Duration::from_secs(20);

struct Running {
    shard: Arc<Shard>,
    url: String,
    audit: tempfile::NamedTempFile,
    _stop: DropGuard,
}

async fn start(machines: usize, flags: &[&str]) -> Running {
    let args = Args::parse_from(["shard", "--cycle-interval=20ms"].iter().chain(flags));
    let machines = (0..machines)
        .map(|n| SeedMachine {
            id: format!("idle-{n}"),
            state: SeedState::Idle,
            cluster: None,
            instance_type: "shape-a".into(),
            zone: "zone-a".into(),
            labels: BTreeMap::from([(api::names::RACK.to_owned(), "zone-a-rack-0".to_owned())]),
            allocatable: BTreeMap::from([("cpu".to_owned(), "16".to_owned())]),
            capacity_type: CapacityType::BareMetal,
            price_per_hour: 0.0,
            interruption_probability: 0.0,
            assigned_priority: 0,
        })
        .collect();
    let inventory = Inventory::from_seed(&Seed { machines }).unwrap();
    let audit = tempfile::NamedTempFile::new().unwrap();
    let log = Audit::open(Some(audit.path())).unwrap();
    let shard = Arc::new(Shard::new(args, 7, inventory, log));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(serve(Arc::clone(&shard), listener, stop.clone()));
    Running { shard, url, audit, _stop: stop.drop_guard() }
}

impl Running {
    async fn wait_for_state(&self, machine: &str, state: State) {
        until("a machine's state", Duration::from_millis(5), CEILING, || async {
            let seen = self.shard.lock().inventory.get(machine).map(|m| m.state);
            if seen == Some(state) { Look::Ready(()) } else { Look::NotYet(seen) }
        })
        .await
        .unwrap();
    }

    async fn wait_for_audit(&self, lines: usize) -> Vec<Record> {
        until("audit records", Duration::from_millis(5), CEILING, || async {
            let text = std::fs::read_to_string(self.audit.path()).unwrap();
            let records: Vec<Record> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            if records.len() >= lines { Look::Ready(records) } else { Look::NotYet(records) }
        })
        .await
        .unwrap()
    }
}

/// An operator that does what the test says.
struct Scripted {
    up: mpsc::UnboundedSender<OperatorMessage>,
    down: Streaming<ShardMessage>,
}

impl Scripted {
    async fn dial(running: &Running, first: Up) -> Result<Self, tonic::Status> {
        let mut client = ShardClient::connect(running.url.clone()).await.unwrap();
        let (up, frames) = mpsc::unbounded_channel();
        up.send(OperatorMessage { payload: Some(first) }).unwrap();
        let down = client.session(UnboundedReceiverStream::new(frames)).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn connect(running: &Running, cluster: &str) -> Self {
        let hello = Hello { cluster_id: cluster.into(), protocol_version: "v1alpha1".into() };
        let mut operator = Self::dial(running, Up::Hello(hello)).await.unwrap();
        let Down::Ack(ack) = operator.next().await else { panic!("the first frame must be an ack") };
        assert_eq!((ack.echo.as_str(), ack.shard_epoch), ("hello", 7));
        operator
    }

    fn send(&self, payload: Up) {
        self.up.send(OperatorMessage { payload: Some(payload) }).unwrap();
    }

    fn demand(&self, cpu: &str) {
        let need = CapacityNeed {
            requirements: vec![NodeSelectorRequirement {
                key: api::names::INSTANCE_TYPE.into(),
                operator: Operator::In.into(),
                values: vec!["shape-a".into()],
            }],
            aggregate_resources: BTreeMap::from([("cpu".to_owned(), cpu.to_owned())]),
            ..Default::default()
        };
        let needs = if cpu == "0" { vec![] } else { vec![need] };
        self.send(Up::Rollup(ClusterCapacityNeeds { needs, timestamp_unix_nanos: 1, ..Default::default() }));
    }

    fn ack(&self, instruction: &ReclaimInstruction, nodes_started: i32) {
        let instruction_id = instruction.instruction_id.clone();
        self.send(Up::ReclaimAck(ReclaimAck { instruction_id, nodes_started }));
    }

    async fn try_next(&mut self) -> Result<Option<Down>, tonic::Status> {
        let message = tokio::time::timeout(CEILING, self.down.message()).await.expect("no frame came");
        Ok(message?.map(|m| m.payload.unwrap()))
    }

    async fn next(&mut self) -> Down {
        self.try_next().await.unwrap().expect("the session ended")
    }

    async fn state(&mut self) -> (String, MachineState) {
        loop {
            match self.next().await {
                Down::NodeStateUpdate(update) => return (update.machine_id.clone(), update.state()),
                Down::Ack(_) => {}
                other => panic!("expected a state, got {other:?}"),
            }
        }
    }

    async fn instruction(&mut self) -> ReclaimInstruction {
        loop {
            match self.next().await {
                Down::ReclaimInstruction(instruction) => return instruction,
                Down::Ack(_) | Down::NodeStateUpdate(_) => {}
                other => panic!("expected an instruction, got {other:?}"),
            }
        }
    }

    /// Answers one bootstrap request; returns the machine once it is Configured.
    async fn bootstrap(&mut self) -> String {
        let (machine, state) = self.state().await;
        assert_eq!(state, MachineState::Configuring);
        let request = loop {
            match self.next().await {
                Down::BootstrapRequest(request) => break request,
                Down::Ack(_) => {}
                other => panic!("expected a bootstrap request, got {other:?}"),
            }
        };
        assert_eq!(request.request_id.len(), 16);
        assert_eq!(request.requirements[0].values, ["shape-a"]);
        self.send(Up::BootstrapResponse(BootstrapResponse {
            request_id: request.request_id,
            user_data: b"#cloud-config".to_vec(),
            ttl_seconds: 600,
            error: String::new(),
        }));
        assert_eq!(self.state().await, (machine.clone(), MachineState::Configured));
        machine
    }
}

#[tokio::test]
async fn a_machine_comes_and_goes() {
    let running = start(1, &[]).await;
    let mut operator = Scripted::connect(&running, "a").await;
    operator.demand("10");
    assert_eq!(operator.bootstrap().await, "idle-0");

    operator.demand("0");
    let instruction = operator.instruction().await;
    assert_eq!(instruction.nodes, ["idle-0"]);
    assert_eq!(instruction.grace_period_seconds, 600);
    assert_eq!(operator.state().await, ("idle-0".into(), MachineState::Draining));
    operator.ack(&instruction, 1);
    // Once this roll-up is acknowledged, so is what went before it.
    operator.demand("0");
    while !matches!(operator.next().await, Down::Ack(_)) {}
    assert_eq!(running.shard.lock().inventory.get("idle-0").unwrap().state, State::Draining);
    operator.ack(&instruction, 1);
    running.wait_for_state("idle-0", State::Idle).await;

    let records = running.wait_for_audit(2).await;
    let seen: Vec<_> = records.iter().map(|r| (r.kind.as_str(), r.outcome.as_str())).collect();
    assert_eq!(seen, [("Bootstrap", "success"), ("Reclaim", "success")]);
    assert_eq!(records[1].reason, "phase3.excess");
}

#[tokio::test]
async fn a_pause_ends_with_the_roll_up_after_it_was_lifted() {
    let running = start(1, &["--actuation-paused"]).await;
    let mut operator = Scripted::connect(&running, "a").await;
    operator.demand("1");
    while !matches!(operator.next().await, Down::Ack(_)) {}
    let cycle = running.shard.lock().cycle;
    until("more cycles", Duration::from_millis(5), CEILING, || async {
        let now = running.shard.lock().cycle;
        if now > cycle + 3 { Look::Ready(()) } else { Look::NotYet(now) }
    })
    .await
    .unwrap();
    running.shard.lock().set_actuation(Actuation::ResumesWithRollup);
    assert_eq!(running.shard.lock().inventory.get("idle-0").unwrap().state, State::Idle);
    operator.demand("1");
    assert_eq!(operator.bootstrap().await, "idle-0");
}

#[tokio::test]
async fn a_new_session_replaces_the_old_and_hears_all_of_it() {
    let running = start(1, &[]).await;
    let mut old = Scripted::connect(&running, "a").await;
    old.demand("1");
    old.bootstrap().await;
    old.demand("0");
    let instruction = old.instruction().await;
    old.ack(&instruction, 1);

    let mut new = Scripted::connect(&running, "a").await;
    while let Ok(Some(_)) = old.try_next().await {}
    assert_eq!(new.state().await, ("idle-0".into(), MachineState::Draining));
    assert_eq!(new.instruction().await, instruction, "the same id again");
    assert_eq!(running.shard.lock().sessions.len(), 1);
    new.ack(&instruction, 1);
    new.ack(&instruction, 0);
    running.wait_for_state("idle-0", State::Idle).await;
}

#[tokio::test]
async fn a_failed_drain_takes_the_machine_out_and_another_follows() {
    let running = start(2, &[]).await;
    let mut operator = Scripted::connect(&running, "a").await;
    operator.demand("1");
    operator.bootstrap().await;
    operator.demand("0");
    let instruction = operator.instruction().await;
    operator.state().await;
    operator.ack(&instruction, 1);
    operator.ack(&instruction, -1);
    assert_eq!(operator.state().await, ("idle-0".into(), MachineState::Failed));
    operator.demand("1");
    assert_eq!(operator.bootstrap().await, "idle-1");
}

#[tokio::test]
async fn without_waiting_the_machine_is_free_at_once() {
    let running = start(1, &["--wait-for-eviction=false"]).await;
    let mut operator = Scripted::connect(&running, "a").await;
    operator.demand("1");
    operator.bootstrap().await;
    operator.demand("0");
    operator.instruction().await;
    assert_eq!(operator.state().await.1, MachineState::Draining);
    assert_eq!(operator.state().await.1, MachineState::Idle);
}

#[tokio::test]
async fn a_lost_session_takes_bootstraps_back() {
    let running = start(1, &[]).await;
    let mut operator = Scripted::connect(&running, "a").await;
    operator.demand("1");
    assert_eq!(operator.state().await.1, MachineState::Configuring);
    drop(operator);
    let records = running.wait_for_audit(1).await;
    assert_eq!((records[0].kind.as_str(), records[0].outcome.as_str()), ("Bootstrap", "no_session"));
}

#[tokio::test]
async fn a_bad_blob_fails_the_machine() {
    let running = start(1, &[]).await;
    let mut operator = Scripted::connect(&running, "a").await;
    operator.demand("1");
    operator.state().await;
    let request = loop {
        if let Down::BootstrapRequest(request) = operator.next().await {
            break request;
        }
    };
    let error = "no such field".to_owned();
    operator.send(Up::BootstrapResponse(BootstrapResponse {
        request_id: request.request_id,
        error,
        ..Default::default()
    }));
    assert_eq!(operator.state().await.1, MachineState::Failed);
}

#[tokio::test]
async fn the_first_frame_must_be_hello() {
    let running = start(0, &[]).await;
    for first in [Up::ReclaimAck(ReclaimAck::default()), Up::Hello(Hello::default())] {
        let refused = match Scripted::dial(&running, first).await {
            Err(status) => status,
            Ok(mut operator) => operator.try_next().await.unwrap_err(),
        };
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_bad_rollup_leaves_the_demand_as_it_was() {
    let running = start(1, &[]).await;
    let operator = Scripted::connect(&running, "a").await;
    operator.demand("lots");
    let mut operator = operator;
    operator.demand("1");
    let Down::Ack(ack) = operator.next().await else { panic!("an ack must come first") };
    assert_eq!(ack.echo, "rollup");
    assert_eq!(operator.bootstrap().await, "idle-0", "and no second ack before it");
    let needs = ClusterCapacityNeeds {
        needs: vec![CapacityNeed { interruption_penalty_bucket: 28, ..Default::default() }],
        ..Default::default()
    };
    assert!(running.shard.accept_rollup("a", &needs).unwrap_err().to_string().contains("28"));
    assert_eq!(running.shard.lock().demand["a"].needs.len(), 1);
}
