//! One decision cycle: Phases 1 to 3, then the rails.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, Decisions, Kind, NeedReport};
use crate::gang;
use crate::inventory::Inventory;
use crate::machine::{Assignment, State};
use crate::need::{Need, NeedKey};
use crate::phase1::{self, Served};
use crate::pool::{Pool, Tier};
use crate::{phase2, phase3, rails};

/// Whose book Phase 3 reads to tell surplus from use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attribution {
    /// Phase 1's claims (ADR-0045).
    #[default]
    Single,
    /// A walk of its own that knows neither topology nor machines in flight: the era that oscillated.
    TwoWalk,
}

/// What the engine may do.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Share of a cluster's Configured machines that one step may reclaim; 0 lifts the cap (ADR-0046).
    pub reclaim_cap_fraction: f64,
    /// Drain time of a Reclaim in seconds.
    pub reclaim_grace_s: u32,
    /// Whether a gang that fits one machine becomes a plain Need (ADR-0041).
    pub gang_folding: bool,
    /// Whose book Phase 3 reads.
    pub attribution: Attribution,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            reclaim_cap_fraction: 0.05,
            reclaim_grace_s: 600,
            gang_folding: true,
            attribution: Attribution::Single,
        }
    }
}

/// What one step looks at.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// All machines.
    pub inventory: &'a Inventory,
    /// Demand of all clusters, in any order.
    pub needs: &'a [Need],
    /// Clusters that have sent a roll-up since the start, empty ones too (ADR-0036).
    pub reported: &'a BTreeSet<String>,
    /// Time in seconds on the clock of `Machine::idle_since_s`.
    pub now_s: u64,
    /// Limits and switches.
    pub policy: &'a Policy,
}

/// What the engine remembers from step to step.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(crate) gangs: BTreeMap<NeedKey, gang::Patience>,
    unmet_cycles: BTreeMap<NeedKey, u64>,
}

/// Parts of a step, for those who time them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Sorting demand and machines.
    Read,
    /// Claims.
    Phase1,
    /// Preemption.
    Phase2,
    /// Reclaim and release.
    Phase3,
    /// Rails and reports.
    Emit,
}

/// Decides. The same inputs and memory give the same decisions.
pub fn step(inputs: Inputs<'_>, memory: &mut Memory) -> Decisions {
    step_observed(inputs, memory, &mut |_| {})
}

/// As [`step`], and calls `ended` at the end of each phase.
pub fn step_observed(inputs: Inputs<'_>, memory: &mut Memory, ended: &mut dyn FnMut(Phase)) -> Decisions {
    let mut pool = Pool::new(inputs.inventory);
    let needs = in_serving_order(&inputs, &pool);
    ended(Phase::Read);
    let mut served = phase1::assign(needs, &mut pool, memory);
    ended(Phase::Phase1);
    let preempts = phase2::preempt(&mut served, &pool);
    ended(Phase::Phase2);
    let mut reclaims = phase3::reclaims(&inputs, &pool, &served, &preempts);
    let releases = phase3::releases(&inputs, &pool);
    ended(Phase::Phase3);
    let reclaims_capped = rails::cap_reclaims(&mut reclaims, &pool, inputs.policy.reclaim_cap_fraction);
    let mut actions = acquisitions(&served, &pool);
    actions.extend(preempts);
    actions.extend(reclaims);
    actions.extend(releases);
    let needs = report(served, &pool, memory);
    ended(Phase::Emit);
    Decisions { actions, needs, reclaims_capped }
}

/// Priority descending, then arrival, then cluster and identity.
fn in_serving_order(inputs: &Inputs<'_>, pool: &Pool<'_>) -> Vec<Need> {
    let mut needs: Vec<Need> = inputs
        .needs
        .iter()
        .map(|n| if inputs.policy.gang_folding { gang::fold(n, pool) } else { n.clone() })
        .collect();
    needs.sort_by(|a, b| {
        b.profile
            .priority
            .cmp(&a.profile.priority)
            .then(a.arrival_unix_nanos.cmp(&b.arrival_unix_nanos))
            .then_with(|| a.key.cmp(&b.key))
    });
    needs
}

fn acquisitions(served: &[Served], pool: &Pool<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    for s in served {
        for &(machine, tier) in &s.taken {
            let (kind, reason) = match tier {
                Tier::Credited => continue,
                Tier::Idle => (Kind::Bootstrap, "phase1.idle"),
                Tier::Speculative => (Kind::Provision, "phase1.speculative"),
            };
            let profile = &s.need.profile;
            actions.push(Action {
                kind,
                machine: pool.machines[machine].id.clone(),
                cluster: s.need.key.cluster.clone(),
                assignment: Some(Assignment {
                    cluster: s.need.key.cluster.clone(),
                    fingerprint: s.need.key.fingerprint.clone(),
                    group: s.need.key.group.clone(),
                    priority: profile.priority,
                    interruption_bucket: profile.interruption_bucket,
                    reclamation_bucket: profile.reclamation_bucket,
                }),
                requirements: profile.requirements.clone(),
                reason,
                grace_s: 0,
                preemptor_priority: 0,
            });
        }
    }
    actions
}

fn report(served: Vec<Served>, pool: &Pool<'_>, memory: &mut Memory) -> Vec<NeedReport> {
    let before = std::mem::take(&mut memory.unmet_cycles);
    served
        .into_iter()
        .map(|s| {
            let unmet = (!s.residual.is_zero()).then(|| phase2::reason(&s, pool));
            let mut unmet_cycles = 0;
            if unmet.is_some() {
                unmet_cycles = before.get(&s.need.key).copied().unwrap_or(0) + 1;
                memory.unmet_cycles.insert(s.need.key.clone(), unmet_cycles);
            }
            NeedReport {
                priority: s.need.profile.priority,
                interruption_bucket: s.need.profile.interruption_bucket,
                machines: s.taken.iter().map(|&(m, _)| pool.machines[m].id.clone()).collect(),
                key: s.need.key,
                aggregate: s.need.aggregate,
                residual: s.residual,
                unmet,
                parked: s.parked,
                unmet_cycles,
            }
        })
        .collect()
}

/// Whether a machine in this state still stands behind what it was seeded or bound for.
pub(crate) fn is_alive(state: State) -> bool {
    state != State::Failed
}
