//! Prints what a unit of the work takes here, by part: medians of 200 units. How `host_speed::REFERENCE` was measured.

#![allow(clippy::print_stdout)]

use std::io;

use host_speed::{REFERENCE, Work};

const UNITS: usize = 200;
/// Not counted: caches know nothing of the work yet.
const WARM_UP: usize = 20;

fn main() -> io::Result<()> {
    let mut work = Work::new()?;
    let units: Vec<_> = (0..WARM_UP + UNITS).map(|_| work.unit()).collect::<Result<_, _>>()?;
    let counted = &units[WARM_UP..];
    for (of, (name, reference_us)) in REFERENCE.named().into_iter().enumerate() {
        let median = median(counted.iter().map(|(parts, _)| u64::from(parts.named()[of].1)));
        println!("{name:12} {median:6} us  reference {reference_us:6} us");
    }
    let total = median(counted.iter().map(|(parts, _)| parts.total_us()));
    println!("{:12} {total:6} us  reference {:6} us", "all", REFERENCE.total_us());
    Ok(())
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}
