//! Allocation: a live set of small objects, of which some are replaced in no order.

use crate::random::{Random, fold};

/// Objects that are alive, about 5 MiB.
const LIVE: usize = 16_384;
/// Objects that a unit replaces.
const REPLACED: usize = 1_800;
/// Sizes: most objects of a Go heap are below half a kilobyte.
const SIZE_MIN: usize = 16;
const SIZE_MAX: usize = 512;

pub(crate) struct Heap {
    random: Random,
    live: Vec<Vec<u8>>,
}

impl Heap {
    pub(crate) fn new() -> Self {
        let mut heap = Self { random: Random::new(1), live: Vec::with_capacity(LIVE) };
        for _ in 0..LIVE {
            let object = heap.object();
            heap.live.push(object);
        }
        heap
    }

    pub(crate) fn run(&mut self) -> u64 {
        let mut seen = 0;
        for _ in 0..REPLACED {
            let slot = self.random.below(LIVE);
            let object = self.object();
            let gone = std::mem::replace(&mut self.live[slot], object);
            seen = fold(seen, gone.len() as u64 ^ u64::from(gone[gone.len() - 1]));
        }
        seen
    }

    fn object(&mut self) -> Vec<u8> {
        let size = SIZE_MIN + self.random.below(SIZE_MAX - SIZE_MIN);
        vec![size as u8; size]
    }
}
