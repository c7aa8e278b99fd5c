//! Properties of random fleets.

use std::collections::BTreeMap;

use api::inventory::{CapacityType, Inventory, SeedMachine, SeedState};
use harness_model::profile::Span;
use proptest::prelude::*;
use sim::Simulation;
use sim::setup::{
    ClusterSetup, Event, FailureRate, GangSetup, Latency, RemoveMachines, Scale, Setup, SpreadSetup,
    Switches, WorkloadSetup,
};

const CPU_PER_MACHINE: [u32; 3] = [10, 40, 8];

fn shape_name(shape: usize) -> String {
    format!("shape-{shape}")
}

fn any_machines(clusters: usize) -> impl Strategy<Value = Inventory> {
    let machine = (0..CPU_PER_MACHINE.len(), 0..3_usize, 0..3_u32, 0..2_u32, 0..4_u8, 0..clusters);
    prop::collection::vec(machine, 0..60).prop_map(|machines| Inventory {
        machines: machines
            .into_iter()
            .enumerate()
            .map(|(n, (shape, state, zone, rack, price, cluster))| {
                let state = [SeedState::Configured, SeedState::Idle, SeedState::Speculative][state];
                let zone = format!("zone-{zone}");
                SeedMachine {
                    id: format!("m-{n:03}"),
                    state,
                    cluster: (state == SeedState::Configured).then(|| format!("c{cluster}")),
                    instance_type: shape_name(shape),
                    labels: BTreeMap::from([(api::names::RACK.to_owned(), format!("{zone}-rack-{rack}"))]),
                    zone,
                    allocatable: BTreeMap::from([("cpu".to_owned(), CPU_PER_MACHINE[shape].to_string())]),
                    capacity_type: CapacityType::BareMetal,
                    price_per_hour: f64::from(price),
                    interruption_probability: 0.0,
                    assigned_priority: 0,
                }
            })
            .collect(),
    })
}

fn any_workload() -> impl Strategy<Value = WorkloadSetup> {
    (0..CPU_PER_MACHINE.len(), 0..120_u32, 1..=8_u32, 0..3_i32, 0..4_u8).prop_map(
        |(shape, replicas, cpu, priority, kind)| WorkloadSetup {
            name: format!("w{shape}"),
            replicas: if kind == 3 { replicas % 20 } else { replicas },
            requests: BTreeMap::from([("cpu".to_owned(), cpu.to_string())]),
            instance_types: vec![shape_name(shape)],
            zones: Vec::new(),
            // A gang that fits no domain may still preempt a part of what it lacks whenever it tries again.
            priority: if kind == 3 { 0 } else { priority + 1 },
            interruption_penalty: None,
            reclamation_penalty: None,
            gang: (kind == 3).then(|| GangSetup {
                group: format!("g-{shape}-{replicas}-{cpu}"),
                topology_key: api::names::RACK.to_owned(),
            }),
            spread: (kind == 2)
                .then(|| SpreadSetup { topology_key: api::names::ZONE.to_owned(), max_skew: 1 }),
            lifetime: None,
        },
    )
}

fn any_fleet() -> impl Strategy<Value = Setup> {
    (1..=3_usize).prop_flat_map(|clusters| {
        let workloads = prop::collection::vec(prop::collection::vec(any_workload(), 0..5), clusters);
        (any_machines(clusters), workloads, any::<u64>()).prop_map(|(inventory, workloads, seed)| Setup {
            name: "random".into(),
            seed,
            cycles: 0,
            window: 0,
            cycle_interval: Span::seconds(10),
            inventory,
            clusters: workloads
                .into_iter()
                .enumerate()
                .map(|(c, workloads)| ClusterSetup { name: format!("c{c}"), workloads })
                .collect(),
            switches: Switches::default(),
            latency: Latency::default(),
            failure_rate: FailureRate::default(),
            churn_per_minute: 0.0,
            events: Vec::new(),
        })
    })
}

/// Latencies, failures, churn, scaling and faults for any fleet.
fn any_trouble(setup: Setup) -> impl Strategy<Value = Setup> {
    let seconds = || (0..4_u64).prop_map(|n| Span::seconds(n * 5));
    let latency = (seconds(), seconds(), seconds(), seconds(), seconds(), seconds());
    let events = prop::collection::vec((2..20_u32, 0..3_usize, 0..150_u32, 0..3_u32), 0..4);
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), 0..2_u8);
    (Just(setup), latency, events, switches, 0.0..0.5_f64).prop_map(
        |(mut setup, (create, configure, drain, eviction, termination, top_up), events, switches, rate)| {
            setup.latency = Latency { create, configure, drain, eviction, termination, top_up };
            setup.failure_rate = FailureRate { create: rate / 2.0, configure: rate / 4.0 };
            setup.churn_per_minute = rate;
            let (controller_managed, top_up, wait_for_eviction, cap) = switches;
            setup.switches = Switches {
                controller_managed,
                top_up,
                wait_for_eviction,
                reclaim_cap_fraction: f64::from(cap) * 0.05,
                empty_rollup_guard: cap > 0,
                ..Switches::default()
            };
            setup.events = events
                .into_iter()
                .map(|(cycle, shape, replicas, configured)| Event {
                    cycle,
                    scale: Some(Scale { workload: format!("w{shape}"), replicas }),
                    remove_machines: Some(RemoveMachines { configured, ..RemoveMachines::default() }),
                    ..Event::default()
                })
                .collect();
            setup
        },
    )
}

/// Gangs of four, one per cluster, and one rack more than there are gangs; their demand flickers as it does while Pods
/// are being replaced, then stays.
fn any_flickering_gangs() -> impl Strategy<Value = Setup> {
    let seconds = || (0..8_u64).prop_map(|n| Span::seconds(n * 5));
    let events = prop::collection::vec((2..FLICKER_CYCLES, 0..3_usize, 0..5_u32), 0..30);
    let latency = (seconds(), seconds(), seconds(), seconds());
    (1..=3_usize, latency, events).prop_map(
        |(clusters, (configure, drain, eviction, termination), events)| {
            let machines = (0..4 * (clusters + 1)).map(|n| gpu(n, n / 4)).collect();
            let workload = |c| WorkloadSetup {
                name: "gang".into(),
                replicas: 4,
                requests: BTreeMap::from([("cpu".to_owned(), "8".to_owned())]),
                instance_types: vec!["gpu".into()],
                zones: Vec::new(),
                priority: 1000,
                interruption_penalty: None,
                reclamation_penalty: None,
                gang: Some(GangSetup { group: format!("g{c}"), topology_key: api::names::RACK.to_owned() }),
                spread: None,
                lifetime: None,
            };
            let mut events: Vec<Event> = events
                .into_iter()
                .map(|(cycle, cluster, replicas)| Event {
                    cycle,
                    clusters: vec![format!("c{cluster}")],
                    scale: Some(Scale { workload: "gang".into(), replicas }),
                    ..Event::default()
                })
                .collect();
            events.push(Event {
                cycle: FLICKER_CYCLES,
                scale: Some(Scale { workload: "gang".into(), replicas: 4 }),
                ..Event::default()
            });
            Setup {
                name: "gangs".into(),
                seed: 1,
                cycles: 0,
                window: 0,
                cycle_interval: Span::seconds(10),
                inventory: Inventory { machines },
                clusters: (0..clusters)
                    .map(|c| ClusterSetup { name: format!("c{c}"), workloads: vec![workload(c)] })
                    .collect(),
                switches: Switches::default(),
                latency: Latency { configure, drain, eviction, termination, ..Latency::default() },
                failure_rate: FailureRate::default(),
                churn_per_minute: 0.0,
                events,
            }
        },
    )
}

/// Cycles in which the demand of gangs flickers.
const FLICKER_CYCLES: u32 = 40;

fn gpu(n: usize, rack: usize) -> SeedMachine {
    SeedMachine {
        id: format!("m-{n:03}"),
        state: SeedState::Idle,
        cluster: None,
        instance_type: "gpu".into(),
        zone: "zone-0".into(),
        labels: BTreeMap::from([(api::names::RACK.to_owned(), format!("rack-{rack}"))]),
        allocatable: BTreeMap::from([("cpu".to_owned(), "8".to_owned())]),
        capacity_type: CapacityType::BareMetal,
        price_per_hour: 0.0,
        interruption_probability: 0.0,
        assigned_priority: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Also: none in two clusters, every action legal, controller-managed demand never shrinks.
    #[test]
    fn machines_and_demand_are_conserved_whatever_happens(setup in any_fleet().prop_flat_map(any_trouble)) {
        let mut sim = Simulation::new(setup).unwrap();
        for _ in 0..30 {
            let counters = sim.cycle();
            prop_assert_eq!(sim.broken_invariant(), None, "in cycle {}", counters.cycle);
        }
    }

    #[test]
    fn every_gang_has_a_rack_again_once_its_demand_stays(setup in any_flickering_gangs()) {
        let mut sim = Simulation::new(setup).unwrap();
        // The longest drain takes eleven cycles, and a parked gang tries again within 32 (ADR-0042).
        for _ in 0..FLICKER_CYCLES + 80 {
            sim.cycle();
        }
        let counters = sim.cycle();
        prop_assert_eq!((counters.pending, counters.shortfalls, counters.churn()), (0, 0, 0));
    }

    #[test]
    fn steady_demand_comes_to_rest(setup in any_fleet()) {
        let pods: u64 = setup.clusters.iter().flat_map(|c| &c.workloads).map(|w| u64::from(w.replicas)).sum();
        let mut sim = Simulation::new(setup).unwrap();
        // Preemption works its way down one priority at a time.
        for _ in 0..60 {
            let counters = sim.cycle();
            prop_assert_eq!(counters.live, pods, "controllers conserve demand");
            prop_assert_eq!(sim.broken_invariant(), None);
        }
        for _ in 0..12 {
            let counters = sim.cycle();
            prop_assert_eq!(counters.churn(), 0, "still acting in cycle {}", counters.cycle);
        }
    }
}
