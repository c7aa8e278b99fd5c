//! A machine's way through the shard, as an operator sees it on the wire.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use api::session::operator_message::Payload;
use api::session::shard_client::ShardClient;
use api::session::shard_message::Payload as Answer;
use api::session::{
    CapacityNeed, ClusterCapacityNeeds, Hello, MachineState, OperatorMessage, ReclaimAck, ShardMessage,
};
use component::ready::Ready;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

/// Only a bug takes so long.
const CEILING: Duration = Duration::from_secs(30);

/// A shard with one machine.
struct Shard(Child);

impl Drop for Shard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Shard {
    fn start(dir: &Path) -> Self {
        let machine = serde_json::json!({
            "id": "m", "state": "Idle", "instanceType": "t", "zone": "z", "labels": {"rack": "r"},
            "allocatable": {"cpu": "10"}, "capacityType": "OnDemand",
        });
        let inventory: PathBuf = dir.join("inventory.json");
        std::fs::write(&inventory, serde_json::json!({"machines": [machine]}).to_string()).unwrap();
        let mut shard = Command::new(env!("CARGO_BIN_EXE_stub-shard"));
        shard.arg(format!("--inventory={}", inventory.display())).arg("--ready-file").arg(dir.join("ready"));
        Self(shard.spawn().unwrap())
    }

    async fn grpc_address(dir: &Path) -> String {
        let path = dir.join("ready");
        let written = async {
            while !path.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(CEILING, written).await.unwrap();
        let ready: Ready = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        format!("http://{}", ready.addresses["grpc"])
    }
}

/// The operator's end of a session.
struct Operator {
    frames: mpsc::UnboundedSender<OperatorMessage>,
    answers: Streaming<ShardMessage>,
}

impl Operator {
    async fn dial(address: String) -> Self {
        let (frames, outbound) = mpsc::unbounded_channel();
        let hello = Hello { cluster_id: "c".into(), protocol_version: "v1alpha1".into() };
        frames.send(OperatorMessage { payload: Some(Payload::Hello(hello)) }).unwrap();
        let mut shard = ShardClient::connect(address).await.unwrap();
        let answers = shard.session(UnboundedReceiverStream::new(outbound)).await.unwrap().into_inner();
        Self { frames, answers }
    }

    fn say(&self, payload: Payload) {
        self.frames.send(OperatorMessage { payload: Some(payload) }).unwrap();
    }

    fn need_cpus(&self, cpus: &str) {
        let amounts = |text: &str| [("cpu".to_owned(), text.to_owned())].into();
        let need = CapacityNeed {
            aggregate_resources: amounts(cpus),
            min_unit: amounts("1"),
            ..CapacityNeed::default()
        };
        let needs = if cpus == "0" { Vec::new() } else { vec![need] };
        self.say(Payload::Rollup(ClusterCapacityNeeds {
            cluster_id: "c".into(),
            needs,
            ..Default::default()
        }));
    }

    /// The next answer that is no mere acknowledgement.
    async fn hear(&mut self) -> Answer {
        loop {
            let answer =
                tokio::time::timeout(CEILING, self.answers.message()).await.expect("the shard is silent");
            match answer.unwrap().unwrap().payload.unwrap() {
                Answer::Ack(_) => {}
                answer => return answer,
            }
        }
    }

    async fn expect_state(&mut self, state: MachineState) {
        let Answer::NodeStateUpdate(update) = self.hear().await else { panic!("no state") };
        assert_eq!(update.state(), state);
        assert_eq!((update.node_name.as_str(), update.cluster_id.as_str()), ("m", "c"));
        let amounts: Vec<_> = update.amounts().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!((update.labels["rack"].as_str(), amounts.as_slice()), ("r", [("cpu", "10")].as_slice()));
    }
}

#[tokio::test]
async fn a_machine_comes_goes_and_comes_again_only_when_its_node_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let _shard = Shard::start(dir.path());
    let mut operator = Operator::dial(Shard::grpc_address(dir.path()).await).await;
    operator.need_cpus("4");
    operator.expect_state(MachineState::Configuring).await;
    operator.expect_state(MachineState::Configured).await;

    operator.need_cpus("0");
    let Answer::ReclaimInstruction(instruction) = operator.hear().await else { panic!("no instruction") };
    assert_eq!(instruction.nodes, ["m"]);
    // Needed again meanwhile: there is no other machine, and this one is not free yet.
    operator.need_cpus("4");
    let acknowledge = || ReclaimAck { instruction_id: instruction.instruction_id.clone(), nodes_started: 1 };
    operator.say(Payload::ReclaimAck(acknowledge()));
    let early = tokio::time::timeout(Duration::from_millis(500), operator.hear()).await;
    assert!(early.is_err(), "the Node is not gone yet: {early:?}");
    operator.say(Payload::ReclaimAck(acknowledge()));
    operator.expect_state(MachineState::Configuring).await;
    operator.expect_state(MachineState::Configured).await;
}
