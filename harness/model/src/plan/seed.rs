//! The machines that exist before a run.

use std::collections::BTreeMap;

use api::inventory::{CapacityType, Inventory, SeedMachine, SeedState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClusterPlan;
use super::error::Refusal;
use super::needs;
use crate::profile::{Archetype, Catalog, GangScope, Profile};

/// Machines of one shape, which are built for one archetype.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shape {
    /// Values of the instance-type label, used in turn.
    pub instance_types: Vec<String>,
    /// Allocatable of each machine.
    pub allocatable: BTreeMap<String, String>,
    /// Pods that a machine holds.
    pub pods_per_machine: u32,
    /// Sum of the ceilings of all Needs in all clusters.
    pub needed: u32,
    /// Fewest machines that could hold the same Pods if Needs were not rounded one by one.
    pub lower_bound: u32,
    /// Sum of the ceilings when every wave is at its highest.
    pub needed_peak: u32,
    /// Machines seeded as Configured.
    pub configured: u32,
    /// Machines seeded as Idle.
    pub idle: u32,
    /// Machines seeded as Speculative.
    pub speculative: u32,
}

/// Returns the shapes by archetype, and the inventory built from them.
///
/// # Errors
/// The shapes and zones that are short of machines.
pub fn seed(
    profile: &Profile,
    catalog: &Catalog,
    clusters: &[ClusterPlan],
) -> Result<(BTreeMap<String, Shape>, Inventory), Vec<Refusal>> {
    let mut builder = Builder { profile, catalog, machines: Vec::new(), numbers: BTreeMap::new() };
    let mut shapes = BTreeMap::new();
    let mut refusals = Vec::new();
    for (name, archetype) in &catalog.archetypes {
        let mine = || clusters.iter().flat_map(|c| &c.needs).filter(|n| &n.archetype == name);
        if mine().next().is_none() {
            continue;
        }
        let unit = Unit::of(archetype, profile.density);
        let mut shape = Shape {
            instance_types: archetype.instance_types.clone(),
            allocatable: needs::allocatable(archetype, profile.density),
            pods_per_machine: archetype.pods_per_machine(profile.density),
            needed: mine().map(|n| n.machines).sum(),
            lower_bound: mine().map(|n| n.machines_exact).sum::<f64>().ceil() as u32,
            needed_peak: mine().map(|n| n.machines_max).sum(),
            configured: 0,
            idle: 0,
            speculative: 0,
        };
        let spread = mine().any(|n| n.spread);
        let units_needed = if unit.gang { mine().count() as u32 } else { shape.needed_peak };
        let before = builder.machines.len();
        for (i, cluster) in clusters.iter().enumerate() {
            builder.configured(name, archetype, &unit, i, cluster, &mut shape);
        }
        builder.rest(name, archetype, &unit, units_needed, spread, &mut shape);
        refusals.extend(builder.short(name, &unit, &shape, units_needed, spread, before));
        shapes.insert(name.clone(), shape);
    }
    if refusals.is_empty() { Ok((shapes, Inventory { machines: builder.machines })) } else { Err(refusals) }
}

/// Machines that are placed together: one machine, or as many as the largest gang takes.
struct Unit {
    machines: u32,
    gang: bool,
    rack: bool,
}

impl Unit {
    fn of(archetype: &Archetype, density: u32) -> Self {
        let gang = archetype.gang.as_ref();
        Self {
            machines: gang.map_or(1, |g| g.max.div_ceil(archetype.pods_per_machine(density))),
            gang: gang.is_some(),
            rack: gang.is_some_and(|g| g.scope == GangScope::SameRack),
        }
    }
}

/// Position that determines the zone and rack of a unit.
struct Slot(u32);

struct Builder<'a> {
    profile: &'a Profile,
    catalog: &'a Catalog,
    machines: Vec<SeedMachine>,
    /// Next number of each kind of id.
    numbers: BTreeMap<String, u32>,
}

impl Builder<'_> {
    /// Adds the machines that serve a cluster from the start: a share of its Needs (or a number), gangs only as a
    /// whole.
    fn configured(
        &mut self,
        name: &str,
        archetype: &Archetype,
        unit: &Unit,
        index: usize,
        cluster: &ClusterPlan,
        shape: &mut Shape,
    ) {
        let fraction = self.profile.inventory.configured_fraction;
        let mine = || cluster.needs.iter().filter(|n| n.archetype == name);
        let all = if unit.gang { mine().count() as u32 } else { mine().map(|n| n.machines).sum() };
        let asked = self.profile.inventory.configured_per_shape.get(name).map(|n| n / unit.machines);
        let units = asked.unwrap_or((f64::from(all) * fraction).floor() as u32);
        for i in 0..units {
            for _ in 0..unit.machines {
                let id = self.id(&format!("conf-c{index}-i"));
                self.push(id, SeedState::Configured, name, archetype, unit, &Slot(i + index as u32));
                let machine = self.machines.last_mut().expect("a machine was just pushed");
                machine.cluster = Some(cluster.name.clone());
                machine.assigned_priority = archetype.priority;
                shape.configured += 1;
            }
        }
    }

    /// Adds the Idle machines (what is needed beyond Configured, plus headroom) and the Speculative ones (a share of
    /// what is needed).
    fn rest(
        &mut self,
        name: &str,
        archetype: &Archetype,
        unit: &Unit,
        needed: u32,
        spread: bool,
        shape: &mut Shape,
    ) {
        let zones = self.catalog.zones.len() as u32;
        // Spread Needs take the same number in each zone, so headroom comes in whole rounds of zones.
        let round = if spread { zones } else { 1 };
        let share_of =
            |fraction: f64| (f64::from(needed) * fraction / f64::from(round) - 1e-9).ceil() as u32 * round;
        let configured_units = shape.configured / unit.machines;
        let idle_units =
            needed.saturating_sub(configured_units) + share_of(self.profile.inventory.headroom_fraction);
        let speculative_units = share_of(self.profile.inventory.speculative_fraction);
        let idle =
            self.profile.inventory.idle_per_shape.get(name).copied().unwrap_or(idle_units * unit.machines);
        let start = configured_units;
        for i in 0..idle {
            let id = self.id("idle-");
            self.push(id, SeedState::Idle, name, archetype, unit, &Slot(start + i / unit.machines));
        }
        let start = start + idle.div_ceil(unit.machines);
        for i in 0..speculative_units * unit.machines {
            let id = self.id("spec-");
            self.push(id, SeedState::Speculative, name, archetype, unit, &Slot(start + i / unit.machines));
        }
        shape.idle = idle;
        shape.speculative = speculative_units * unit.machines;
    }

    fn id(&mut self, prefix: &str) -> String {
        let number = self.numbers.entry(prefix.to_owned()).or_default();
        let id = format!("{prefix}{number}");
        *number += 1;
        id
    }

    fn push(
        &mut self,
        id: String,
        state: SeedState,
        name: &str,
        archetype: &Archetype,
        unit: &Unit,
        slot: &Slot,
    ) {
        let zones = self.catalog.zones.len() as u32;
        let zone = &self.catalog.zones[(slot.0 % zones) as usize];
        let rack = (slot.0 / zones) % self.catalog.racks_per_zone;
        // Types are used in turn, but one for the whole unit: a gang does not mix types.
        let types = &archetype.instance_types;
        let turn = (slot.0 / if unit.gang { 1 } else { zones }) as usize % types.len();
        self.machines.push(SeedMachine {
            id,
            state,
            cluster: None,
            instance_type: types[turn].clone(),
            zone: zone.clone(),
            labels: BTreeMap::from([
                (api::names::RACK.to_owned(), format!("{zone}-rack-{rack}")),
                (api::names::ARCHETYPE.to_owned(), name.to_owned()),
            ]),
            allocatable: needs::allocatable(archetype, self.profile.density),
            capacity_type: CapacityType::OnDemand,
            // The same for all machines: no choice of the shard may depend on an invented price.
            price_per_hour: 1.0,
            interruption_probability: 0.0,
            assigned_priority: 0,
        });
    }

    /// Checks whether the machines pushed since `before` cover the peak: in total, per zone, and in whole domains.
    fn short(
        &self,
        name: &str,
        unit: &Unit,
        shape: &Shape,
        units_needed: u32,
        spread: bool,
        before: usize,
    ) -> Vec<Refusal> {
        let mine = &self.machines[before..];
        let refusal = |place: String, needed: u32, have: u32| {
            (have < needed).then(|| Refusal::Short {
                shape: name.to_owned(),
                instance_types: shape.instance_types.join(", "),
                place,
                needed,
                have,
                short: needed - have,
            })
        };
        if unit.gang {
            let mut domains = BTreeMap::<&str, u32>::new();
            for m in mine {
                *domains.entry(if unit.rack { &m.labels[api::names::RACK] } else { &m.zone }).or_default() +=
                    1;
            }
            let have: u32 = domains.values().map(|n| n / unit.machines).sum();
            let place = if unit.rack { " in whole racks" } else { " in whole zones" };
            return refusal(place.into(), units_needed * unit.machines, have * unit.machines)
                .into_iter()
                .collect();
        }
        if spread {
            let zones = &self.catalog.zones;
            let per_zone = shape.needed_peak / zones.len() as u32;
            let have = |zone: &String| mine.iter().filter(|m| &m.zone == zone).count() as u32;
            return zones.iter().filter_map(|z| refusal(format!(" in {z}"), per_zone, have(z))).collect();
        }
        refusal(String::new(), shape.needed_peak, mine.len() as u32).into_iter().collect()
    }
}
