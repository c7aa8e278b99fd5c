//! Everything that the view knows: collected as it arrives, read as a [`Snapshot`].

use std::collections::BTreeMap;

use crate::observe::Counts;
use crate::view::cpu::Book;
use crate::view::left::{Range, of_phase, of_run};
use crate::view::snapshot::{Check, ClusterView, Machines, PhaseState, PhaseView, Rates, Snapshot};
use crate::view::window::Window;
use harness_analysis::judge::gates;
use harness_analysis::judge::validity::SAMPLER_LATE_MS_MAX;
use harness_model::families::{LOAD_DECLARED, SCHEDULE_ATTEMPTS, SHARD_OUTCOMES, SHARD_SHORTFALLS};
use harness_model::plan::Plan;
use harness_model::prometheus::{Series, label, sum};
use harness_model::record::{Event, Phase, Sample, Stamped};

/// All phases, in order.
const PHASES: [Phase; 9] = [
    Phase::Provision,
    Phase::Start,
    Phase::Fill,
    Phase::Steady,
    Phase::Settle,
    Phase::Soak,
    Phase::Quiesce,
    Phase::Collect,
    Phase::Release,
];
/// Seconds over which binds are counted.
const BINDS_S: u64 = 10;
/// The same for actions of the shard, which is scraped every five seconds.
const ACTIONS_S: u64 = 15;
/// The same for the forecast of the fill: a forecast that jumps is useless.
const FORECAST_S: u64 = 60;

/// What is known of a run before it begins.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Id of the run.
    pub run_id: String,
    /// Each cluster, in the plan's order, with the Pods that should run there.
    pub clusters: Vec<(String, u64)>,
    /// Machines that the plan expects when quiet.
    pub machines: u64,
    /// How long the profile allows each phase to take.
    pub planned: BTreeMap<Phase, Range>,
    /// Longest time a Pod may stay unbound during the soak.
    pub unbound_s_max: Option<f64>,
}

impl Facts {
    /// Extracts the facts from a plan.
    pub fn of(plan: &Plan, run_id: &str) -> Self {
        let phases = &plan.profile.phases;
        let planned = [
            (Phase::Fill, Range::at_most(phases.ramp_budget.as_seconds())),
            (Phase::Steady, Range::at_most(phases.settle.as_seconds())),
            (Phase::Settle, Range::at_most(phases.settle.as_seconds())),
            (Phase::Soak, Range::exactly(phases.soak.as_seconds())),
            (Phase::Quiesce, Range::at_most(phases.quiesce_ceiling().as_secs_f64())),
        ];
        Self {
            run_id: run_id.to_owned(),
            clusters: plan.clusters.iter().map(|c| (c.name.clone(), u64::from(c.pods))).collect(),
            machines: plan.clusters.iter().map(|c| u64::from(c.machines)).sum(),
            planned: planned.into(),
            unbound_s_max: plan.profile.slo.unbound_seconds_max,
        }
    }
}

/// What was seen in one cluster.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its name.
    pub cluster: String,
    /// Its counts.
    pub counts: Counts,
    /// When the live Pod that has waited longest for a Node was created.
    pub unbound_since_us: Option<u64>,
}

/// What is known of a run in progress.
#[derive(Debug)]
pub struct Board {
    facts: Facts,
    phase: Phase,
    /// When each phase began, and when it ended.
    times: BTreeMap<Phase, (u64, Option<u64>)>,
    interrupted: bool,
    /// Pods that should run at the end of the phase, once that is known.
    target: Option<u64>,
    note: String,
    clusters: BTreeMap<String, Cluster>,
    running: Window,
    binds: Window,
    machines: Option<Machines>,
    actions: Window,
    shortfalls: Option<f64>,
    /// Longest time that a Pod was unbound in the current phase.
    unbound_s_max: f64,
    gaps: u64,
    nodes_lost: u64,
    cpu: Book,
}

/// What is known of one cluster.
#[derive(Debug)]
struct Cluster {
    counts: Counts,
    declared: Option<u64>,
    binds: Window,
    /// Failed and successful attempts, by the scheduler's own count.
    attempts: Option<(f64, f64)>,
}

impl Board {
    /// Creates a board without any observation.
    pub fn new(facts: Facts) -> Self {
        let cluster = |(name, _): &(String, u64)| {
            let (counts, binds) = (Counts::default(), Window::seconds(BINDS_S));
            (name.clone(), Cluster { counts, declared: None, binds, attempts: None })
        };
        Self {
            clusters: facts.clusters.iter().map(cluster).collect(),
            facts,
            phase: Phase::Provision,
            times: BTreeMap::new(),
            interrupted: false,
            target: None,
            note: String::new(),
            running: Window::seconds(FORECAST_S),
            binds: Window::seconds(BINDS_S),
            machines: None,
            actions: Window::seconds(ACTIONS_S),
            shortfalls: None,
            unbound_s_max: 0.0,
            gaps: 0,
            nodes_lost: 0,
            cpu: Book::default(),
        }
    }

    /// Takes in an event that was recorded.
    pub fn event(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::PhaseStarted { phase } => {
                // A phase that was broken off did not record its end.
                if let Some((_, end)) = self.times.get_mut(&self.phase) {
                    end.get_or_insert(stamped.at_us);
                }
                self.times.insert(*phase, (stamped.at_us, None));
                (self.phase, self.note, self.unbound_s_max) = (*phase, String::new(), 0.0);
                self.target = None;
                match phase {
                    Phase::Fill => self.cpu.measure(),
                    Phase::Quiesce => self.cpu.measured(),
                    _ => {}
                }
            }
            Event::PhaseEnded { phase } => {
                if let Some((_, end)) = self.times.get_mut(phase) {
                    end.get_or_insert(stamped.at_us);
                }
            }
            Event::WatchGap { .. } => self.gaps += 1,
            Event::NodeNotReady { .. } => self.nodes_lost += 1,
            _ => {}
        }
    }

    /// Sets how many Pods should run at the end of the phase.
    pub fn target(&mut self, target: u64) {
        self.target = Some(target);
    }

    /// Sets the note about the current phase.
    pub fn note(&mut self, note: &str) {
        note.clone_into(&mut self.note);
    }

    /// Records that the run was interrupted.
    pub fn interrupted(&mut self) {
        self.interrupted = true;
    }

    /// Takes in the counts of all clusters.
    pub fn seen(&mut self, at_us: u64, all: &[Seen]) {
        let mut sum = Counts::default();
        for seen in all {
            sum += seen.counts;
            if let Some(since_us) = seen.unbound_since_us {
                let unbound_s = at_us.saturating_sub(since_us) as f64 / 1e6;
                self.unbound_s_max = self.unbound_s_max.max(unbound_s);
            }
            if let Some(cluster) = self.clusters.get_mut(&seen.cluster) {
                cluster.counts = seen.counts;
                cluster.binds.add(at_us, seen.counts.ever_bound as f64);
            }
        }
        self.running.add(at_us, sum.running as f64);
        self.binds.add(at_us, sum.ever_bound as f64);
    }

    /// Takes in the numbers of machines that serve and of machines on their way.
    pub fn machines(&mut self, serving: u64, moving: u64) {
        self.machines = Some(Machines { serving, moving, planned: self.facts.machines });
    }

    /// Takes in a sample of processes and host.
    pub fn sampled(&mut self, sample: &Sample) {
        self.cpu.add(sample);
    }

    /// Takes in a scrape of a target; `series` are all that it has.
    pub fn scraped(&mut self, at_us: u64, target: &str, cluster: Option<&str>, series: &Series) {
        let cluster = cluster.and_then(|name| self.clusters.get_mut(name));
        match (target, cluster) {
            ("shard", _) => {
                let succeeded = |key: &str| label(key, "outcome") == Some("success");
                if let Some(actions) = sum(series, SHARD_OUTCOMES.name, succeeded) {
                    self.actions.add(at_us, actions);
                }
                self.shortfalls = sum(series, SHARD_SHORTFALLS.name, |_| true);
            }
            ("load-driver", Some(cluster)) => {
                let declared = sum(series, LOAD_DECLARED.name, |_| true);
                cluster.declared = declared.map(|n| n as u64);
            }
            ("kube-scheduler", Some(cluster)) => {
                let attempts = SCHEDULE_ATTEMPTS.name;
                let of =
                    |result| sum(series, attempts, |key| label(key, "result") == Some(result)).unwrap_or(0.0);
                // Without any of these series, the attempts are unknown.
                let known = sum(series, attempts, |_| true);
                cluster.attempts = known.map(|_| (of("unschedulable"), of("scheduled")));
            }
            _ => {}
        }
    }

    /// Returns the current state of the run.
    pub fn snapshot(&self, now_us: u64) -> Snapshot {
        let phases = self.phases();
        let phase_s =
            self.times.get(&self.phase).map_or(0.0, |(began, _)| now_us.saturating_sub(*began) as f64 / 1e6);
        let running: u64 = self.clusters.values().map(|c| c.counts.running).sum();
        let planned = self.facts.planned.get(&self.phase).copied();
        let missing = self.target.map(|target| target.saturating_sub(running));
        let phase_left = of_phase(self.phase, planned, phase_s, missing, self.running.per_s());
        Snapshot {
            run_id: self.facts.run_id.clone(),
            elapsed_s: now_us as f64 / 1e6,
            left: of_run(&phases, phase_left).filter(|_| !self.interrupted),
            interrupted: self.interrupted,
            phase: self.phase,
            phase_s,
            phase_left,
            phases,
            note: self.note.clone(),
            clusters: self.facts.clusters.iter().map(|(name, target)| self.cluster(name, *target)).collect(),
            rates: self.rates(),
            so_far: self.so_far(),
            load: self.cpu.load(),
        }
    }

    fn phases(&self) -> Vec<PhaseView> {
        let view = |phase: Phase| {
            let times = self.times.get(&phase);
            let ended = times.and_then(|(began, end)| Some((*end)?.saturating_sub(*began)));
            let state = match ended {
                Some(_) => PhaseState::Done,
                None if phase == self.phase => PhaseState::Present,
                None if phase < self.phase => PhaseState::Skipped,
                None => PhaseState::Ahead,
            };
            let took_s = ended.map(|us| us as f64 / 1e6);
            PhaseView { phase, state, took_s, planned: self.facts.planned.get(&phase).copied() }
        };
        PHASES.into_iter().map(view).collect()
    }

    fn cluster(&self, name: &str, target: u64) -> ClusterView {
        let Some(cluster) = self.clusters.get(name) else { return ClusterView::default() };
        let Counts { created, live, bound, running, .. } = cluster.counts;
        ClusterView {
            name: name.to_owned(),
            target,
            declared: cluster.declared,
            created,
            live,
            bound,
            running,
            binds_per_s: cluster.binds.per_s(),
        }
    }

    fn rates(&self) -> Rates {
        let mut sum = Counts::default();
        self.clusters.values().for_each(|cluster| sum += cluster.counts);
        let attempts: Option<Vec<(f64, f64)>> = self.clusters.values().map(|c| c.attempts).collect();
        let (failed, scheduled) =
            attempts.unwrap_or_default().into_iter().fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        Rates {
            binds_per_s: self.binds.per_s(),
            marks_per_pod: (sum.ever_bound > 0).then(|| sum.marks as f64 / sum.ever_bound as f64),
            failed_attempts_per_pod: (scheduled > 0.0).then(|| failed / scheduled),
            actions_per_s: self.actions.per_s(),
            machines: self.machines,
        }
    }

    /// Returns what the run will be judged by, as far as it can be known now at no cost.
    fn so_far(&self) -> Vec<Check> {
        let in_soak = self.phase == Phase::Soak;
        let unbound_max = self.facts.unbound_s_max.filter(|_| in_soak);
        let limit_of = |metric| gates::built_in(metric).and_then(|bound| bound.max);
        let shortfalls_max = limit_of("shortfalls_max").filter(|_| in_soak);
        let share = "harness_and_fleet_cpu_share";
        let checks = [
            Some(Check::new("unbound_s_max", self.unbound_s_max, "s", unbound_max)),
            Some(Check::new("watches_without_gap", self.gaps as f64, "gaps", Some(0.0))),
            Some(Check::new("nodes_stayed_ready", self.nodes_lost as f64, "Nodes", Some(0.0))),
            self.shortfalls.map(|n| Check::new("shortfalls_max", n, "needs", shortfalls_max)),
            self.cpu.own_share().map(|of_all| Check::new(share, of_all, "share", limit_of(share))),
            self.cpu.late_ms_max().map(|late_ms| {
                Check::new("host_not_starved", late_ms as f64, "ms late", Some(SAMPLER_LATE_MS_MAX as f64))
            }),
        ];
        checks.into_iter().flatten().collect()
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
