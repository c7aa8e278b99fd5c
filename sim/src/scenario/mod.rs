//! Scenario files: a fleet, what happens to it, and what must come out. A new case is a file and no code.

mod lower;

use std::collections::BTreeMap;
use std::path::Path;

use api::inventory::CapacityType;
use harness_model::profile::{self, GangScope, ProfileError, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::expect::Expectation;
use crate::setup::{Event, FailureRate, Latency, Setup, Switches};

/// One scenario. The fleet is the same in every cluster, but for entries that name clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Same as the file name.
    pub name: String,
    /// What it shows, in a sentence or two.
    #[serde(default)]
    pub description: String,
    /// Where its figures come from.
    #[serde(default)]
    pub source: String,
    /// Seed of everything that is drawn.
    #[serde(default)]
    pub seed: u64,
    /// Decision cycles to run.
    pub cycles: u32,
    /// Cycles at the end that count as the steady part; absent: the last third.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Virtual time between two cycles.
    #[serde(default = "ten_seconds")]
    pub cycle_interval: Span,
    /// A profile by name, in place of clusters, shapes, machines and workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Clusters, named `c0`, `c1`, ...
    #[serde(default)]
    pub clusters: u32,
    /// Zones of the fleet.
    #[serde(default = "three_zones")]
    pub zones: Vec<String>,
    /// Racks in each zone, named `<zone>-rack-<n>`.
    #[serde(default = "ten")]
    pub racks_per_zone: u32,
    /// Kinds of machine by name; the name is the instance type.
    #[serde(default)]
    pub shapes: BTreeMap<String, ShapeSpec>,
    /// The machines that exist at the start.
    #[serde(default)]
    pub machines: Vec<MachinesSpec>,
    /// Demand of each cluster.
    #[serde(default)]
    pub workloads: Vec<WorkloadSpec>,
    /// Eras and rails; with a profile: in place of the profile's.
    #[serde(default)]
    pub switches: Option<Switches>,
    /// How long things take; with a profile: in place of the profile's.
    #[serde(default)]
    pub latency: Option<Latency>,
    /// How often the provider fails; with a profile: in place of the profile's.
    #[serde(default)]
    pub failure_rate: Option<FailureRate>,
    /// Share of the bound Pods that is deleted and made anew per minute, 0..=1; with a profile: in place of the
    /// profile's.
    #[serde(default)]
    pub churn_per_minute: Option<f64>,
    /// What happens when.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What must come out.
    #[serde(default)]
    pub expect: Vec<Expectation>,
}

/// A kind of machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShapeSpec {
    /// Resource name to Quantity, density applied (ADR-0022).
    pub allocatable: BTreeMap<String, String>,
    /// Dollars per hour.
    #[serde(default)]
    pub price_per_hour: f64,
    /// 0..=1.
    #[serde(default)]
    pub interruption_probability: f64,
    /// How it is paid for.
    #[serde(default)]
    pub capacity_type: Payment,
}

/// How a machine is paid for: decides when an Idle one is released (ADR-0049).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Payment {
    #[default]
    BareMetal,
    Reserved,
    OnDemand,
    Spot,
}

impl From<Payment> for CapacityType {
    fn from(payment: Payment) -> Self {
        match payment {
            Payment::BareMetal => Self::BareMetal,
            Payment::Reserved => Self::Reserved,
            Payment::OnDemand => Self::OnDemand,
            Payment::Spot => Self::Spot,
        }
    }
}

/// Machines of one shape and state. Zones take turns, then racks; each entry goes on where the shape's last entry
/// ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachinesSpec {
    /// Their shape.
    pub shape: String,
    /// Their state.
    pub state: SeedState,
    /// How many: of each cluster if Configured, else in all.
    pub count: u32,
    /// Configured only: for these clusters; empty: for all.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// So many side by side in one rack before the next zone's turn.
    #[serde(default = "one")]
    pub together: u32,
    /// Only in this zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Only in this rack of its zone, by number.
    #[serde(default)]
    pub rack: Option<u32>,
    /// Priority that a Configured machine is held for; absent: the highest of the workloads that accept the shape.
    #[serde(default)]
    pub assigned_priority: Option<i32>,
}

/// States a machine can be seeded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum SeedState {
    Configured,
    Idle,
    Speculative,
}

/// Pods that are alike; with `gangs`, several groups of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// By which events know it.
    pub name: String,
    /// Only in these clusters; empty: in all.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Pods at the start; with `gangs`: of each gang.
    pub replicas: u32,
    /// Resource name to Quantity, of one Pod.
    pub requests: BTreeMap<String, String>,
    /// Shapes that its Pods accept; empty: any.
    #[serde(default)]
    pub shapes: Vec<String>,
    /// Zones that its Pods accept; empty: any.
    #[serde(default)]
    pub zones: Vec<String>,
    /// Higher is served first.
    #[serde(default)]
    pub priority: i32,
    /// Dollars for interrupting a Pod.
    #[serde(default)]
    pub interruption_penalty: Option<f64>,
    /// Dollars tied to the machine a Pod is on.
    #[serde(default)]
    pub reclamation_penalty: Option<f64>,
    /// Makes so many gangs of it, each of `replicas` Pods that must share a domain.
    #[serde(default)]
    pub gangs: Option<GangsSpec>,
    /// Spreads over the zones with `DoNotSchedule` and this skew.
    #[serde(default)]
    pub zone_spread_max_skew: Option<u32>,
    /// Mean life of a Pod.
    #[serde(default)]
    pub lifetime: Option<Span>,
}

/// Gangs of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GangsSpec {
    /// How many in each cluster.
    pub count: u32,
    /// What the Pods of one share.
    pub scope: GangScope,
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

fn three_zones() -> Vec<String> {
    ["zone-a", "zone-b", "zone-c"].map(str::to_owned).to_vec()
}

fn ten() -> u32 {
    10
}

fn one() -> u32 {
    1
}

/// Reads a scenario file.
///
/// # Errors
/// [`ProfileError`]: everything that is wrong with it, by key; unknown keys with the nearest known one.
pub fn load(path: &Path) -> Result<Scenario, ProfileError> {
    profile::read(path)
}

impl Scenario {
    /// The fleet that the scenario states.
    ///
    /// # Errors
    /// [`ProfileError`]: values that make no sense, by key.
    pub fn setup(&self, path: &Path) -> Result<Setup, ProfileError> {
        lower::lower(self, path)
    }
}
