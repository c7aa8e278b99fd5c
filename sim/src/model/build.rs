//! From a setup to a fleet at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use api::session::node_selector_requirement::Operator;
use api::session::topology_spread::WhenUnsatisfiable;
use api::session::{CapacityNeed, ClusterCapacityNeeds, NodeSelectorRequirement, TopologySpread};
use fleet_engine::rails::RollupGuard;
use fleet_engine::{Memory, Need, Policy, State, need};
use harness_model::plan::rng;
use rand::RngExt;

use super::demand::Row;
use super::machines::Machines;
use super::workload::Workload;
use super::{Clock, Cluster, Error, Simulation};
use crate::counters::Counters;
use crate::setup::{Attribution, ClusterSetup, Packing, Setup, Switches, WorkloadSetup};

impl Simulation {
    /// A fleet before its first cycle.
    ///
    /// # Errors
    /// [`Error`]: machines or demand that the engine would refuse.
    pub fn new(setup: Setup) -> Result<Self, Error> {
        let names = setup.clusters.iter().flat_map(|c| &c.workloads).flat_map(|w| w.requests.keys());
        let names: BTreeSet<&String> = names.collect();
        let machines = Machines::new(&setup.inventory, names.into_iter().cloned().collect())?;
        let mut sim = Self {
            policy: policy(&setup.switches),
            clock: clock(&setup),
            rng: rng(setup.seed, "sim"),
            cluster_by_name: setup.clusters.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect(),
            switches: setup.switches,
            failure_rate: setup.failure_rate,
            events: BTreeMap::new(),
            machines,
            clusters: Vec::new(),
            workloads: Vec::new(),
            operations: BTreeMap::new(),
            leaving: Vec::new(),
            terminating: Vec::new(),
            owed: Vec::new(),
            memory: Memory::default(),
            reported: BTreeSet::new(),
            needs: Vec::new(),
            now: Counters::default(),
        };
        for event in setup.events {
            sim.events.entry(event.cycle).or_default().push(event);
        }
        let mut suited = BTreeMap::new();
        for cluster in &setup.clusters {
            sim.add_cluster(cluster, setup.churn_per_minute, &mut suited)?;
        }
        sim.adopt_configured()?;
        if sim.switches.pre_bind {
            // As load-driver does it, whatever the scheduler would do.
            let packing = std::mem::replace(&mut sim.switches.packing, Packing::Emptiest);
            sim.bind_pending();
            sim.switches.packing = packing;
        }
        Ok(sim)
    }

    fn add_cluster(
        &mut self,
        setup: &ClusterSetup,
        churn_per_minute: f64,
        suited: &mut BTreeMap<String, Rc<Vec<bool>>>,
    ) -> Result<(), Error> {
        let cluster = self.clusters.len();
        let first = self.workloads.len();
        let mut rows: Vec<Row> = Vec::new();
        let mut row_of = BTreeMap::new();
        for w in &setup.workloads {
            let template = template(&setup.name, w)?;
            // What decides on suitability, in one text: gangs and clusters share the answer.
            let looks = format!("{:?} {:?}", template.profile.requirements, template.min_unit);
            let suited = suited.entry(looks).or_insert_with(|| Rc::new(self.machines.suited(&template)));
            let minutes = self.clock.interval_ms as f64 / 60_000.0;
            let aged =
                w.lifetime.map_or(0.0, |life| self.clock.interval_ms as f64 / 1000.0 / life.as_seconds());
            self.workloads.push(Workload {
                name: w.name.clone(),
                cluster,
                unit: self.machines.amounts(&template.min_unit),
                unit_resources: template.min_unit.clone(),
                suited: Rc::clone(suited),
                gang: w.gang.clone(),
                spread: w.spread.clone(),
                target: w.replicas,
                pending: w.replicas,
                on: BTreeMap::new(),
                bound: 0,
                leaving: 0,
                terminating: 0,
                churn_per_cycle: (churn_per_minute * minutes + aged).min(1.0),
                // Else small workloads of all clusters would lose their Pods in the same cycle.
                churn_owed: self.rng.random_range(0.0..1.0),
            });
            let row = *row_of.entry(template.key.clone()).or_insert(rows.len());
            let member = self.workloads.len() - 1;
            match rows.get_mut(row) {
                Some(row) => row.members.push(member),
                None => rows.push(Row { template, members: vec![member] }),
            }
        }
        let workloads = first..self.workloads.len();
        let mut bind_order: Vec<usize> = workloads.clone().collect();
        bind_order.sort_by_key(|&w| {
            let (gang, spread) = (&self.workloads[w].gang, &self.workloads[w].spread);
            let class = if gang.is_some() { 0 } else { 1 + u8::from(spread.is_none()) };
            (class, std::cmp::Reverse(setup.workloads[w - first].priority))
        });
        self.clusters.push(Cluster {
            name: setup.name.clone(),
            machines: BTreeSet::new(),
            workloads,
            bind_order,
            rows,
            guard: RollupGuard::default(),
            accepted: Vec::new(),
            accepted_pods: Vec::new(),
            blind_until: 0,
        });
        Ok(())
    }

    fn adopt_configured(&mut self) -> Result<(), Error> {
        for machine in self.machines.inventory.iter().filter(|m| m.state == State::Configured) {
            let name = machine.cluster.clone().unwrap_or_default();
            let Some(&cluster) = self.cluster_by_name.get(&name) else {
                return Err(Error::NoSuchCluster { machine: machine.id.to_string(), cluster: name });
            };
            self.clusters[cluster].machines.extend(self.machines.index(&machine.id));
        }
        Ok(())
    }
}

fn policy(switches: &Switches) -> Policy {
    Policy {
        reclaim_cap_fraction: switches.reclaim_cap_fraction,
        gang_folding: switches.gang_folding,
        attribution: match switches.attribution {
            Attribution::Single => fleet_engine::Attribution::Single,
            Attribution::TwoWalk => fleet_engine::Attribution::TwoWalk,
        },
        ..Policy::default()
    }
}

fn clock(setup: &Setup) -> Clock {
    let ms = |span: harness_model::profile::Span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
    Clock {
        now_ms: 0,
        interval_ms: ms(setup.cycle_interval),
        create_ms: ms(setup.latency.create),
        configure_ms: ms(setup.latency.configure),
        drain_ms: ms(setup.latency.drain),
        eviction_ms: ms(setup.latency.eviction),
        termination_ms: ms(setup.latency.termination),
        top_up_ms: ms(setup.latency.top_up),
    }
}

/// The Need of one Pod, made by the fleet's own reading of a roll-up.
fn template(cluster: &str, w: &WorkloadSetup) -> Result<Need, Error> {
    let any_of = |key: &str, values: &[String]| NodeSelectorRequirement {
        key: key.to_owned(),
        operator: Operator::In.into(),
        values: values.to_vec(),
    };
    let mut requirements = Vec::new();
    if !w.instance_types.is_empty() {
        requirements.push(any_of(api::names::INSTANCE_TYPE, &w.instance_types));
    }
    if !w.zones.is_empty() {
        requirements.push(any_of(api::names::ZONE, &w.zones));
    }
    requirements.extend(w.gang.iter().map(|gang| NodeSelectorRequirement {
        key: gang.topology_key.clone(),
        operator: Operator::Same.into(),
        values: Vec::new(),
    }));
    let wire = CapacityNeed {
        requirements,
        aggregate_resources: w.requests.clone(),
        min_unit: w.requests.clone(),
        priority: w.priority,
        spread: w.spread.iter().map(spread).collect(),
        interruption_penalty_bucket: api::penalty::bucket(w.interruption_penalty).into(),
        reclamation_penalty_bucket: api::penalty::bucket(w.reclamation_penalty).into(),
        group: w.gang.as_ref().map(|gang| gang.group.clone()).unwrap_or_default(),
    };
    let rollup = ClusterCapacityNeeds { cluster_id: cluster.into(), needs: vec![wire], ..Default::default() };
    let refused = |error| Error::Need { cluster: cluster.into(), workload: w.name.clone(), error };
    let mut needs = need::from_rollup(cluster, &rollup).map_err(refused)?;
    Ok(needs.pop().expect("a roll-up of one row must give one Need"))
}

fn spread(spread: &crate::setup::SpreadSetup) -> TopologySpread {
    TopologySpread {
        topology_key: spread.topology_key.clone(),
        max_skew: i32::try_from(spread.max_skew).unwrap_or(i32::MAX),
        when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule.into(),
    }
}
