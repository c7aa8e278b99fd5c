//! Packing: which machine takes which pending Pod.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::Simulation;
use super::machines::MachineIdx;
use crate::setup::Packing;

/// Machines with room, best first: by Pods on them in the packing's order, then by id.
type Offers = BinaryHeap<Reverse<(i64, MachineIdx)>>;

impl Simulation {
    /// Binds what can be bound: gangs first, then what spreads, then the rest.
    pub(super) fn bind_pending(&mut self) {
        for cluster in 0..self.clusters.len() {
            for turn in 0..self.clusters[cluster].bind_order.len() {
                let w = self.clusters[cluster].bind_order[turn];
                if self.workloads[w].pending > 0 {
                    self.bind(w);
                }
            }
        }
    }

    fn bind(&mut self, w: usize) {
        if self.workloads[w].gang.is_some() {
            self.bind_gang(w);
        } else if self.workloads[w].spread.is_some() {
            self.bind_spread(w);
        } else {
            let mut offers: Offers = self.with_room(w).map(|m| Reverse((self.rank(m), m))).collect();
            while self.workloads[w].pending > 0 && self.bind_one(w, &mut offers).is_some() {}
        }
    }

    /// All Pods of a gang go to the domain that its first Pod went to, and that is the roomiest.
    fn bind_gang(&mut self, w: usize) {
        let workload = &self.workloads[w];
        let Some(gang) = &workload.gang else { return };
        let domain_of = |m: MachineIdx| self.machines.label(m, &gang.topology_key);
        let home = workload.on.keys().next().and_then(|&m| domain_of(m));
        let mut domains = BTreeMap::<&str, (u64, Offers)>::new();
        for m in self.with_room(w) {
            let Some(domain) = domain_of(m).filter(|d| home.is_none_or(|home| home == *d)) else { continue };
            let (room, offers) = domains.entry(domain).or_default();
            *room += u64::from(self.machines.room(m, &workload.unit));
            offers.push(Reverse((self.rank(m), m)));
        }
        let wanted = u64::from(workload.pending);
        let best = domains.into_iter().max_by(|(a, (x, _)), (b, (y, _))| {
            (*x).min(wanted).cmp(&(*y).min(wanted)).then_with(|| b.cmp(a))
        });
        let Some((_, (_, mut offers))) = best else { return };
        while self.workloads[w].pending > 0 && self.bind_one(w, &mut offers).is_some() {}
    }

    /// Each Pod goes where the domain's Pods stay within the skew; a full domain still counts as one.
    fn bind_spread(&mut self, w: usize) {
        let workload = &self.workloads[w];
        let Some(spread) = &workload.spread else { return };
        let max_skew = spread.max_skew;
        let mut domains = BTreeMap::<&str, (u32, Offers)>::new();
        for &m in &self.clusters[workload.cluster].machines {
            if !workload.suited[self.machines.shape(m)] {
                continue;
            }
            let Some(domain) = self.machines.label(m, &spread.topology_key) else { continue };
            let (pods, offers) = domains.entry(domain).or_default();
            *pods += workload.on.get(&m).copied().unwrap_or(0);
            if self.machines.room(m, &workload.unit) > 0 {
                offers.push(Reverse((self.rank(m), m)));
            }
        }
        let mut domains: Vec<(u32, Offers)> = domains.into_values().collect();
        while self.workloads[w].pending > 0 {
            let fewest = domains.iter().map(|(pods, _)| *pods).min().unwrap_or(0);
            let allowed =
                domains.iter_mut().filter(|(pods, offers)| *pods < fewest + max_skew && !offers.is_empty());
            // The emptiest domain first: any other order may run into the skew with room to spare.
            let Some((pods, offers)) =
                allowed.min_by_key(|(pods, offers)| (*pods, offers.peek().map(|Reverse(best)| *best)))
            else {
                break;
            };
            if self.bind_one(w, offers).is_some() {
                *pods += 1;
            }
        }
    }

    /// The cluster's machines that take at least one more Pod of the workload.
    fn with_room(&self, w: usize) -> impl Iterator<Item = MachineIdx> + '_ {
        let workload = &self.workloads[w];
        self.clusters[workload.cluster].machines.iter().copied().filter(move |&m| {
            workload.suited[self.machines.shape(m)] && self.machines.room(m, &workload.unit) > 0
        })
    }

    fn rank(&self, machine: MachineIdx) -> i64 {
        let pods = i64::from(self.machines.pods(machine));
        match self.switches.packing {
            Packing::Emptiest => pods,
            Packing::Fullest => -pods,
        }
    }

    /// Binds one Pod to the best machine on offer.
    fn bind_one(&mut self, w: usize, offers: &mut Offers) -> Option<MachineIdx> {
        let Reverse((_, machine)) = offers.pop()?;
        let workload = &mut self.workloads[w];
        self.machines.place(machine, &workload.unit, 1);
        workload.bind(machine, 1);
        if self.machines.room(machine, &workload.unit) > 0 {
            offers.push(Reverse((self.rank(machine), machine)));
        }
        Some(machine)
    }
}
