//! Why a plan is refused.

/// One thing that would make the run pointless.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Gangs of the allowed sizes never add up to the number of Pods.
    #[error(
        "catalog cannot reach the target: {pods} Pods of {archetype} cannot be made of gangs of {min} to {max}; \
         change podsPerArchetype.{archetype}"
    )]
    Unreachable {
        /// Archetype of the Pods.
        archetype: String,
        /// How many were asked for.
        pods: u32,
        /// Smallest gang.
        min: u32,
        /// Largest gang.
        max: u32,
    },
    /// The seed has too few machines of a shape.
    #[error(
        "shape {shape} ({instance_types}) is short of {short} machines{place}: {needed} needed, {have} seeded; raise \
         inventory.idlePerShape.{shape} or inventory.headroomFraction"
    )]
    Short {
        /// The archetype that the shape is built for.
        shape: String,
        /// Its instance types.
        instance_types: String,
        /// ` in zone-a`, ` in whole racks`, or nothing.
        place: String,
        /// Machines at the peak of demand.
        needed: u32,
        /// Machines in the seed.
        have: u32,
        /// The difference.
        short: u32,
    },
    /// A Need so close to a whole number of machines that a single Pod tips it.
    #[error(
        "{cluster}: Need {need} is {exact:.2} machines ({pods} Pods), within {margin} of {edge}; the engine has no \
         hysteresis, so it would flap. Change podsPerArchetype.{need} by about half a machine, or set `exact: false`"
    )]
    Edge {
        /// Cluster name.
        cluster: String,
        /// The Need.
        need: String,
        /// Its Pods.
        pods: u32,
        /// Its size in machines.
        exact: f64,
        /// The whole number it is close to.
        edge: f64,
        /// Distance below which it is too close.
        margin: f64,
    },
    /// A zone-spread Need whose machines cannot be the same in each zone.
    #[error(
        "{cluster}: zone-spread Need {need} takes {machines} machines, which {zones} zones cannot share equally; \
         change podsPerArchetype.{need}, or set `exact: false`"
    )]
    Uneven {
        /// Cluster name.
        cluster: String,
        /// The Need.
        need: String,
        /// Its machines.
        machines: u32,
        /// Zones of the catalog.
        zones: usize,
    },
    /// A name that is longer than Kubernetes allows.
    #[error(
        "archetypes.{archetype}: the {what} `{text}` has {} characters, but Kubernetes allows at most {max}; \
         shorten the archetype's name by {over}",
        .text.len()
    )]
    Name {
        /// The archetype.
        archetype: String,
        /// What has the name.
        what: &'static str,
        /// The name.
        text: String,
        /// Largest allowed length.
        max: usize,
        /// Number of characters beyond it.
        over: usize,
    },
}

/// Why there is no plan. All of these are usage errors.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("profile {profile} is refused: {}", list(refusals))]
pub struct PlanError {
    /// The profile's name.
    pub profile: String,
    /// Everything that is wrong.
    pub refusals: Vec<Refusal>,
}

fn list(refusals: &[Refusal]) -> String {
    match refusals {
        [one] => one.to_string(),
        many => many.iter().map(|r| format!("\n  {r}")).collect(),
    }
}

/// The machine cannot hold the run. An environment error.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "profile {profile} needs about {needed_gib:.1} GiB of memory ({formula}); this machine has {available_gib:.1} GiB. \
     Use a larger machine or a smaller profile"
)]
pub struct TooSmall {
    /// The profile's name.
    pub profile: String,
    /// Estimate in GiB.
    pub needed_gib: f64,
    /// How the estimate is composed.
    pub formula: String,
    /// Available memory in GiB.
    pub available_gib: f64,
}
