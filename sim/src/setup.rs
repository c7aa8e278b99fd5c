//! A fleet, stated exactly: what a scenario file or a profile's plan comes down to, and what the model runs.

use std::collections::BTreeMap;

use api::inventory::Inventory;
use harness_model::profile::{CrMode, CrRelease, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that a run depends on.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Name of the scenario or profile.
    pub name: String,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Decision cycles to run.
    pub cycles: u32,
    /// Cycles at the end that count as the steady part.
    pub window: u32,
    /// Virtual time between two cycles.
    pub cycle_interval: Span,
    /// The machines, in any state that a machine can be seeded in.
    pub inventory: Inventory,
    /// The clusters, in order.
    pub clusters: Vec<ClusterSetup>,
    /// Eras and rails.
    pub switches: Switches,
    /// How long things take.
    pub latency: Latency,
    /// How often the provider fails.
    pub failure_rate: FailureRate,
    /// Share of the bound Pods that is deleted and made anew per minute, 0..=1.
    pub churn_per_minute: f64,
    /// What happens when.
    pub events: Vec<Event>,
}

/// One cluster's demand.
#[derive(Clone, Debug)]
pub struct ClusterSetup {
    /// Its name, as in the seed inventory.
    pub name: String,
    /// Its workloads.
    pub workloads: Vec<WorkloadSetup>,
}

/// Pods that are alike in all that packing and engine can see.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSetup {
    /// By which events know it; gangs made from one entry share it.
    pub name: String,
    /// Pods declared at the start.
    pub replicas: u32,
    /// Resource name to Quantity, of one Pod.
    pub requests: BTreeMap<String, String>,
    /// Accepted values of the instance-type label; empty: any.
    pub instance_types: Vec<String>,
    /// Accepted values of the zone label; empty: any.
    pub zones: Vec<String>,
    /// Higher is served first.
    pub priority: i32,
    /// Dollars for interrupting a Pod.
    pub interruption_penalty: Option<f64>,
    /// Dollars tied to the machine a Pod is on.
    pub reclamation_penalty: Option<f64>,
    /// Group and topology label of a gang.
    pub gang: Option<GangSetup>,
    /// `DoNotSchedule` spread: topology label and skew.
    pub spread: Option<SpreadSetup>,
    /// Mean life of a Pod.
    pub lifetime: Option<Span>,
}

/// Pods that must share a domain.
#[derive(Clone, Debug, PartialEq)]
pub struct GangSetup {
    /// Tells gangs of one profile apart.
    pub group: String,
    /// The label whose value they share.
    pub topology_key: String,
}

/// Zone spreading of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadSetup {
    /// The label whose values are the domains.
    pub topology_key: String,
    /// Largest difference in Pods (and, for the engine, in machines) between two domains.
    pub max_skew: u32,
}

/// Eras of upstream and rails. Defaults are those of upstream's closed loop: today's semantics, rails off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Switches {
    /// Whether a controller replaces evicted Pods (ADR-0038); bare Pods are lost with their machine.
    pub controller_managed: bool,
    /// Which Pods have a CapacityRequest (ADR-0039).
    pub cr_mode: CrMode,
    /// When an evicted Pod's request goes.
    pub cr_release: CrRelease,
    /// Bare Pods only: whether load-driver makes up for lost ones, by fresh draws.
    pub top_up: bool,
    /// Whether a machine is Idle only once its Pods are gone; upstream's shard does not wait.
    pub wait_for_eviction: bool,
    /// Whose book Phase 3 reads (ADR-0045).
    pub attribution: Attribution,
    /// Share of a cluster's Configured machines that one cycle may reclaim (ADR-0046); 0: no cap.
    pub reclaim_cap_fraction: f64,
    /// Whether a collapsed roll-up is held until the third in a row (ADR-0046).
    pub empty_rollup_guard: bool,
    /// Whether a gang that fits one machine counts as a plain Need (ADR-0041).
    pub gang_folding: bool,
    /// Which machine a Pod is bound to.
    pub packing: Packing,
    /// Whether Pods are bound to the seeded Configured machines before cycle 1, alike on all of them.
    pub pre_bind: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            controller_managed: true,
            cr_mode: CrMode::PerPod,
            cr_release: CrRelease::OnTerminating,
            top_up: false,
            wait_for_eviction: true,
            attribution: Attribution::Single,
            reclaim_cap_fraction: 0.0,
            empty_rollup_guard: false,
            gang_folding: true,
            packing: Packing::Emptiest,
            pre_bind: true,
        }
    }
}

/// Whose claims tell surplus from use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attribution {
    /// Phase 1's (ADR-0045).
    Single,
    /// A walk of Phase 3's own: the era that oscillated.
    TwoWalk,
}

/// Which of the machines with room takes a Pod; ties go to the lower id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// That with the fewest Pods, as upstream's closed loop has it.
    Emptiest,
    /// That with the most Pods, as MostAllocated scoring has it.
    Fullest,
}

/// How long things take in virtual time. What takes no time happens within the cycle that decides it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Latency {
    /// Provider: Speculative to Idle.
    pub create: Span,
    /// Provider: Idle to Configured.
    pub configure: Span,
    /// Provider: Draining to Idle, after the eviction if the shard waits for that.
    pub drain: Span,
    /// From the start of a drain until its Pods are deleted.
    pub eviction: Span,
    /// From a Pod's deletion until its object is gone.
    pub termination: Span,
    /// From a bare Pod's loss until load-driver makes up for it; at least until the next cycle.
    pub top_up: Span,
}

/// How often the provider fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FailureRate {
    /// Share of creations, 0..=1.
    pub create: f64,
    /// Share of configurations, 0..=1.
    pub configure: f64,
}

/// What happens at the start of a cycle, before the roll-ups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// Which cycle, from 1.
    pub cycle: u32,
    /// Whom it meets; empty: all clusters.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Sets the replicas of a workload.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// The provider loses machines.
    #[serde(default)]
    pub remove_machines: Option<RemoveMachines>,
    /// The operators see none of their CapacityRequests for a while, so that their roll-ups are empty.
    #[serde(default)]
    pub blind_rollups: Option<u32>,
}

/// New replicas of a workload; of each gang, if it is made of gangs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// Its name.
    pub workload: String,
    /// Pods from now on.
    pub replicas: u32,
}

/// Machines that vanish from the provider, with the Pods on them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RemoveMachines {
    /// So many Configured ones of each cluster, the first by id.
    pub configured: u32,
    /// Only of this instance type.
    pub instance_type: Option<String>,
    /// These, in whatever state.
    pub ids: Vec<String>,
}
