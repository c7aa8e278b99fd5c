//! What machines have in common: most of a fleet looks alike, so that what is asked of machines is asked once per
//! look and not once per machine.
//!
//! Looks never change in a machine's life, so the answers are kept from step to step.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::machine::Machine;
use crate::matching::suits;
use crate::need::{Need, Requirement};
use crate::resources::Resources;

/// Number of a look.
pub(crate) type Look = u32;

/// Kinds of demand whose answers are kept; demand that changes all the time must not fill the memory.
const KINDS_MAX: usize = 1024;

/// Gives machines their looks while an inventory is read.
#[derive(Default)]
pub(crate) struct Tailor(HashMap<Signature, Look>);

/// Everything that requirements, residuals and prices can tell two machines apart by.
#[derive(PartialEq, Eq, Hash)]
struct Signature {
    instance_type: String,
    zone: String,
    labels: BTreeMap<String, String>,
    allocatable: Resources,
    price: u64,
    probability: u64,
}

impl Tailor {
    pub(crate) fn look(&mut self, m: &Machine) -> Look {
        let signature = Signature {
            instance_type: m.instance_type.clone(),
            zone: m.zone.clone(),
            labels: m.labels.clone(),
            allocatable: m.allocatable.clone(),
            price: m.price_per_hour.to_bits(),
            probability: m.interruption_probability.to_bits(),
        };
        let next = self.0.len() as Look;
        *self.0.entry(signature).or_insert(next)
    }

    pub(crate) fn done(self) -> Looks {
        Looks { count: self.0.len(), answers: Mutex::default() }
    }
}

/// The looks of an inventory, and answers about them.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    count: usize,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    kinds: HashMap<u64, Vec<Arc<Kind>>>,
    count: usize,
    domains: HashMap<String, Arc<Domains>>,
}

impl Clone for Looks {
    fn clone(&self) -> Self {
        Self { count: self.count, answers: Mutex::default() }
    }
}

/// The values of a label, numbered in order.
#[derive(Debug)]
pub(crate) struct Domains {
    by_look: Vec<Option<u32>>,
    names: Vec<String>,
}

impl Domains {
    /// The domain of a machine; `None` without the label.
    pub(crate) fn of(&self, machine: &Machine) -> Option<u32> {
        self.of_look(machine.look as usize)
    }

    /// The domain of all machines of a look.
    pub(crate) fn of_look(&self, look: usize) -> Option<u32> {
        self.by_look[look]
    }

    /// The label's value.
    pub(crate) fn name(&self, domain: u32) -> String {
        self.names[domain as usize].clone()
    }
}

/// What demand asks of one machine: requirements and smallest unit, whatever cluster, priority or amount.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Unique within a step.
    pub(crate) id: usize,
    requirements: Vec<Requirement>,
    min_unit: Resources,
    /// By look: 0 not asked yet, 1 will not do, 2 will do.
    fits: Box<[AtomicU8]>,
}

impl Kind {
    /// As [`suits`], for a Need of this kind.
    pub(crate) fn suits(&self, machine: &Machine, need: &Need) -> bool {
        let known = &self.fits[machine.look as usize];
        match known.load(Ordering::Relaxed) {
            0 => {
                let fits = suits(machine, need);
                known.store(1 + u8::from(fits), Ordering::Relaxed);
                fits
            }
            answer => answer == 2,
        }
    }
}

impl Looks {
    /// How many looks there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Keeps the memory of answers within bounds; to be called when nobody holds a kind.
    pub(crate) fn begin_step(&self) {
        let mut answers = self.lock();
        if answers.count > KINDS_MAX {
            *answers = Answers::default();
        }
    }

    /// The kind of a Need.
    pub(crate) fn kind(&self, need: &Need) -> Arc<Kind> {
        let mut hasher = DefaultHasher::new();
        (&need.profile.requirements, &need.min_unit).hash(&mut hasher);
        let mut answers = self.lock();
        let id = answers.count;
        let kinds = answers.kinds.entry(hasher.finish()).or_default();
        let known =
            kinds.iter().find(|k| k.requirements == need.profile.requirements && k.min_unit == need.min_unit);
        if let Some(kind) = known {
            return Arc::clone(kind);
        }
        let kind = Arc::new(Kind {
            id,
            requirements: need.profile.requirements.clone(),
            min_unit: need.min_unit.clone(),
            fits: (0..self.count).map(|_| AtomicU8::new(0)).collect(),
        });
        kinds.push(Arc::clone(&kind));
        answers.count += 1;
        kind
    }

    /// The domains of a label; `samples` gives a machine of each look that is still in the inventory.
    pub(crate) fn domains<'m>(&self, key: &str, samples: impl Iterator<Item = &'m Machine>) -> Arc<Domains> {
        let mut answers = self.lock();
        if let Some(domains) = answers.domains.get(key) {
            return Arc::clone(domains);
        }
        let labelled: Vec<(&Machine, &str)> = samples.filter_map(|m| Some((m, m.label(key)?))).collect();
        let mut names: Vec<&str> = labelled.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let mut by_look = vec![None; self.count];
        for (machine, name) in labelled {
            let place = names.binary_search(&name).expect("every name must be listed");
            by_look[machine.look as usize] = Some(place as u32);
        }
        let names = names.into_iter().map(str::to_owned).collect();
        let domains = Arc::new(Domains { by_look, names });
        answers.domains.insert(key.to_owned(), Arc::clone(&domains));
        domains
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        // Answers are whole at any point between two statements.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
