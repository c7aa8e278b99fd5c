//! Plans: everything that a run will create, need and cost, derived from profile, catalog and seed alone.
//!
//! No clock, no I/O, no ambient randomness: one seed gives identical bytes, another seed gives another plan.

mod digest;
mod error;
mod estimate;
pub mod memory;
mod names;
mod needs;
mod render;
mod seed;
mod sizes;
pub mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use api::inventory::Inventory;
use rand::RngExt;
use serde::{Deserialize, Serialize};

pub use self::error::{PlanError, Refusal, TooSmall};
pub use self::estimate::Estimate;
pub use self::needs::{Need, machines_exact, machines_whole};
pub use self::seed::Shape;
pub use self::sizes::rng;
use crate::profile::{Catalog, Kind, Loaded, Profile};

/// What a run creates, needs and costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Version of this format.
    pub schema_version: u32,
    /// The profile, with overrides applied.
    pub profile: Profile,
    /// Its catalog.
    pub catalog: Catalog,
    /// The overrides, as given.
    pub overrides: Vec<String>,
    /// Totals over all clusters.
    pub totals: Totals,
    /// Cost in memory and time.
    pub estimate: Estimate,
    /// Machines by shape (= archetype).
    pub shapes: BTreeMap<String, Shape>,
    /// Clusters, in order.
    pub clusters: Vec<ClusterPlan>,
    /// The machines that the shard starts with.
    pub inventory: Inventory,
}

/// Totals over all clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Totals {
    /// Pods.
    pub pods: u64,
    /// Workload objects.
    pub objects: u32,
    /// Machines when quiet.
    pub machines: u32,
    /// Fewest machines that could hold the Pods.
    pub machines_lower_bound: u32,
    /// Machines when every wave is at its highest.
    pub machines_max: u32,
    /// Machines seeded, in any state.
    pub seeded: u32,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPlan {
    /// `kwok-cluster-<n>`.
    pub name: String,
    /// Pods.
    pub pods: u32,
    /// Machines when quiet.
    pub machines: u32,
    /// Demand as the shard sees it.
    pub needs: Vec<Need>,
    /// Workload objects, by archetype and index.
    pub workloads: Vec<Workload>,
}

/// One Deployment or StatefulSet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// `<cluster>-<archetype>-<index>`; also the value of its Pods' workload label.
    pub name: String,
    /// Key in the catalog.
    pub archetype: String,
    /// Controller that owns its Pods.
    pub kind: Kind,
    /// Service index within archetype and cluster; through the name it is part of the template.
    pub index: u32,
    /// Replicas when quiet.
    pub replicas: u32,
    /// Index into the archetype's sizes.
    pub size: usize,
    /// Whether it carries the archetype's spread constraint.
    pub spread: bool,
    /// Value of the co-location label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<String>,
    /// SHA-256 of the Pod template. No two objects share one.
    pub fingerprint: String,
}

/// Derives the plan of a loaded profile.
///
/// # Errors
/// [`PlanError`] with everything that would make the run pointless: a catalog that cannot reach the target, a seed with
/// too few machines, a Need at the edge of a machine.
pub fn derive(loaded: &Loaded) -> Result<Plan, PlanError> {
    let (profile, catalog) = (&loaded.profile, &loaded.catalog);
    let refuse = |refusals| PlanError { profile: profile.name.clone(), refusals };
    let pods = sizes::pods_per_archetype(profile, catalog).map_err(|r| refuse(vec![r]))?;
    let clusters: Vec<ClusterPlan> =
        profile.cluster_names().map(|name| cluster(profile, catalog, name, &pods)).collect();
    // Clusters differ in their objects, not in the sizes of their Needs, so this is reported once.
    let mut refusals =
        clusters.first().map_or_else(Vec::new, |c| needs::refusals(&c.name, profile, catalog, &c.needs));
    refusals.extend(names::refusals(&clusters));
    match seed::seed(profile, catalog, &clusters) {
        Ok((shapes, inventory)) if refusals.is_empty() => {
            let sum = |f: fn(&Shape) -> u32| shapes.values().map(f).sum();
            Ok(Plan {
                schema_version: 1,
                totals: Totals {
                    pods: profile.total_pods(),
                    objects: clusters.iter().map(|c| c.workloads.len() as u32).sum(),
                    machines: sum(|s| s.needed),
                    machines_lower_bound: sum(|s| s.lower_bound),
                    machines_max: sum(|s| s.needed_peak),
                    seeded: inventory.machines.len() as u32,
                },
                estimate: Estimate::of(profile),
                profile: profile.clone(),
                catalog: catalog.clone(),
                overrides: loaded.overrides.clone(),
                shapes,
                clusters,
                inventory,
            })
        }
        Ok(_) => Err(refuse(refusals)),
        Err(short) => {
            refusals.extend(short);
            Err(refuse(refusals))
        }
    }
}

fn cluster(profile: &Profile, catalog: &Catalog, name: String, pods: &BTreeMap<String, u32>) -> ClusterPlan {
    let workloads: Vec<Workload> = pods
        .iter()
        .filter(|(_, count)| **count > 0)
        .flat_map(|(archetype, count)| workloads(profile, catalog, &name, archetype, *count))
        .collect();
    let needs = needs::of_cluster(profile, catalog, &workloads);
    ClusterPlan {
        pods: workloads.iter().map(|w| w.replicas).sum(),
        machines: needs.iter().map(|n| n.machines).sum(),
        name,
        needs,
        workloads,
    }
}

fn workloads(
    profile: &Profile,
    catalog: &Catalog,
    cluster: &str,
    archetype_name: &str,
    pods: u32,
) -> Vec<Workload> {
    let archetype = &catalog.archetypes[archetype_name];
    let mut rng = sizes::rng(profile.seed, &format!("workloads/{cluster}/{archetype_name}"));
    let replicas = sizes::replicas(archetype, pods, &mut rng);
    let total_weight: u32 = archetype.sizes.iter().map(|s| s.weight).sum();
    (0_u32..)
        .zip(replicas)
        .map(|(index, replicas)| {
            let mut ticket = rng.random_range(0..total_weight);
            let mut in_turn = archetype.sizes.iter().enumerate();
            let size = in_turn.find_map(|(i, s)| match ticket.checked_sub(s.weight) {
                Some(rest) => {
                    ticket = rest;
                    None
                }
                None => Some(i),
            });
            let spread = archetype.spread.as_ref().is_some_and(|s| rng.random_bool(s.probability));
            let gang = archetype.gang.is_some().then(|| format!("{cluster}-{archetype_name}-grp-{index}"));
            let mut workload = Workload {
                name: format!("{cluster}-{archetype_name}-{index}"),
                archetype: archetype_name.to_owned(),
                kind: archetype.kind,
                index,
                replicas,
                size: size.expect("a ticket below the sum of weights must hit a size"),
                spread,
                gang,
                fingerprint: String::new(),
            };
            workload.fingerprint =
                template::fingerprint(&template::pod_template(catalog, archetype, &workload));
            workload
        })
        .collect()
}

impl Plan {
    /// Returns the plan as pretty-printed JSON, the content of `plan.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan must serialise")
    }

    /// Returns the fewest and most machines of these clusters when quiet.
    pub fn machines_quiet<'a>(&self, clusters: impl IntoIterator<Item = &'a ClusterPlan>) -> (u32, u32) {
        let needs = clusters.into_iter().flat_map(|cluster| &cluster.needs);
        needs
            .map(|need| need.machines_quiet(&self.profile, &self.catalog))
            .fold((0, 0), |sum, (fewest, most)| (sum.0 + fewest, sum.1 + most))
    }

    /// Returns the cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&ClusterPlan> {
        self.clusters.iter().find(|c| c.name == name)
    }
}

impl ClusterPlan {
    /// Returns indices into `workloads`, in the order of the fill. The archetypes that spread come first, one after the
    /// other: between two multiples of the number of zones, machines are uneven, so some of their Pods must wait for
    /// the next machine, and the wait lasts as long as it takes to declare a machine's worth of that archetype (in
    /// proportion, it took minutes and caused 93 % of all failed attempts). The others follow in proportion: after any
    /// share of the objects, each archetype has about that share of its Pods. StatefulSets go at twice the pace,
    /// because they create one Pod after the other, and a fill that starts them last ends by waiting for them.
    pub fn fill_order(&self) -> Vec<usize> {
        let mut totals = BTreeMap::<&str, u32>::new();
        for w in &self.workloads {
            *totals.entry(&w.archetype).or_default() += w.replicas;
        }
        let mut before = BTreeMap::<&str, u32>::new();
        let mut keyed: Vec<(bool, &str, f64, usize)> = Vec::with_capacity(self.workloads.len());
        for (i, w) in self.workloads.iter().enumerate() {
            let sum = before.entry(&w.archetype).or_default();
            let share =
                (f64::from(*sum) + f64::from(w.replicas) / 2.0) / f64::from(totals[w.archetype.as_str()]);
            let share = if w.kind == Kind::StatefulSet { share / 2.0 } else { share };
            keyed.push((!w.spread, if w.spread { &w.archetype } else { "" }, share, i));
            *sum += w.replicas;
        }
        keyed.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)).then(a.3.cmp(&b.3)));
        keyed.into_iter().map(|(_, _, _, i)| i).collect()
    }
}
