//! Roll-ups: what each cluster's operator reports, and what the shard takes of it.

use fleet_engine::Need;
use fleet_engine::rails::Verdict;
use harness_model::profile::{CrMode, CrRelease};

use super::Simulation;
use super::workload::Workload;
use crate::setup::Switches;

/// One row of a cluster's roll-up: the Need of one Pod, and whose Pods fall into it.
pub(super) struct Row {
    pub(super) template: Need,
    pub(super) members: Vec<usize>,
}

impl Row {
    /// The Need as it stands; `None` when nobody asks for anything.
    fn need(&self, workloads: &[Workload], switches: &Switches) -> Option<Need> {
        let mut need: Option<Need> = None;
        for &member in &self.members {
            let w = &workloads[member];
            let pods = requests(w, switches);
            if pods == 0 {
                continue;
            }
            let need = need.get_or_insert_with(|| Need {
                aggregate: Default::default(),
                min_unit: Default::default(),
                ..self.template.clone()
            });
            need.aggregate.add_times(&w.unit_resources, pods);
            need.min_unit.raise_to(&w.unit_resources);
        }
        need
    }
}

/// CapacityRequests of a workload.
fn requests(w: &Workload, switches: &Switches) -> u64 {
    let still_there = match switches.cr_release {
        CrRelease::OnTerminating => 0,
        CrRelease::OnGone => w.terminating,
    };
    match switches.cr_mode {
        CrMode::PerPod => u64::from(w.live()) + u64::from(still_there),
        CrMode::UnschedulableOnly => u64::from(w.pending),
    }
}

impl Simulation {
    /// Every operator reports; the shard takes each report as a whole or holds it.
    pub(super) fn roll_up(&mut self) {
        let arrival_unix_nanos = i64::try_from(self.clock.now_ms).unwrap_or(i64::MAX / 1_000_000) * 1_000_000;
        let (workloads, switches) = (&self.workloads, &self.switches);
        let mut changed = false;
        for cluster in &mut self.clusters {
            let sees = self.now.cycle >= cluster.blind_until;
            let pods_of = |row: &Row| row.members.iter().map(|&w| requests(&workloads[w], switches)).sum();
            let pods: Vec<u64> = cluster.rows.iter().map(|row| if sees { pods_of(row) } else { 0 }).collect();
            self.now.requested += pods.iter().sum::<u64>();
            let rows = pods.iter().filter(|&&pods| pods > 0).count();
            let is_first = self.reported.insert(cluster.name.clone());
            if self.switches.empty_rollup_guard && cluster.guard.judge(rows) == Verdict::Hold {
                self.now.rollups_held += 1;
                continue;
            }
            if is_first || pods != cluster.accepted_pods {
                let needs = cluster.rows.iter().filter(|_| sees);
                cluster.accepted = needs.filter_map(|row| row.need(workloads, switches)).collect();
                cluster.accepted_pods = pods;
                changed = true;
            }
            for need in &mut cluster.accepted {
                need.arrival_unix_nanos = arrival_unix_nanos;
            }
        }
        if changed {
            self.needs = self.clusters.iter().flat_map(|c| c.accepted.iter().cloned()).collect();
        } else {
            let stamps = self.clusters.iter().flat_map(|c| c.accepted.iter().map(|n| n.arrival_unix_nanos));
            for (need, stamp) in self.needs.iter_mut().zip(stamps) {
                need.arrival_unix_nanos = stamp;
            }
        }
    }
}
