//! A profile's fleet, as the harness's plan has it: the same machines and the same Pods as on real control planes.

use std::collections::BTreeMap;
use std::path::Path;

use api::quantity::Amount;
use harness_model::plan::{self, Plan, PlanError};
use harness_model::profile::{self, DemandWave, Profile, ProfileError, Span, WhenUnsatisfiable, Workloads};

use crate::setup::{
    ClusterSetup, Event, FailureRate, GangSetup, Latency, Scale, Setup, SpreadSetup, Switches, WorkloadSetup,
};

/// One hour of coalesced cycles.
const CYCLES: u32 = 360;
/// The shard decides once per interval and after each roll-up; the model coalesces these.
const CYCLE_INTERVAL: Span = Span::seconds(10);

/// Why a profile gives no fleet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Its plan. What the machine can hold is not asked: nothing here needs that memory.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The fleet of a profile, by name or file, with overrides.
///
/// # Errors
/// [`Error`]: a profile or plan that is refused.
pub fn load(fixtures: &Path, profile: &str, overrides: &[String]) -> Result<Setup, Error> {
    Ok(of_plan(plan::derive(&profile::load(fixtures, profile, overrides)?)?))
}

/// The fleet of a plan, for an hour.
pub fn of_plan(plan: Plan) -> Setup {
    let profile = &plan.profile;
    let shard = &profile.shard;
    let mut events = Vec::new();
    if let Some(wave) = &profile.demand_wave {
        events = swings(profile, wave);
    }
    Setup {
        name: profile.name.clone(),
        seed: profile.seed,
        cycles: CYCLES,
        window: CYCLES / 3,
        cycle_interval: CYCLE_INTERVAL,
        clusters: plan.clusters.iter().map(|cluster| self::cluster(&plan, cluster)).collect(),
        switches: switches(profile),
        latency: Latency {
            create: shard.create_latency,
            configure: shard.configure_latency,
            drain: shard.drain_latency,
            ..Latency::default()
        },
        failure_rate: FailureRate {
            create: shard.create_failure_rate,
            configure: shard.configure_failure_rate,
        },
        churn_per_minute: profile.churn_per_minute,
        events,
        inventory: plan.inventory,
    }
}

fn switches(profile: &Profile) -> Switches {
    let shard = &profile.shard;
    Switches {
        controller_managed: profile.workloads == Workloads::ControllerManaged,
        cr_mode: profile.unschedulable_pod_controller.cr_mode,
        cr_release: profile.unschedulable_pod_controller.cr_release,
        top_up: profile.load_driver.bare_top_up,
        wait_for_eviction: shard.wait_for_eviction,
        reclaim_cap_fraction: shard.reclaim_cap_fraction.unwrap_or(0.0),
        empty_rollup_guard: shard.empty_rollup_guard,
        gang_folding: shard.gang_folding,
        packing: crate::setup::Packing::Fullest,
        pre_bind: profile.pre_bind,
        ..Switches::default()
    }
}

/// Objects that differ in nothing but their names are one workload here: packing and engine cannot tell them apart.
fn cluster(plan: &Plan, cluster: &plan::ClusterPlan) -> ClusterSetup {
    let mut counts = BTreeMap::<(&str, usize, bool, Option<&str>), u32>::new();
    for w in &cluster.workloads {
        *counts.entry((&w.archetype, w.size, w.spread, w.gang.as_deref())).or_default() += w.replicas;
    }
    let workload = |((name, size, spreads, gang), replicas): ((&str, usize, bool, Option<&str>), u32)| {
        let archetype = &plan.catalog.archetypes[name];
        let hard = archetype
            .spread
            .as_ref()
            .filter(|s| spreads && s.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule);
        WorkloadSetup {
            name: name.to_owned(),
            replicas,
            requests: archetype.sizes[size].requests.clone(),
            instance_types: archetype.instance_types.clone(),
            zones: plan.catalog.zones.clone(),
            priority: archetype.priority,
            interruption_penalty: dollars(archetype.interruption_penalty.as_deref()),
            reclamation_penalty: dollars(archetype.reclamation_penalty.as_deref()),
            gang: gang.zip(archetype.gang.as_ref()).map(|(group, gang)| GangSetup {
                group: group.to_owned(),
                topology_key: gang.scope.topology_key().to_owned(),
            }),
            spread: hard.map(|s| SpreadSetup {
                topology_key: api::names::ZONE.to_owned(),
                max_skew: s.max_skew.unsigned_abs(),
            }),
            lifetime: archetype.lifetime,
        }
    };
    ClusterSetup { name: cluster.name.clone(), workloads: counts.into_iter().map(workload).collect() }
}

fn dollars(quantity: Option<&str>) -> Option<f64> {
    quantity.and_then(|text| text.parse::<Amount>().ok()).map(Amount::to_f64)
}

/// The profile's demand wave from the end of its settling on, in whole cycles: up for half a period, then down.
fn swings(profile: &Profile, wave: &DemandWave) -> Vec<Event> {
    let Some(&base) = profile.pods_per_archetype.get(&wave.archetype) else { return Vec::new() };
    let interval_s = CYCLE_INTERVAL.as_seconds();
    let half_s = wave.period.as_seconds() / 2.0;
    let start_s = profile.phases.settle.as_seconds();
    let mut events = Vec::new();
    for (k, cluster) in profile.cluster_names().enumerate() {
        let share = if wave.staggered { k as f64 / f64::from(profile.clusters) } else { 0.0 };
        let late_s = wave.period.as_seconds() * share;
        for half in 0_u32.. {
            let cycle = ((start_s + late_s + f64::from(half) * half_s) / interval_s).ceil() as u32 + 1;
            if cycle > CYCLES {
                break;
            }
            let replicas = if half % 2 == 0 { base + wave.replicas } else { base - wave.replicas };
            let scale = Some(Scale { workload: wave.archetype.clone(), replicas });
            events.push(Event { cycle, clusters: vec![cluster.clone()], scale, ..Event::default() });
        }
    }
    events
}
