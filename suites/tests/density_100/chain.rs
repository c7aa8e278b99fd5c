//! The runs of the whole chain that the claims read: one profile with variations.

use std::collections::BTreeMap;

use anyhow::Context;
use harness_analysis::judge::packing::{self, NodeKey};
use harness_model::record::Phase;
use suites::scenarios::{Ended, Scenario, runs};

/// Rules of validity that the evidence of packing depends on. The others are about speed, about which nothing is
/// claimed here.
const NEEDED: [&str; 6] = [
    "completed",
    "components_alive",
    "watches_without_gap",
    "ledger_complete",
    "ledger_agrees_with_list",
    "nodes_stayed_ready",
];

/// What a run varies in the profile `density`.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub name: &'static str,
    pub density: u64,
    /// By archetype of the catalog `single-shape`.
    pub pods: &'static [(&'static str, u64)],
    pub set: &'static [&'static str],
}

pub const BARE: Variant =
    Variant { name: "bare-10", density: 10, pods: &[("deployment", 35)], set: &["workloads=bare"] };

pub const STATEFUL_SETS: Variant =
    Variant { name: "stateful-sets-40", density: 40, pods: &[("stateful-set", 140)], set: &[] };

pub const DEPLOYMENTS: Variant = Variant {
    name: "deployments-100",
    density: 100,
    pods: &[("deployment", 1450)],
    // Half as many Pods at twice the pace would keep two cores busy, and late CapacityRequests would look like more
    // demand.
    set: &["churnPerMinute=0.5", "phases.soak=60s"],
};

pub const CONSTRAINTS: Variant = Variant {
    name: "constraints-40",
    density: 40,
    pods: &[("gang", 180), ("zone-spread", 220)],
    set: &[
        // All gangs fit on one rack, because each gang gets the first rack in order that has room for it.
        "inventory.idlePerShape.gang=24",
        // With folding, a gang of which only a few Pods have been created so far would fit one machine, and get one on
        // any rack.
        "shard.gangFolding=false",
    ],
};

const ALL: [Variant; 4] = [BARE, STATEFUL_SETS, DEPLOYMENTS, CONSTRAINTS];

impl Variant {
    fn scenario(&self) -> Scenario {
        let total: u64 = self.pods.iter().map(|(_, pods)| pods).sum();
        let pods: Vec<String> = self.pods.iter().map(|(name, pods)| format!("{name}: {pods}")).collect();
        let mut overrides = vec![
            format!("density={}", self.density),
            format!("podsPerCluster={total}"),
            format!("podsPerArchetype={{{}}}", pods.join(", ")),
        ];
        overrides.extend(self.set.iter().map(|set| (*set).to_owned()));
        Scenario { name: self.name.to_owned(), profile: "density".to_owned(), overrides }
    }
}

/// A finished run.
pub struct Run(Ended);

impl std::ops::Deref for Run {
    type Target = Ended;

    fn deref(&self) -> &Ended {
        &self.0
    }
}

impl Run {
    /// Returns the run of a variant. All variants are run at once, by the first trial that needs any.
    pub fn of(variant: &Variant) -> anyhow::Result<Self> {
        let runs = runs("density_100", &ALL.map(|variant| variant.scenario()), ALL.len())?;
        let ended = runs.get(variant.name).with_context(|| format!("there is no run {}", variant.name))?;
        let dir = ended.as_ref().map_err(|reason| anyhow::Error::msg(reason.clone()))?;
        Ok(Self(Ended::load(dir, &NEEDED)?))
    }

    /// Returns the time when everything was bound, and nothing had been churned yet.
    pub fn after_the_ramp_us(&self) -> anyhow::Result<u64> {
        Ok(self.evidence.window(Phase::Soak).context("there was no soak")?.0)
    }

    /// Returns the Pods on each Node of an archetype at `at_us`, the fullest first.
    pub fn pods_per_node(&self, archetype: &str, at_us: u64) -> Vec<u64> {
        let zones = self.zones(archetype);
        let counts = packing::pods_per_node(&self.evidence, at_us);
        let mut mine: Vec<u64> =
            counts.into_iter().filter(|(node, _)| zones.contains_key(node)).map(|(_, pods)| pods).collect();
        mine.sort_unstable_by(|a, b| b.cmp(a));
        mine
    }

    /// Returns all Nodes that an archetype ever had, with their zones.
    pub fn zones(&self, archetype: &str) -> BTreeMap<NodeKey<'_>, &str> {
        let mine = self.evidence.nodes.iter().filter(|n| n.archetype == archetype && n.created_us.is_some());
        mine.map(|n| ((n.cluster.as_str(), n.name.as_str()), n.zone.as_str())).collect()
    }
}
