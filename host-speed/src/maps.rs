//! Maps: a hash map and a B-tree, with the keys that a cache of objects has.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::random::{Random, fold};

/// Objects in each map.
const OBJECTS: usize = 12_000;
/// Looked up in a unit, in each map.
const LOOKED_UP: usize = 420;
/// Removed and put in again in a unit, in each map.
const REPLACED: usize = 100;
/// Lists in a unit, and the objects of each.
const LISTS: usize = 14;
const LISTED: usize = 50;

pub(crate) struct Maps {
    random: Random,
    keys: Vec<String>,
    // With fixed keys: the standard hasher of a map is another one in every process.
    hashed: HashMap<String, u64, BuildHasherDefault<DefaultHasher>>,
    ordered: BTreeMap<String, u64>,
}

impl Maps {
    pub(crate) fn new() -> Self {
        let mut random = Random::new(2);
        let key = |n| format!("namespace-{}/workload-{:08x}-{n:05}", n % 10, random.next() as u32);
        let keys: Vec<String> = (0..OBJECTS).map(key).collect();
        let numbered = || keys.iter().cloned().zip(0..);
        let (hashed, ordered) = (numbered().collect(), numbered().collect());
        Self { random, keys, hashed, ordered }
    }

    pub(crate) fn run(&mut self) -> u64 {
        let mut seen = 0;
        for _ in 0..LOOKED_UP {
            let key = &self.keys[self.random.below(OBJECTS)];
            let of_both = self.hashed.get(key).zip(self.ordered.get(key));
            seen = fold(seen, of_both.map_or(0, |(a, b)| a.wrapping_add(*b)));
        }
        for _ in 0..REPLACED {
            let key = &self.keys[self.random.below(OBJECTS)];
            if let Some((key, value)) = self.hashed.remove_entry(key) {
                self.hashed.insert(key, value.wrapping_add(1));
            }
            if let Some((key, value)) = self.ordered.remove_entry(key) {
                self.ordered.insert(key, value.wrapping_add(1));
            }
        }
        for _ in 0..LISTS {
            let from = &self.keys[self.random.below(OBJECTS)];
            let listed = self.ordered.range::<String, _>(from..).take(LISTED);
            seen = fold(seen, listed.map(|(key, value)| key.len() as u64 ^ *value).sum());
        }
        seen
    }
}
