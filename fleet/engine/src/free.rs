//! Free machines by look, offered cheapest first.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::machine::Machine;

/// Free machines of one tier.
pub(crate) struct Free {
    /// Machines grouped by look, in id order within each.
    machines: Vec<usize>,
    /// Where each look's group begins in `machines`, and one past the last.
    starts: Vec<usize>,
    /// By look, how many machines at the head of its group are claimed for sure.
    spent: Vec<Cell<usize>>,
    /// By look, how many machines are not claimed.
    left: Vec<usize>,
    /// The looks that had any machine at the start of the step, in order.
    pub(crate) looks: Vec<usize>,
}

impl Free {
    /// Groups machines, given in id order.
    pub(crate) fn new(looks: usize, members: &[usize], look_of: impl Fn(usize) -> usize) -> Self {
        let mut left = vec![0; looks];
        for &i in members {
            left[look_of(i)] += 1;
        }
        let mut starts = Vec::with_capacity(looks + 1);
        let mut next = 0;
        for count in &left {
            starts.push(next);
            next += count;
        }
        starts.push(next);
        let mut ends = starts.clone();
        let mut machines = vec![0; members.len()];
        for &i in members {
            let end = &mut ends[look_of(i)];
            machines[*end] = i;
            *end += 1;
        }
        let present = (0..looks).filter(|&look| left[look] > 0).collect();
        Self { machines, starts, spent: vec![Cell::new(0); looks], left, looks: present }
    }

    /// Machines of a look that nobody has claimed.
    pub(crate) fn left(&self, look: usize) -> usize {
        self.left[look]
    }

    /// Notes that a machine of a look was claimed.
    pub(crate) fn claim(&mut self, look: usize) {
        self.left[look] -= 1;
    }

    /// All machines of a look, claimed ones too, in id order.
    pub(crate) fn group(&self, look: usize) -> &[usize] {
        &self.machines[self.starts[look]..self.starts[look + 1]]
    }

    /// The first machine of a look, from a place on, that is not claimed; and the place after it.
    fn next(&self, look: usize, from: usize, claimed: &[bool]) -> Option<(usize, usize)> {
        let group = self.group(look);
        let spent = self.spent[look].get();
        let start = from.max(spent);
        let found = (start..group.len()).find(|&place| !claimed[group[place]]);
        if start == spent {
            self.spent[look].set(found.unwrap_or(group.len()));
        }
        found.map(|place| (group[place], place + 1))
    }
}

/// Offers the unclaimed machines of some looks in the order of (cost, id).
pub(crate) struct Offers<'p> {
    free: &'p Free,
    claimed: &'p [bool],
    /// (cost, machine, look, place after it).
    heads: BinaryHeap<Reverse<(i64, usize, usize, usize)>>,
}

impl<'p> Offers<'p> {
    /// `cost` is asked once per look, of any machine of it.
    pub(crate) fn new(
        free: &'p Free,
        claimed: &'p [bool],
        machines: &[&Machine],
        looks: impl Iterator<Item = usize>,
        cost: impl Fn(&Machine) -> f64,
    ) -> Self {
        let head = |look| {
            let (machine, next) = free.next(look, 0, claimed)?;
            Some(Reverse((in_total_order(cost(machines[machine])), machine, look, next)))
        };
        Self { free, claimed, heads: looks.filter_map(head).collect() }
    }

    /// Cost and machine of the next offer, without taking it.
    pub(crate) fn peek(&self) -> Option<(i64, usize)> {
        self.heads.peek().map(|Reverse((cost, machine, _, _))| (*cost, *machine))
    }
}

impl Iterator for Offers<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let Reverse((cost, machine, look, place)) = self.heads.pop()?;
        if let Some((machine, next)) = self.free.next(look, place, self.claimed) {
            self.heads.push(Reverse((cost, machine, look, next)));
        }
        Some(machine)
    }
}

/// An integer that orders as [`f64::total_cmp`] does.
pub(crate) fn in_total_order(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_order_as_the_numbers_do() {
        let values = [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1e-300, 0.3, 1.0, 1e300, f64::INFINITY];
        for pair in values.windows(2) {
            assert!(in_total_order(pair[0]) < in_total_order(pair[1]), "{pair:?}");
        }
    }
}
