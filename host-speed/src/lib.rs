//! The work of the host speed index: a fixed piece that costs what control planes cost, and the CPU time it takes.
//!
//! Allocation, maps, JSON, protobuf, TLS records, system calls, and reads beyond the caches; from a fixed seed, so that
//! every unit does the same on every machine. `docs/host-speed.md` says how the index is made of it and what it is for.
//!
//! **Any change that shifts what a unit costs is a new [`INDEX_VERSION`]**: of the code here, and as well a compiler or a
//! version of serde_json, prost or ring that makes it more than some percent cheaper or dearer. Indices of two versions
//! are never compared. `Cargo.toml` fixes how this crate is compiled, so that a release build has the same index.

mod encode;
mod heap;
mod maps;
mod memory;
mod random;
mod wire;

use std::io;

use serde::{Deserialize, Serialize};

/// Version of the work. Values of two versions say nothing about each other.
pub const INDEX_VERSION: u32 = 1;

/// Units before those that count.
const WARM_UP_UNITS: usize = 5;

/// What a unit took on the reference machine, by part: medians of 200 units at its fastest
/// (`cargo run -p host-speed --example measure`).
pub const REFERENCE: Parts = Parts {
    allocation_us: 700,
    maps_us: 830,
    json_us: 790,
    protobuf_us: 760,
    tls_us: 290,
    syscalls_us: 660,
    memory_us: 940,
};

/// The machine on which [`REFERENCE`] was measured, and when.
pub const REFERENCE_MACHINE: &str = "2 cores / 24 GiB / AMD EPYC, 2026-11-30";

/// CPU time of one unit by part, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Small objects of many sizes, made and freed in no order.
    pub allocation_us: u32,
    /// A hash map and a B-tree with strings for keys.
    pub maps_us: u32,
    /// Pods to JSON and back.
    pub json_us: u32,
    /// Pods to protobuf and back.
    pub protobuf_us: u32,
    /// Records of TLS, sealed and opened.
    pub tls_us: u32,
    /// Loopback TCP and writes to a file in memory.
    pub syscalls_us: u32,
    /// Reads that depend on each other, and copies, over more than the caches hold.
    pub memory_us: u32,
}

impl Parts {
    /// All parts together.
    pub fn total_us(&self) -> u64 {
        self.named().into_iter().map(|(_, us)| u64::from(us)).sum()
    }

    /// Each part by its name, microseconds.
    pub fn named(&self) -> [(&'static str, u32); 7] {
        [
            ("allocation", self.allocation_us),
            ("maps", self.maps_us),
            ("json", self.json_us),
            ("protobuf", self.protobuf_us),
            ("tls", self.tls_us),
            ("syscalls", self.syscalls_us),
            ("memory", self.memory_us),
        ]
    }

    /// How fast the host was: the reference's CPU time over this one's. 1 is the reference machine, 2 a host twice as
    /// fast. `None` when nothing was measured.
    pub fn index(&self) -> Option<f64> {
        let total_us = self.total_us();
        (total_us > 0).then(|| REFERENCE.total_us() as f64 / total_us as f64)
    }

    /// The same for each part alone; parts that were not measured are left out.
    pub fn index_by_part(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let pairs = self.named().into_iter().zip(REFERENCE.named());
        pairs
            .filter(|((_, us), _)| *us > 0)
            .map(|((name, us), (_, of))| (name, f64::from(of) / f64::from(us)))
    }
}

/// The work, with the memory that it works on: about 70 MiB.
pub struct Work {
    heap: heap::Heap,
    maps: maps::Maps,
    encode: encode::Encode,
    wire: wire::Wire,
    memory: memory::Memory,
}

impl Work {
    /// Makes everything that a unit needs. Takes some tens of milliseconds.
    ///
    /// # Errors
    /// When the system refuses a loopback connection or a file in memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            heap: heap::Heap::new(),
            maps: maps::Maps::new(),
            encode: encode::Encode::new(),
            wire: wire::Wire::new()?,
            memory: memory::Memory::new(),
        })
    }

    /// The same, after as many units as caches and branch predictors need to know the work. They do not count.
    ///
    /// # Errors
    /// As [`Work::new`] and [`Work::unit`].
    pub fn warmed_up() -> io::Result<Self> {
        let mut work = Self::new()?;
        for _ in 0..WARM_UP_UNITS {
            work.unit()?;
        }
        Ok(work)
    }

    /// Does one unit; returns what it took of this thread's CPU time, and a digest of what came out, which is the same
    /// on every machine for the first unit, for the second, and so on.
    ///
    /// # Errors
    /// When a system call fails, or a part does not get back what it wrote.
    pub fn unit(&mut self) -> io::Result<(Parts, u64)> {
        let mut digest = random::FNV_OFFSET;
        let mut timed = |part: &mut dyn FnMut() -> io::Result<u64>| -> io::Result<u32> {
            let before = thread_cpu_ns();
            digest = random::fold(digest, part()?);
            let taken_us = thread_cpu_ns().saturating_sub(before) / 1000;
            Ok(u32::try_from(taken_us).unwrap_or(u32::MAX))
        };
        let parts = Parts {
            allocation_us: timed(&mut || Ok(self.heap.run()))?,
            maps_us: timed(&mut || Ok(self.maps.run()))?,
            json_us: timed(&mut || self.encode.json())?,
            protobuf_us: timed(&mut || self.encode.protobuf())?,
            tls_us: timed(&mut || self.wire.tls())?,
            syscalls_us: timed(&mut || self.wire.syscalls())?,
            memory_us: timed(&mut || Ok(self.memory.run()))?,
        };
        Ok((parts, digest))
    }
}

/// CPU time of this thread, nanoseconds.
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_the_same_every_time() {
        let digests = || {
            let mut work = Work::new().unwrap();
            [work.unit().unwrap().1, work.unit().unwrap().1, work.unit().unwrap().1]
        };
        let first = digests();
        assert_eq!(first, digests());
        // Other digests are other work: raise INDEX_VERSION and measure the reference anew.
        let known = [17_270_914_102_586_770_955, 14_522_097_847_829_156_757, 18_090_932_597_610_158_268];
        assert_eq!((INDEX_VERSION, first), (1, known));
    }

    #[test]
    fn every_part_costs_something_and_none_is_most_of_it() {
        let mut work = Work::new().unwrap();
        let units: Vec<Parts> = (0..20).map(|_| work.unit().unwrap().0).collect();
        let median = |of: usize| {
            let mut values: Vec<u32> = units.iter().map(|unit| unit.named()[of].1).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let parts: Vec<(&str, u32)> = (0..7).map(|of| (REFERENCE.named()[of].0, median(of))).collect();
        let total: u32 = parts.iter().map(|(_, us)| us).sum();
        for (name, us) in &parts {
            assert!(*us >= total / 50 && *us <= total / 2, "{name} takes {us} of {total} us: {parts:?}");
        }
    }

    #[test]
    fn the_index_is_the_reference_over_what_was_measured() {
        assert_eq!(REFERENCE.index(), Some(1.0));
        let slower = Parts { memory_us: REFERENCE.memory_us + REFERENCE.total_us() as u32, ..REFERENCE };
        assert_eq!(slower.index(), Some(0.5), "twice the time is half the speed");
        let memory = slower.index_by_part().find(|(name, _)| *name == "memory").unwrap().1;
        assert!(memory < 0.5, "{memory}");
        assert_eq!((Parts::default().index(), Parts::default().index_by_part().count()), (None, 0));
    }
}
