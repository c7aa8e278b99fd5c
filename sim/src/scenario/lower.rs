//! From what a file says to a fleet, machine by machine.

use std::collections::BTreeMap;
use std::path::Path;

use api::inventory::{Inventory, SeedMachine};
use api::quantity::Amount;
use harness_model::profile::{Problem, ProfileError, fixtures_dir, unknown};

use super::{MachinesSpec, Scenario, SeedState, WorkloadSpec};
use crate::from_plan;
use crate::setup::{ClusterSetup, GangSetup, Setup, SpreadSetup, WorkloadSetup};

pub(super) fn lower(s: &Scenario, path: &Path) -> Result<Setup, ProfileError> {
    let problems = problems(s);
    if !problems.is_empty() {
        return Err(ProfileError::Invalid { path: path.to_owned(), problems });
    }
    let mut setup = match &s.profile {
        Some(profile) => {
            let mut setup = from_plan::load(&fixtures_dir(), profile, &[]).map_err(|error| match error {
                from_plan::Error::Profile(error) => error,
                from_plan::Error::Plan(error) => ProfileError::Invalid {
                    path: path.to_owned(),
                    problems: vec![Problem::new("profile", error.to_string())],
                },
            })?;
            setup.cycle_interval = s.cycle_interval;
            setup
        }
        None => fleet(s),
    };
    setup.name.clone_from(&s.name);
    setup.seed = s.seed;
    setup.cycles = s.cycles;
    setup.window = s.window.unwrap_or_else(|| (s.cycles / 3).max(1));
    if let Some(switches) = &s.switches {
        setup.switches = switches.clone();
    }
    if let Some(latency) = &s.latency {
        setup.latency = latency.clone();
    }
    if let Some(rate) = &s.failure_rate {
        setup.failure_rate = rate.clone();
    }
    if let Some(churn) = s.churn_per_minute {
        setup.churn_per_minute = churn;
    }
    setup.events.extend(s.events.iter().cloned());
    Ok(setup)
}

fn fleet(s: &Scenario) -> Setup {
    let names: Vec<String> = cluster_names(s).collect();
    let mut seeder = Seeder { scenario: s, names: &names, slots: BTreeMap::new(), machines: Vec::new() };
    for spec in &s.machines {
        seeder.add(spec);
    }
    let of = |name: &String| ClusterSetup {
        name: name.clone(),
        workloads: s
            .workloads
            .iter()
            .filter(|w| is_meant(&w.clusters, name))
            .flat_map(|w| workloads(w, name))
            .collect(),
    };
    Setup {
        name: s.name.clone(),
        seed: s.seed,
        cycles: s.cycles,
        window: s.cycles,
        cycle_interval: s.cycle_interval,
        inventory: Inventory { machines: std::mem::take(&mut seeder.machines) },
        clusters: names.iter().map(of).collect(),
        switches: Default::default(),
        latency: Default::default(),
        failure_rate: Default::default(),
        churn_per_minute: 0.0,
        events: Vec::new(),
    }
}

fn cluster_names(s: &Scenario) -> impl Iterator<Item = String> + use<> {
    (0..s.clusters).map(|c| format!("c{c}"))
}

fn is_meant(clusters: &[String], name: &str) -> bool {
    clusters.is_empty() || clusters.iter().any(|c| c == name)
}

fn workloads(w: &WorkloadSpec, cluster: &str) -> Vec<WorkloadSetup> {
    let one = WorkloadSetup {
        name: w.name.clone(),
        replicas: w.replicas,
        requests: w.requests.clone(),
        instance_types: w.shapes.clone(),
        zones: w.zones.clone(),
        priority: w.priority,
        interruption_penalty: w.interruption_penalty,
        reclamation_penalty: w.reclamation_penalty,
        gang: None,
        spread: w
            .zone_spread_max_skew
            .map(|max_skew| SpreadSetup { topology_key: api::names::ZONE.to_owned(), max_skew }),
        lifetime: w.lifetime,
    };
    let Some(gangs) = &w.gangs else { return vec![one] };
    let gang = |n| GangSetup {
        group: format!("{cluster}-{}-{n}", w.name),
        topology_key: gangs.scope.topology_key().to_owned(),
    };
    (0..gangs.count).map(|n| WorkloadSetup { gang: Some(gang(n)), ..one.clone() }).collect()
}

struct Seeder<'a> {
    scenario: &'a Scenario,
    names: &'a [String],
    /// Places taken so far, by shape.
    slots: BTreeMap<&'a str, u32>,
    machines: Vec<SeedMachine>,
}

impl<'a> Seeder<'a> {
    fn add(&mut self, spec: &'a MachinesSpec) {
        match spec.state {
            SeedState::Configured => {
                for cluster in self.names.iter().filter(|name| is_meant(&spec.clusters, name)) {
                    self.add_for(spec, Some(cluster));
                }
            }
            SeedState::Idle | SeedState::Speculative => self.add_for(spec, None),
        }
    }

    fn add_for(&mut self, spec: &'a MachinesSpec, cluster: Option<&String>) {
        let s = self.scenario;
        let shape = &s.shapes[&spec.shape];
        let zones = s.zones.len() as u32;
        let first = self.slots.get(spec.shape.as_str()).copied().unwrap_or(0);
        for n in 0..spec.count {
            let slot = first + n / spec.together;
            let zone = spec.zone.as_ref().unwrap_or(&s.zones[(slot % zones) as usize]);
            // In a single zone every turn is its turn.
            let turn = if spec.zone.is_some() { slot } else { slot / zones };
            let rack = spec.rack.unwrap_or(turn % s.racks_per_zone);
            let (state, prefix) = match (spec.state, cluster) {
                (SeedState::Configured, cluster) => {
                    (api::inventory::SeedState::Configured, format!("conf-{}", cluster.map_or("", |c| c)))
                }
                (SeedState::Idle, _) => (api::inventory::SeedState::Idle, "idle".to_owned()),
                (SeedState::Speculative, _) => (api::inventory::SeedState::Speculative, "spec".to_owned()),
            };
            self.machines.push(SeedMachine {
                // The number is the place in the file, so that the order of ids is the order of the file.
                id: format!("{prefix}-{:07}-{}", self.machines.len(), spec.shape),
                state,
                cluster: cluster.cloned(),
                instance_type: spec.shape.clone(),
                zone: zone.clone(),
                labels: BTreeMap::from([(api::names::RACK.to_owned(), format!("{zone}-rack-{rack}"))]),
                allocatable: shape.allocatable.clone(),
                capacity_type: shape.capacity_type.into(),
                price_per_hour: shape.price_per_hour,
                interruption_probability: shape.interruption_probability,
                assigned_priority: spec.assigned_priority.unwrap_or_else(|| self.priority(&spec.shape)),
            });
        }
        self.slots.insert(&spec.shape, first + spec.count.div_ceil(spec.together));
    }

    fn priority(&self, shape: &String) -> i32 {
        let accept = |w: &&WorkloadSpec| w.shapes.is_empty() || w.shapes.contains(shape);
        self.scenario.workloads.iter().filter(accept).map(|w| w.priority).max().unwrap_or(0)
    }
}

/// Everything about a scenario that parses and makes no sense.
fn problems(s: &Scenario) -> Vec<Problem> {
    let mut found = Problems(Vec::new());
    let names: Vec<String> = cluster_names(s).collect();
    if s.cycles == 0 || s.window.is_some_and(|window| window == 0 || window > s.cycles) {
        found.add("cycles", "needs at least one cycle, and a window within them");
    }
    if s.cycle_interval.0.is_zero() {
        found.add("cycleInterval", "is 0s, but must be longer");
    }
    if s.profile.is_some() {
        if s.clusters > 0 || !s.shapes.is_empty() || !s.machines.is_empty() || !s.workloads.is_empty() {
            found.add("profile", "states the fleet; leave out clusters, shapes, machines and workloads");
        }
    } else if s.clusters == 0 || s.zones.is_empty() || s.racks_per_zone == 0 {
        found.add("clusters", "a fleet has at least one cluster, one zone and one rack");
    }
    for (name, shape) in &s.shapes {
        found.quantities(&format!("shapes.{name}.allocatable"), &shape.allocatable);
        found.fraction(&format!("shapes.{name}.interruptionProbability"), shape.interruption_probability);
    }
    for (i, m) in s.machines.iter().enumerate() {
        let key = |field: &str| format!("machines[{i}].{field}");
        found.known(&key("shape"), "shape", std::slice::from_ref(&m.shape), s.shapes.keys());
        found.known(&key("clusters"), "cluster", &m.clusters, &names);
        found.known(&key("zone"), "zone", m.zone.as_slice(), &s.zones);
        if m.together == 0 {
            found.add(&key("together"), "is 0, but must be at least 1");
        }
    }
    for (i, w) in s.workloads.iter().enumerate() {
        let key = |field: &str| format!("workloads[{i}].{field}");
        found.known(&key("shapes"), "shape", &w.shapes, s.shapes.keys());
        found.known(&key("clusters"), "cluster", &w.clusters, &names);
        found.known(&key("zones"), "zone", &w.zones, &s.zones);
        found.quantities(&key("requests"), &w.requests);
        if w.lifetime.is_some_and(|life| life.0.is_zero()) {
            found.add(&key("lifetime"), "is 0s, but must be longer");
        }
        if w.zone_spread_max_skew == Some(0) {
            found.add(&key("zoneSpreadMaxSkew"), "is 0, but must be at least 1");
        }
    }
    settings(s, &names, &mut found);
    found.0
}

fn settings(s: &Scenario, names: &[String], found: &mut Problems) {
    found.fraction("churnPerMinute", s.churn_per_minute.unwrap_or(0.0));
    let rates = s.failure_rate.clone().unwrap_or_default();
    found.fraction("failureRate.create", rates.create);
    found.fraction("failureRate.configure", rates.configure);
    found.fraction(
        "switches.reclaimCapFraction",
        s.switches.as_ref().map_or(0.0, |switches| switches.reclaim_cap_fraction),
    );
    for (i, event) in s.events.iter().enumerate() {
        let key = |field: &str| format!("events[{i}].{field}");
        if event.cycle == 0 || event.cycle > s.cycles {
            found.add(&key("cycle"), format!("is {}, but the run has cycles 1 to {}", event.cycle, s.cycles));
        }
        // A profile has its own names, which are known only when it is loaded.
        if s.profile.is_none() {
            found.known(&key("clusters"), "cluster", &event.clusters, names);
            let scaled = event.scale.as_ref().map(|scale| scale.workload.clone());
            let known = s.workloads.iter().map(|w| &w.name);
            found.known(&key("scale.workload"), "workload", scaled.as_slice(), known);
        }
    }
    for (i, expectation) in s.expect.iter().enumerate() {
        if let Some(problem) = expectation.problem() {
            found.add(&format!("expect[{i}]"), problem);
        }
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Problem::new(key, message));
    }

    fn fraction(&mut self, key: &str, value: f64) {
        if !(0.0..=1.0).contains(&value) {
            self.add(key, format!("is {value}, but must be within 0 and 1"));
        }
    }

    fn known<'a>(
        &mut self,
        key: &str,
        what: &str,
        given: &[String],
        known: impl IntoIterator<Item = &'a String> + Clone,
    ) {
        for name in given {
            if !known.clone().into_iter().any(|k| k == name) {
                self.add(key, unknown(what, known.clone().into_iter().map(String::as_str), name));
            }
        }
    }

    fn quantities(&mut self, key: &str, of: &BTreeMap<String, String>) {
        if of.is_empty() {
            self.add(key, "is empty");
        }
        for (resource, quantity) in of {
            match quantity.parse::<Amount>() {
                Ok(amount) if !amount.is_negative() && !amount.is_zero() => {}
                Ok(_) => {
                    self.add(&format!("{key}.{resource}"), format!("is {quantity}, but must be more than 0"))
                }
                Err(error) => self.add(&format!("{key}.{resource}"), error.to_string()),
            }
        }
    }
}
