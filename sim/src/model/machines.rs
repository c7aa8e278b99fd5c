//! The machines as the model sees them: the engine's inventory, and beside it the room on each machine.

use std::collections::HashMap;

use api::inventory::Inventory as Seed;
use fleet_engine::matching::suits;
use fleet_engine::{Change, Inventory, Machine, MachineId, Need, Resources, State, inventory};

use crate::counters::state_idx;

/// Index of a machine: its place in id order at the start, so that a lower index is a lower id.
pub(crate) type MachineIdx = u32;

/// One value per resource that some Pod asks for, in thousandths.
pub(crate) type Amounts = Vec<i128>;

/// All machines.
pub(crate) struct Machines {
    pub(crate) inventory: Inventory,
    ids: Vec<MachineId>,
    /// Shape of each machine: what all machines of one shape have in common.
    shapes: Vec<u32>,
    samples: Vec<Machine>,
    /// Allocatable by shape.
    allocatable: Vec<Amounts>,
    resources: Vec<String>,
    /// Left on each machine, `resources.len()` values per machine.
    free: Vec<i128>,
    pods: Vec<u32>,
    states: [u32; State::ALL.len()],
    pub(crate) removed: u32,
    /// Changes that the inventory refused.
    pub(crate) illegal: u32,
}

impl Machines {
    /// Takes a seed over; `resources` are the names that Pods ask for.
    pub(crate) fn new(seed: &Seed, resources: Vec<String>) -> Result<Self, inventory::Error> {
        let inventory = Inventory::from_seed(seed)?;
        let mut by_looks = HashMap::new();
        let mut shapes = Vec::with_capacity(inventory.len());
        let mut samples: Vec<Machine> = Vec::new();
        let mut states = [0; State::ALL.len()];
        for machine in inventory.iter() {
            states[state_idx(machine.state)] += 1;
            let looks = looks(machine);
            let shape = *by_looks.entry(looks).or_insert_with(|| {
                samples.push(machine.clone());
                samples.len() as u32 - 1
            });
            shapes.push(shape);
        }
        let of = |m: &Machine| resources.iter().map(|name| m.allocatable.get(name)).collect();
        let allocatable: Vec<Amounts> = samples.iter().map(of).collect();
        let free = shapes.iter().flat_map(|&s| allocatable[s as usize].iter().copied()).collect();
        Ok(Self {
            ids: inventory.iter().map(|m| m.id.clone()).collect(),
            pods: vec![0; shapes.len()],
            inventory,
            shapes,
            samples,
            allocatable,
            resources,
            free,
            states,
            removed: 0,
            illegal: 0,
        })
    }

    /// How many there were at the start.
    pub(crate) fn seeded(&self) -> usize {
        self.ids.len()
    }

    /// Machines by state, in the order of `State::ALL`.
    pub(crate) fn states(&self) -> [u32; State::ALL.len()] {
        self.states
    }

    /// How many machines are in a state.
    pub(crate) fn count(&self, state: State) -> u32 {
        self.states[state_idx(state)]
    }

    pub(crate) fn id(&self, machine: MachineIdx) -> &MachineId {
        &self.ids[machine as usize]
    }

    pub(crate) fn index(&self, id: &str) -> Option<MachineIdx> {
        self.ids.binary_search_by(|known| known.as_ref().cmp(id)).ok().map(|i| i as MachineIdx)
    }

    pub(crate) fn get(&self, machine: MachineIdx) -> Option<&Machine> {
        self.inventory.get(self.id(machine))
    }

    /// By shape, whether its machines will do for a Need.
    pub(crate) fn suited(&self, need: &Need) -> Vec<bool> {
        self.samples.iter().map(|sample| suits(sample, need)).collect()
    }

    pub(crate) fn shape(&self, machine: MachineIdx) -> usize {
        self.shapes[machine as usize] as usize
    }

    pub(crate) fn label(&self, machine: MachineIdx, key: &str) -> Option<&str> {
        self.samples[self.shape(machine)].label(key)
    }

    /// Changes a machine's state; false, and counted, when the change is not legal. One that is gone is left
    /// alone: whoever began something with it has lost it.
    pub(crate) fn apply(&mut self, machine: MachineIdx, change: Change) -> bool {
        let id = &self.ids[machine as usize];
        let Some(from) = self.inventory.get(id).map(|m| m.state) else { return false };
        let to = self.inventory.apply(id, change).map(|m| m.state);
        self.note(from, to)
    }

    /// Makes an action's first change; false, and counted, when it does not fit the machine.
    pub(crate) fn begin(&mut self, action: &fleet_engine::Action) -> bool {
        let Some(from) = self.inventory.get(&action.machine).map(|m| m.state) else {
            self.illegal += 1;
            return false;
        };
        let to = self.inventory.begin(action).map(|m| m.state);
        self.note(from, to)
    }

    /// Counts a change, or its refusal.
    fn note(&mut self, from: State, to: Result<State, inventory::Error>) -> bool {
        match to {
            Ok(to) => {
                self.states[state_idx(from)] -= 1;
                self.states[state_idx(to)] += 1;
                true
            }
            Err(_) => {
                self.illegal += 1;
                false
            }
        }
    }

    /// The provider lists the machine no more.
    pub(crate) fn remove(&mut self, machine: MachineIdx) -> Option<Machine> {
        let gone = self.inventory.remove(&self.ids[machine as usize])?;
        self.states[state_idx(gone.state)] -= 1;
        self.removed += 1;
        Some(gone)
    }

    /// An empty Node: what a Configured machine starts as.
    pub(crate) fn clear(&mut self, machine: MachineIdx) {
        let width = self.resources.len();
        let start = machine as usize * width;
        let allocatable = &self.allocatable[self.shapes[machine as usize] as usize];
        self.free[start..start + width].copy_from_slice(allocatable);
        self.pods[machine as usize] = 0;
    }

    /// Pods on a machine.
    pub(crate) fn pods(&self, machine: MachineIdx) -> u32 {
        self.pods[machine as usize]
    }

    /// How many more Pods of that size a machine holds.
    pub(crate) fn room(&self, machine: MachineIdx, unit: &Amounts) -> u32 {
        let start = machine as usize * self.resources.len();
        let free = &self.free[start..start + self.resources.len()];
        let per_resource =
            free.iter().zip(unit).filter(|(_, unit)| **unit > 0).map(|(free, unit)| free / unit);
        per_resource.min().map_or(u32::MAX, |n| u32::try_from(n.max(0)).unwrap_or(u32::MAX))
    }

    /// Puts Pods on a machine that has room for them.
    pub(crate) fn place(&mut self, machine: MachineIdx, unit: &Amounts, pods: u32) {
        self.shift(machine, unit, -i128::from(pods));
        self.pods[machine as usize] += pods;
    }

    /// Takes Pods off a machine.
    pub(crate) fn unplace(&mut self, machine: MachineIdx, unit: &Amounts, pods: u32) {
        self.shift(machine, unit, i128::from(pods));
        self.pods[machine as usize] -= pods;
    }

    fn shift(&mut self, machine: MachineIdx, unit: &Amounts, pods: i128) {
        let start = machine as usize * self.resources.len();
        for (free, unit) in self.free[start..].iter_mut().zip(unit) {
            *free += unit * pods;
        }
    }

    /// A vector of the resources that count here.
    pub(crate) fn amounts(&self, of: &Resources) -> Amounts {
        self.resources.iter().map(|name| of.get(name)).collect()
    }
}

/// What Pods can tell two machines apart by.
type Looks = (String, String, Vec<(String, String)>, Vec<(String, String)>);

fn looks(m: &Machine) -> Looks {
    (
        m.instance_type.clone(),
        m.zone.clone(),
        m.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        m.allocatable.to_texts().into_iter().collect(),
    )
}
