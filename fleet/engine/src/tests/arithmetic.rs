//! Demand to machines: the table in `fixtures/arithmetic.yaml` (the reference, 4.4).

use std::collections::BTreeMap;

use api::quantity::{self, Resources};
use api::session::CapacityNeed;
use serde::Deserialize;

use super::world::{World, demand, kinds, machines};
use crate::Kind;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/arithmetic.yaml");

type Quantities = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    machine: Quantities,
    needs: Vec<Vec<Pods>>,
    machines: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pods {
    pods: u64,
    requests: Quantities,
}

/// A Need of its own: priorities tell them apart.
fn need(priority: i32, pods: &[Pods]) -> CapacityNeed {
    let (mut sums, mut largest) = (Resources::new(), Resources::new());
    for p in pods {
        let unit: Resources = p.requests.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect();
        quantity::add(&mut sums, &unit.iter().map(|(k, v)| (k.clone(), *v * p.pods)).collect());
        quantity::raise(&mut largest, &unit);
    }
    let texts = |all: Resources| all.into_iter().map(|(name, amount)| (name, amount.to_string())).collect();
    let wire = demand("c", "0");
    CapacityNeed { aggregate_resources: texts(sums), min_unit: texts(largest), priority, ..wire }
}

#[test]
fn demand_takes_the_tabled_number_of_machines() {
    let table: Table = serde_saphyr::from_str(&std::fs::read_to_string(TABLE).unwrap()).unwrap();
    assert!(table.cases.len() >= 10);
    for case in table.cases {
        let mut seed = machines("idle", case.machines + 5, "c", "1", 1);
        seed.iter_mut().for_each(|m| m.allocatable = case.machine.clone());
        let mut world = World::new(seed);
        world.rollup("a", (0..).zip(&case.needs).map(|(priority, pods)| need(priority, pods)).collect());
        let decisions = world.cycle();
        assert_eq!(kinds(&decisions), [(Kind::Bootstrap, case.machines)].into(), "{}", case.name);
        assert_eq!(decisions.shortfalls().count(), 0, "{}", case.name);
        assert!(world.cycle().actions.is_empty(), "{}: steady demand needs no action", case.name);
    }
}
