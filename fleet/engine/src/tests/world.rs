//! A small world around the engine: actions take effect at once, or after a dwell.

use std::collections::{BTreeMap, BTreeSet};

use api::inventory::{CapacityType, Inventory as Seed, SeedMachine, SeedState};
use api::session::node_selector_requirement::Operator;
use api::session::topology_spread::WhenUnsatisfiable;
use api::session::{CapacityNeed, ClusterCapacityNeeds, NodeSelectorRequirement, TopologySpread};

use crate::{Change, Decisions, Inputs, Inventory, Kind, Memory, Need, Policy, State, need, step};

pub(super) fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// `count` machines named `<prefix>-<n>` of one shape; zones and racks rotate.
pub(super) fn machines(prefix: &str, count: usize, shape: &str, cpu: &str, zones: usize) -> Vec<SeedMachine> {
    (0..count)
        .map(|n| {
            let zone = format!("zone-{}", n % zones);
            let rack = format!("{zone}-rack-{}", n / zones % 2);
            SeedMachine {
                id: format!("{prefix}-{n:03}"),
                state: SeedState::Idle,
                cluster: None,
                instance_type: shape.into(),
                labels: BTreeMap::from([(api::names::RACK.to_owned(), rack)]),
                zone,
                allocatable: texts(&[("cpu", cpu), ("memory", "32Gi")]),
                capacity_type: CapacityType::BareMetal,
                price_per_hour: 0.0,
                interruption_probability: 0.0,
                assigned_priority: 0,
            }
        })
        .collect()
}

pub(super) fn configured_for(cluster: &str, mut seed: Vec<SeedMachine>) -> Vec<SeedMachine> {
    for m in &mut seed {
        m.state = SeedState::Configured;
        m.cluster = Some(cluster.into());
    }
    seed
}

/// Demand for `cpu` on a shape; every unit is one cpu.
pub(super) fn demand(shape: &str, cpu: &str) -> CapacityNeed {
    CapacityNeed {
        requirements: vec![NodeSelectorRequirement {
            key: api::names::INSTANCE_TYPE.into(),
            operator: Operator::In.into(),
            values: vec![shape.into()],
        }],
        aggregate_resources: texts(&[("cpu", cpu)]),
        min_unit: texts(&[("cpu", "1")]),
        ..Default::default()
    }
}

pub(super) fn same(mut wire: CapacityNeed, key: &str, group: &str) -> CapacityNeed {
    wire.requirements.push(NodeSelectorRequirement {
        key: key.into(),
        operator: Operator::Same.into(),
        values: vec![],
    });
    wire.group = group.into();
    wire
}

pub(super) fn spread(mut wire: CapacityNeed, max_skew: i32) -> CapacityNeed {
    wire.spread.push(TopologySpread {
        topology_key: api::names::ZONE.into(),
        max_skew,
        when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule.into(),
    });
    wire
}

pub(super) struct World {
    pub(super) inventory: Inventory,
    pub(super) needs: BTreeMap<String, Vec<Need>>,
    pub(super) policy: Policy,
    pub(super) memory: Memory,
    pub(super) now_s: u64,
}

impl World {
    pub(super) fn new(machines: Vec<SeedMachine>) -> Self {
        Self {
            inventory: Inventory::from_seed(&Seed { machines }).unwrap(),
            needs: BTreeMap::new(),
            policy: Policy::default(),
            memory: Memory::default(),
            now_s: 0,
        }
    }

    pub(super) fn rollup(&mut self, cluster: &str, needs: Vec<CapacityNeed>) {
        let wire = ClusterCapacityNeeds { cluster_id: cluster.into(), timestamp_unix_nanos: 1, needs };
        self.needs.insert(cluster.into(), need::from_rollup(cluster, &wire).unwrap());
    }

    /// One step, without executing anything.
    pub(super) fn decide(&mut self) -> Decisions {
        let needs: Vec<Need> = self.needs.values().flatten().cloned().collect();
        let reported: BTreeSet<String> = self.needs.keys().cloned().collect();
        step(
            Inputs {
                inventory: &self.inventory,
                needs: &needs,
                reported: &reported,
                now_s: self.now_s,
                policy: &self.policy,
            },
            &mut self.memory,
        )
    }

    /// One step whose actions all succeed at once.
    pub(super) fn cycle(&mut self) -> Decisions {
        self.now_s += 10;
        let decisions = self.decide();
        for action in &decisions.actions {
            self.inventory.begin(action).unwrap();
            let id = action.machine.as_ref();
            let free = Change::Free { now_s: self.now_s };
            let changes = match action.kind {
                Kind::Bootstrap => vec![Change::Configured],
                Kind::Provision => {
                    vec![free, Change::Bind(action.assignment.clone().unwrap()), Change::Configured]
                }
                Kind::Reclaim | Kind::Preempt => vec![free],
                Kind::Delete => vec![Change::Gone],
            };
            for change in changes {
                self.inventory.apply(id, change).unwrap();
            }
        }
        decisions
    }

    pub(super) fn ids(&self, cluster: &str, state: State) -> Vec<String> {
        self.inventory
            .iter()
            .filter(|m| m.state == state && m.cluster.as_deref() == Some(cluster))
            .map(|m| m.id.to_string())
            .collect()
    }

    pub(super) fn by_label(&self, cluster: &str, key: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for m in self.inventory.iter() {
            if m.state == State::Configured && m.cluster.as_deref() == Some(cluster) {
                *counts.entry(m.label(key).unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

pub(super) fn kinds(decisions: &Decisions) -> BTreeMap<Kind, usize> {
    let mut counts = BTreeMap::new();
    for a in &decisions.actions {
        *counts.entry(a.kind).or_default() += 1;
    }
    counts
}
