//! Memory: more than the caches hold.

use crate::random::fold;

/// Cache lines, 64 MiB of them; a power of two.
const LINES: usize = 1 << 20;
/// Words of eight bytes in a line.
const WORDS: usize = 8;
/// Reads of a unit, each of which waits for the one before.
const READS: usize = 2_400;
/// Copied in a unit: words, 256 KiB.
const COPIED: usize = 1 << 15;
/// A linear congruential generator: with the increment that stands in every line, it comes past all 2^32 states.
const MULTIPLIER: u64 = 1_664_525;
const INCREMENT: u64 = 1_013_904_223;

pub(crate) struct Memory {
    words: Vec<u64>,
    copy: Vec<u64>,
    state: u64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        // Written and not only mapped: the kernel gives one and the same page for zeros.
        Self { words: vec![INCREMENT; LINES * WORDS], copy: vec![0; COPIED], state: 4 }
    }

    pub(crate) fn run(&mut self) -> u64 {
        let mut state = self.state;
        for _ in 0..READS {
            let line = (state >> 12) as usize & (LINES - 1);
            // What is read there decides where the next read is, so that none can begin earlier.
            state = (state.wrapping_mul(MULTIPLIER).wrapping_add(self.words[line * WORDS])) & 0xffff_ffff;
        }
        self.state = state;
        let from = (state >> 12) as usize % (self.words.len() - COPIED);
        self.copy.copy_from_slice(&self.words[from..from + COPIED]);
        fold(state, std::hint::black_box(&self.copy)[COPIED - 1])
    }
}
