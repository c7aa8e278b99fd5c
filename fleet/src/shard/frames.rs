//! Frames that the shard sends.

use api::session::node_selector_requirement::Operator as WireOperator;
use api::session::shard_message::Payload;
use api::session::{
    Ack, BootstrapRequest, MachineState, NodeSelectorRequirement, NodeStateUpdate, ReclaimInstruction,
    ShardMessage,
};

use fleet_engine::need::Operator;
use fleet_engine::{Action, Machine, Requirement, State};

fn frame(payload: Payload) -> ShardMessage {
    ShardMessage { payload: Some(payload) }
}

/// Answers `hello` or `rollup`.
pub(crate) fn ack(echo: &str, shard_epoch: u64) -> ShardMessage {
    let shard_epoch = i64::try_from(shard_epoch).unwrap_or(i64::MAX);
    frame(Payload::Ack(Ack { echo: echo.to_owned(), coordinator_term: 0, shard_epoch }))
}

/// How a machine stands. The Node's name is the machine's id.
pub(crate) fn node_state_update(cluster: &str, machine: &Machine) -> ShardMessage {
    let mut labels = machine.labels.clone();
    labels.insert(api::names::INSTANCE_TYPE.to_owned(), machine.instance_type.clone());
    labels.insert(api::names::ZONE.to_owned(), machine.zone.clone());
    frame(Payload::NodeStateUpdate(NodeStateUpdate {
        supersedes_key: format!("node:{}", machine.id),
        machine_id: machine.id.to_string(),
        cluster_id: cluster.to_owned(),
        state: wire_state(machine.state).into(),
        node_name: machine.id.to_string(),
        provider_id: machine.id.to_string(),
        last_error: machine.last_error.clone(),
        labels,
        resources: Some(machine.allocatable.to_texts().into()),
        taints: Vec::new(),
    }))
}

/// Asks for the blob that makes a machine join the cluster.
pub(crate) fn bootstrap_request(request_id: &str, action: &Action) -> ShardMessage {
    frame(Payload::BootstrapRequest(BootstrapRequest {
        request_id: request_id.to_owned(),
        requirements: action.requirements.iter().map(wire_requirement).collect(),
        cluster_id: action.cluster.clone(),
    }))
}

/// Tells the operator to empty a Node.
pub(crate) fn reclaim_instruction(instruction_id: &str, action: &Action) -> ShardMessage {
    frame(Payload::ReclaimInstruction(ReclaimInstruction {
        instruction_id: instruction_id.to_owned(),
        nodes: vec![action.machine.to_string()],
        grace_period_seconds: i64::from(action.grace_s),
        preemptor_priority: action.preemptor_priority,
    }))
}

fn wire_requirement(requirement: &Requirement) -> NodeSelectorRequirement {
    let operator = match requirement.operator {
        Operator::In => WireOperator::In,
        Operator::NotIn => WireOperator::NotIn,
        Operator::Exists => WireOperator::Exists,
        Operator::DoesNotExist => WireOperator::DoesNotExist,
        Operator::Same => WireOperator::Same,
    };
    NodeSelectorRequirement {
        key: requirement.key.clone(),
        operator: operator.into(),
        values: requirement.values.clone(),
    }
}

fn wire_state(state: State) -> MachineState {
    match state {
        State::Speculative => MachineState::Speculative,
        State::Creating => MachineState::Creating,
        State::Idle => MachineState::Idle,
        State::Configuring => MachineState::Configuring,
        State::Configured => MachineState::Configured,
        State::Draining => MachineState::Draining,
        State::Deleting => MachineState::Deleting,
        State::Failed => MachineState::Failed,
    }
}
