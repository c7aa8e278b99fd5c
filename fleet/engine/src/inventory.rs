//! The machines a shard knows, and the only way to change them.

use std::collections::BTreeMap;

use crate::action::{Action, Kind};
use crate::looks::{Looks, Tailor};
use crate::machine::{Assignment, Machine, MachineId, State};
use crate::resources::{self, Resources};

/// Machines by id.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    machines: BTreeMap<MachineId, Machine>,
    looks: Looks,
}

/// A refused change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody knows the machine.
    #[error("no machine {0} in the inventory")]
    Unknown(String),
    /// Not an edge of the state machine.
    #[error("machine {id} cannot go from {} to {}", from.name(), to.name())]
    IllegalEdge {
        /// The machine.
        id: String,
        /// Its state.
        from: State,
        /// The state asked for.
        to: State,
    },
    /// A state that needs a cluster, or must not have one.
    #[error("machine {id} cannot be {} {} a cluster", to.name(), if *with { "with" } else { "without" })]
    Binding {
        /// The machine.
        id: String,
        /// The state asked for.
        to: State,
        /// Whether a cluster was given.
        with: bool,
    },
    /// A seed the shard cannot work with.
    #[error("seed machine {id}: {what}")]
    Seed {
        /// The machine.
        id: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A change of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The provider starts to create it, for someone.
    Create(Assignment),
    /// It becomes free; the time is in seconds on the caller's clock.
    Free {
        /// Since when.
        now_s: u64,
    },
    /// It is bound to the assignment's cluster.
    Bind(Assignment),
    /// The cluster's configuration took.
    Configured,
    /// Its workloads start to leave.
    Drain,
    /// It is handed back.
    Delete,
    /// It is a quota slot again.
    Gone,
    /// It broke.
    Fail {
        /// Why.
        error: String,
    },
}

impl Change {
    fn target(&self) -> State {
        match self {
            Self::Create(_) => State::Creating,
            Self::Free { .. } => State::Idle,
            Self::Bind(_) => State::Configuring,
            Self::Configured => State::Configured,
            Self::Drain => State::Draining,
            Self::Delete => State::Deleting,
            Self::Gone => State::Speculative,
            Self::Fail { .. } => State::Failed,
        }
    }
}

impl Inventory {
    /// Takes over a seed.
    ///
    /// # Errors
    /// [`Error::Seed`] for a double id, an unparsable allocatable, a price or probability out of range,
    /// or a Configured machine without a cluster.
    pub fn from_seed(seed: &api::inventory::Inventory) -> Result<Self, Error> {
        let mut machines = BTreeMap::new();
        let mut tailor = Tailor::default();
        for m in &seed.machines {
            let mut machine = seed_machine(m).map_err(|what| Error::Seed { id: m.id.clone(), what })?;
            machine.look = tailor.look(&machine);
            if machines.insert(machine.id.clone(), machine).is_some() {
                return Err(Error::Seed { id: m.id.clone(), what: "its id occurs twice".into() });
            }
        }
        Ok(Self { machines, looks: tailor.done() })
    }

    /// All machines in id order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Machine> {
        self.machines.values()
    }

    /// One machine.
    pub fn get(&self, id: &str) -> Option<&Machine> {
        self.machines.get(id)
    }

    /// What machines have in common.
    pub(crate) fn looks(&self) -> &Looks {
        &self.looks
    }

    /// How many machines there are, in whatever state.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// How many machines of a cluster are in a state.
    pub fn count(&self, cluster: &str, state: State) -> usize {
        self.iter().filter(|m| m.state == state && m.cluster.as_deref() == Some(cluster)).count()
    }

    /// Forgets a machine that the provider no longer lists, whatever its state.
    pub fn remove(&mut self, id: &str) -> Option<Machine> {
        self.machines.remove(id)
    }

    /// Changes one machine, if the edge is legal; returns it as it is now.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::IllegalEdge`]; the machine is as before.
    pub fn apply(&mut self, id: &str, change: Change) -> Result<&Machine, Error> {
        let machine = self.machines.get_mut(id).ok_or_else(|| Error::Unknown(id.to_owned()))?;
        let (from, to) = (machine.state, change.target());
        if !from.may_become(to) {
            return Err(Error::IllegalEdge { id: id.to_owned(), from, to });
        }
        match change {
            Change::Create(assignment) => machine.assigned = Some(assignment),
            Change::Bind(assignment) => {
                machine.cluster = Some(assignment.cluster.clone());
                machine.assigned = Some(assignment);
            }
            Change::Free { now_s } => {
                // From Creating the assignment stays until the bind that follows at once.
                if from != State::Creating {
                    machine.assigned = None;
                }
                machine.cluster = None;
                machine.idle_since_s = now_s;
            }
            Change::Gone => machine.assigned = None,
            Change::Fail { error } => machine.last_error = error,
            Change::Configured | Change::Drain | Change::Delete => {}
        }
        machine.state = to;
        Ok(machine)
    }

    /// Makes the first change of an action: from here on the machine counts as taken.
    ///
    /// # Errors
    /// As [`Inventory::apply`]: the action no longer fits the machine.
    pub fn begin(&mut self, action: &Action) -> Result<&Machine, Error> {
        let assignment = || action.assignment.clone();
        let change = match action.kind {
            Kind::Bootstrap => assignment().map(Change::Bind),
            Kind::Provision => assignment().map(Change::Create),
            Kind::Reclaim | Kind::Preempt => Some(Change::Drain),
            Kind::Delete => Some(Change::Delete),
        };
        let id = action.machine.as_ref();
        let change = change.ok_or_else(|| Error::Binding {
            id: id.to_owned(),
            to: if action.kind == Kind::Bootstrap { State::Configuring } else { State::Creating },
            with: false,
        })?;
        self.apply(id, change)
    }
}

fn seed_machine(seed: &api::inventory::SeedMachine) -> Result<Machine, String> {
    use api::inventory::SeedState;
    if !(seed.price_per_hour.is_finite() && seed.price_per_hour >= 0.0) {
        return Err(format!("pricePerHour is {}; give a number of dollars", seed.price_per_hour));
    }
    if !(0.0..=1.0).contains(&seed.interruption_probability) {
        return Err(format!("interruptionProbability is {}; give 0..=1", seed.interruption_probability));
    }
    let allocatable = Resources::parse(&seed.allocatable).map_err(|e: resources::Error| e.to_string())?;
    let (state, cluster) = match (seed.state, &seed.cluster) {
        (SeedState::Idle, None) => (State::Idle, None),
        (SeedState::Speculative, None) => (State::Speculative, None),
        (SeedState::Configured, Some(cluster)) => (State::Configured, Some(cluster.clone())),
        (SeedState::Configured, None) => return Err("Configured, but for no cluster".into()),
        (_, Some(_)) => return Err("only a Configured machine can have a cluster".into()),
    };
    let assigned = cluster.clone().map(|cluster| Assignment {
        cluster,
        fingerprint: String::new(),
        group: String::new(),
        priority: seed.assigned_priority,
        interruption_bucket: 0,
        reclamation_bucket: 0,
    });
    Ok(Machine {
        id: seed.id.as_str().into(),
        state,
        cluster,
        instance_type: seed.instance_type.clone(),
        zone: seed.zone.clone(),
        labels: seed.labels.clone(),
        allocatable,
        capacity_type: seed.capacity_type,
        price_per_hour: seed.price_per_hour,
        interruption_probability: seed.interruption_probability,
        assigned,
        idle_since_s: 0,
        last_error: String::new(),
        look: 0,
    })
}
