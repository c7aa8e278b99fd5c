//! Needs: what the shard will see of a cluster's demand, and how many machines each takes (ADR-0022).

use std::collections::BTreeMap;

use api::quantity::Amount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Workload;
use super::error::Refusal;
use crate::profile::{Archetype, Catalog, DemandWave, Profile, WhenUnsatisfiable, is_core};

/// Demand of one profile fingerprint (or one gang) in one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Need {
    /// The archetype, or the gang's name; with `+spread` if only part of the archetype spreads.
    pub name: String,
    /// Archetype whose machines it takes.
    pub archetype: String,
    /// Its Pods.
    pub pods: u32,
    /// Its size in machines, not rounded: the largest over all resources.
    pub machines_exact: f64,
    /// Machines when quiet: the ceiling.
    pub machines: u32,
    /// Machines when the demand wave is at its lowest.
    pub machines_min: u32,
    /// Machines when the demand wave is at its highest.
    pub machines_max: u32,
    /// Distance to the nearest whole number of machines; absent for Needs of density 1, which have no distance to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Whether it is spread over the zones with `DoNotSchedule`.
    pub spread: bool,
    /// Whether it is a gang.
    pub gang: bool,
}

/// Smallest distance between the size of a Need and a whole number of machines. A Need that is closer counts as at the
/// edge. Used if the catalog does not ask for a larger distance.
const EDGE: f64 = 0.1;

impl Need {
    /// Returns the fewest and most machines when quiet. Both are the same in a profile whose counts are exact.
    pub fn machines_quiet(&self, profile: &Profile, catalog: &Catalog) -> (u32, u32) {
        if profile.exact || self.gang || self.margin.is_none() {
            return (self.machines, self.machines);
        }
        let size = self.machines_exact + catalog.ceiling_margin.max(EDGE);
        // Between two multiples of the zones, some zones have one machine more than others.
        let most = ceiling(size, self.spread, catalog.zones.len()).max(self.machines);
        (machines_whole(self.machines_exact), most)
    }
}

/// Returns the allocatable of a machine built for the archetype: density x the largest size for core resources, and for
/// all resources if the archetype says how many Pods a machine holds.
pub fn allocatable(archetype: &Archetype, density: u32) -> BTreeMap<String, String> {
    let per_machine = archetype.pods_per_machine(density);
    largest_size(archetype)
        .into_iter()
        .map(|(resource, amount)| {
            let scale = archetype.pods_per_node.is_some() || is_core(&resource);
            (resource, (amount * u64::from(if scale { per_machine } else { 1 })).to_string())
        })
        .collect()
}

/// Returns the largest request of any size, per resource: a machine of that shape holds Pods of all sizes.
fn largest_size(archetype: &Archetype) -> BTreeMap<String, Amount> {
    let mut largest = BTreeMap::<String, Amount>::new();
    for (resource, quantity) in archetype.sizes.iter().flat_map(|s| &s.requests) {
        let amount = parse(quantity);
        let kept = largest.entry(resource.clone()).or_insert(amount);
        *kept = amount.larger(*kept);
    }
    largest
}

fn parse(quantity: &str) -> Amount {
    quantity.parse().expect("quantities must have been validated")
}

/// Returns the machines for `pods` (requests of one Pod, number of Pods), not rounded: aggregate requests divided by
/// allocatable, the largest over all resources (ADR-0022).
pub fn machines_exact(
    pods: &[(&BTreeMap<String, String>, u32)],
    allocatable: &BTreeMap<String, String>,
) -> f64 {
    let ratio = |(resource, per_machine): (&String, &String)| {
        let of = |requests: &BTreeMap<String, String>, n: u32| {
            requests.get(resource).map_or(Amount::default(), |quantity| parse(quantity) * u64::from(n))
        };
        let aggregate: Amount = pods.iter().map(|(requests, n)| of(requests, *n)).sum();
        aggregate.milli() as f64 / parse(per_machine).milli() as f64
    };
    allocatable.iter().map(ratio).fold(0.0, f64::max)
}

/// Returns the whole machines for a size.
pub fn machines_whole(size: f64) -> u32 {
    // Sizes are ratios of integers: a size closer to a whole number than this is that number.
    (size - 1e-9).ceil().max(0.0) as u32
}

/// Returns the Needs of one cluster, in order of their names.
pub fn of_cluster(profile: &Profile, catalog: &Catalog, workloads: &[Workload]) -> Vec<Need> {
    let mut groups = BTreeMap::<(String, String, bool), BTreeMap<usize, u32>>::new();
    for w in workloads {
        let archetype = &catalog.archetypes[&w.archetype];
        let hard = |s: &crate::profile::Spread| s.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule;
        let spread = w.spread && archetype.spread.as_ref().is_some_and(hard);
        let partly = archetype.spread.as_ref().is_some_and(|s| hard(s) && s.probability < 1.0);
        let name = match &w.gang {
            Some(gang) => gang.clone(),
            None if spread && partly => format!("{}+spread", w.archetype),
            None => w.archetype.clone(),
        };
        *groups.entry((name, w.archetype.clone(), spread)).or_default().entry(w.size).or_default() +=
            w.replicas;
    }
    groups
        .into_iter()
        .map(|((name, archetype, spread), pods)| need(profile, catalog, name, archetype, spread, &pods))
        .collect()
}

fn need(
    profile: &Profile,
    catalog: &Catalog,
    name: String,
    archetype_name: String,
    spread: bool,
    pods: &BTreeMap<usize, u32>,
) -> Need {
    let archetype = &catalog.archetypes[&archetype_name];
    let requests: Vec<_> = pods.iter().map(|(size, n)| (&archetype.sizes[*size].requests, *n)).collect();
    let exact = machines_exact(&requests, &allocatable(archetype, profile.density));
    let swing = wave_of(profile, &archetype_name)
        .filter(|_| name == archetype_name)
        .map_or(0.0, |w| f64::from(w.replicas) / f64::from(archetype.pods_per_machine(profile.density)));
    let machines = |size: f64| ceiling(size, spread, catalog.zones.len());
    let single = archetype.pods_per_machine(profile.density) == 1;
    Need {
        pods: pods.values().sum(),
        machines_exact: exact,
        machines: machines(exact),
        machines_min: machines((exact - swing).max(0.0)),
        machines_max: machines(exact + swing),
        margin: (!single).then(|| distance_to_whole(exact)),
        spread,
        gang: archetype.gang.is_some(),
        name,
        archetype: archetype_name,
    }
}

/// Returns the whole machines for a size. A spread Need takes as many in each zone as the fullest zone does.
fn ceiling(size: f64, spread: bool, zones: usize) -> u32 {
    if spread { machines_whole(size / zones as f64) * zones as u32 } else { machines_whole(size) }
}

fn distance_to_whole(x: f64) -> f64 {
    (x - x.round()).abs()
}

fn wave_of<'a>(profile: &'a Profile, archetype: &str) -> Option<&'a DemandWave> {
    profile.demand_wave.as_ref().filter(|w| w.archetype == archetype)
}

/// Returns the refusals of a cluster's Needs. Only an exact profile with a catalog that asks for a margin has any.
pub fn refusals(cluster: &str, profile: &Profile, catalog: &Catalog, needs: &[Need]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if catalog.ceiling_margin == 0.0 || !profile.exact {
        return refusals;
    }
    for need in needs.iter().filter(|n| n.margin.is_some()) {
        let per_machine = catalog.archetypes[&need.archetype].pods_per_machine(profile.density);
        let swing =
            wave_of(profile, &need.archetype).map_or(0.0, |w| f64::from(w.replicas) / f64::from(per_machine));
        let sizes = [need.machines_exact, need.machines_exact - swing, need.machines_exact + swing];
        if let Some(size) = sizes.into_iter().find(|s| distance_to_whole(*s) < catalog.ceiling_margin - 1e-9)
        {
            refusals.push(Refusal::Edge {
                cluster: cluster.to_owned(),
                need: need.name.clone(),
                pods: need.pods,
                exact: size,
                edge: size.round(),
                margin: catalog.ceiling_margin,
            });
        } else if need.spread && need.machines != machines_whole(need.machines_exact) {
            refusals.push(Refusal::Uneven {
                cluster: cluster.to_owned(),
                need: need.name.clone(),
                machines: machines_whole(need.machines_exact),
                zones: catalog.zones.len(),
            });
        }
    }
    refusals
}
