//! The session's bytes, encoded by hand from the field table (name, number, type): both ends are generated
//! from one file, so only bytes from elsewhere can tell that it is right.

use std::collections::BTreeMap;

use api::session::node_selector_requirement::Operator;
use api::session::operator_message::Payload as Up;
use api::session::shard_message::Payload as Down;
use api::session::topology_spread::WhenUnsatisfiable;
use api::session::*;
use prost::Message;

/// A varint, by the protobuf encoding guide.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Field of wire type 0.
fn int(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

/// Field of wire type 2.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

fn entry(field: u64, key: &str, value: &str) -> Vec<u8> {
    bytes(field, &[text(1, key), text(2, value)].concat())
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[track_caller]
fn same_up(payload: Up, expected: &[u8]) {
    let message = OperatorMessage { payload: Some(payload) };
    assert_eq!(message.encode_to_vec(), expected);
    assert_eq!(OperatorMessage::decode(expected).unwrap(), message);
}

#[track_caller]
fn same_down(payload: Down, expected: &[u8]) {
    let message = ShardMessage { payload: Some(payload) };
    assert_eq!(message.encode_to_vec(), expected);
    assert_eq!(ShardMessage::decode(expected).unwrap(), message);
}

#[test]
fn hello_is_these_very_bytes() {
    let hello = Hello { cluster_id: "c0".into(), protocol_version: "v1alpha1".into() };
    same_up(Up::Hello(hello), b"\x0a\x0e\x0a\x02c0\x1a\x08v1alpha1");
}

#[test]
fn reclaim_ack_is_these_very_bytes() {
    let ack = |nodes_started| ReclaimAck { instruction_id: "i".into(), nodes_started };
    same_up(Up::ReclaimAck(ack(1)), b"\x22\x05\x0a\x01i\x10\x01");
    // A negative int32 takes ten bytes.
    same_up(Up::ReclaimAck(ack(-1)), b"\x22\x0e\x0a\x01i\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

#[test]
fn rollup() {
    let need = CapacityNeed {
        requirements: vec![NodeSelectorRequirement {
            key: "k".into(),
            operator: Operator::Same.into(),
            values: vec!["v".into(), "w".into()],
        }],
        aggregate_resources: texts(&[("cpu", "12"), ("memory", "4Gi")]),
        priority: 1000,
        spread: vec![TopologySpread {
            topology_key: "zone".into(),
            max_skew: 2,
            when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule.into(),
        }],
        interruption_penalty_bucket: PenaltyBucket::UpTo32.into(),
        reclamation_penalty_bucket: PenaltyBucket::Pinned.into(),
        min_unit: texts(&[("cpu", "250m")]),
        group: "g".into(),
    };
    let row = [
        bytes(1, &[text(1, "k"), int(2, 5), text(3, "v"), text(3, "w")].concat()),
        entry(2, "cpu", "12"),
        entry(2, "memory", "4Gi"),
        int(3, 1000),
        bytes(5, &[text(1, "zone"), int(2, 2), int(3, 1)].concat()),
        int(6, 8),
        int(7, 27),
        entry(8, "cpu", "250m"),
        text(9, "g"),
    ];
    let rollup = [text(1, "c0"), int(2, 1_700_000_000_000_000_000), bytes(3, &row.concat())];
    let message = ClusterCapacityNeeds {
        cluster_id: "c0".into(),
        timestamp_unix_nanos: 1_700_000_000_000_000_000,
        needs: vec![need],
    };
    same_up(Up::Rollup(message), &bytes(2, &rollup.concat()));
}

#[test]
fn bootstrap_response() {
    let response = BootstrapResponse {
        request_id: "r".into(),
        user_data: vec![0, 255],
        ttl_seconds: 600,
        error: "e".into(),
    };
    let fields = [text(1, "r"), bytes(2, &[0, 255]), int(3, 600), text(4, "e")];
    same_up(Up::BootstrapResponse(response), &bytes(3, &fields.concat()));
}

#[test]
fn ack() {
    let ack = Ack { echo: "rollup".into(), coordinator_term: 3, shard_epoch: 300 };
    same_down(Down::Ack(ack), &bytes(1, &[text(1, "rollup"), int(2, 3), int(3, 300)].concat()));
}

#[test]
fn bootstrap_request() {
    let request = BootstrapRequest {
        request_id: "0123456789abcdef".into(),
        requirements: vec![NodeSelectorRequirement {
            key: "k".into(),
            operator: Operator::NotIn.into(),
            values: vec!["v".into()],
        }],
        cluster_id: "c0".into(),
    };
    let requirement = [text(1, "k"), int(2, 2), text(3, "v")].concat();
    let fields = [text(1, "0123456789abcdef"), bytes(2, &requirement), text(3, "c0")];
    same_down(Down::BootstrapRequest(request), &bytes(2, &fields.concat()));
}

#[test]
fn reclaim_instruction() {
    let instruction = ReclaimInstruction {
        instruction_id: "i".into(),
        nodes: vec!["m0".into(), "m1".into()],
        grace_period_seconds: 600,
        preemptor_priority: 9,
    };
    let fields = [text(1, "i"), text(2, "m0"), text(2, "m1"), int(3, 600), int(4, 9)];
    same_down(Down::ReclaimInstruction(instruction), &bytes(3, &fields.concat()));
}

#[test]
fn node_state_update() {
    let update = NodeStateUpdate {
        supersedes_key: "node:m0".into(),
        machine_id: "m0".into(),
        cluster_id: "c0".into(),
        state: MachineState::Configured.into(),
        node_name: "m0".into(),
        provider_id: "p0".into(),
        last_error: "e".into(),
        labels: texts(&[("a", "b")]),
        resources: Some(texts(&[("cpu", "16"), ("memory", "64Gi")]).into()),
        taints: vec![],
    };
    let fields = [
        text(1, "node:m0"),
        text(2, "m0"),
        text(3, "c0"),
        int(4, 5),
        text(5, "m0"),
        text(6, "p0"),
        text(8, "e"),
        entry(9, "a", "b"),
        // A message whose field 1 is the map, not the map itself.
        bytes(10, &[entry(1, "cpu", "16"), entry(1, "memory", "64Gi")].concat()),
    ];
    same_down(Down::NodeStateUpdate(update), &bytes(4, &fields.concat()));
}

#[test]
fn available_capacity() {
    let available = AvailableCapacity {
        supersedes_key: "available:f".into(),
        requirements: vec![],
        resources: Some(texts(&[("cpu", "1")]).into()),
        available_count: 7,
        confidence: api::session::available_capacity::Confidence::High.into(),
        cost_per_hour: 1.5,
    };
    // A double is wire type 1: eight bytes, little endian.
    let cost = [varint(6 << 3 | 1), 1.5f64.to_le_bytes().to_vec()].concat();
    let fields = [text(1, "available:f"), bytes(3, &entry(1, "cpu", "1")), int(4, 7), int(5, 4), cost];
    same_down(Down::AvailableCapacity(available), &bytes(5, &fields.concat()));
}

#[test]
fn machine_states_have_their_numbers() {
    let names = [
        "MACHINE_STATE_UNSPECIFIED",
        "SPECULATIVE",
        "CREATING",
        "IDLE",
        "CONFIGURING",
        "CONFIGURED",
        "DRAINING",
        "DELETING",
        "FAILED",
    ];
    for (number, name) in names.into_iter().enumerate() {
        assert_eq!(MachineState::try_from(number as i32).unwrap().as_str_name(), name);
    }
}
