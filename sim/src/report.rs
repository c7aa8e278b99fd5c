//! A whole run and what it came to.

use fleet_engine::{Decisions, State};
use serde::Serialize;

use crate::counters::Counters;
use crate::expect::{Expectation, Finding};
use crate::model::{Error, Simulation};
use crate::setup::Setup;

/// The outcome of a run: the same bytes for the same setup. Wall-clock figures are no part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Scenario or profile.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Virtual seconds between two cycles.
    pub cycle_interval_seconds: f64,
    /// Cycles at the end that count as the steady part.
    pub window: u32,
    /// Size of the fleet.
    pub size: Size,
    /// First cycle from which on nothing is decided any more; absent if the last cycle still acts.
    pub converged_at_cycle: Option<u32>,
    /// Sums over all cycles.
    pub totals: Totals,
    /// What was expected, and found.
    pub expectations: Vec<Finding>,
    /// Names of the states in `cycles[].states`.
    pub states: [&'static str; State::ALL.len()],
    /// Counters of each cycle.
    pub cycles: Vec<Counters>,
}

/// Size of a fleet at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Size {
    pub clusters: usize,
    pub machines: usize,
    /// The most that the engine saw in any cycle.
    pub needs: usize,
    pub pods: u64,
}

/// Sums over all cycles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Totals {
    pub bootstraps: u64,
    pub provisions: u64,
    pub reclaims: u64,
    pub preempts: u64,
    pub deletes: u64,
    pub churn: u64,
    /// Actions in the window.
    pub churn_in_window: u64,
    pub evicted: u64,
    pub lost: u64,
}

impl Report {
    /// Whether all expectations hold.
    pub fn holds(&self) -> bool {
        self.expectations.iter().all(|finding| finding.holds)
    }

    /// The report as pretty JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report must serialise")
    }
}

/// Runs all cycles of a setup. `decide` is called for each engine step, so that whoever wants to can time it;
/// pass [`Simulation::decide`].
///
/// # Errors
/// [`Error`]: the engine refuses the fleet.
pub fn run(
    setup: Setup,
    expectations: &[Expectation],
    mut decide: impl FnMut(&mut Simulation) -> Decisions,
) -> Result<Report, Error> {
    let pods = setup.clusters.iter().flat_map(|c| &c.workloads).map(|w| u64::from(w.replicas)).sum();
    let mut report = Report {
        scenario: setup.name.clone(),
        seed: setup.seed,
        cycle_interval_seconds: setup.cycle_interval.as_seconds(),
        window: setup.window,
        size: Size {
            clusters: setup.clusters.len(),
            machines: setup.inventory.machines.len(),
            needs: 0,
            pods,
        },
        converged_at_cycle: None,
        totals: Totals::default(),
        expectations: Vec::new(),
        states: State::ALL.map(State::name),
        cycles: Vec::with_capacity(setup.cycles as usize),
    };
    let cycles = setup.cycles;
    let mut sim = Simulation::new(setup)?;
    for _ in 0..cycles {
        sim.begin_cycle();
        let decisions = decide(&mut sim);
        report.cycles.push(sim.end_cycle(&decisions));
        report.size.needs = report.size.needs.max(sim.need_count());
    }
    report.totals = totals(&report.cycles, report.window);
    let last_act = report.cycles.iter().rev().find(|c| c.churn() > 0).map_or(0, |c| c.cycle);
    report.converged_at_cycle = (last_act < cycles).then_some(last_act + 1);
    report.expectations = expectations.iter().map(|e| e.check(&report.cycles, report.window)).collect();
    Ok(report)
}

fn totals(cycles: &[Counters], window: u32) -> Totals {
    let sum = |f: fn(&Counters) -> u64| cycles.iter().map(f).sum();
    let steady = cycles.iter().rev().take(window as usize);
    Totals {
        bootstraps: sum(|c| c.bootstraps.into()),
        provisions: sum(|c| c.provisions.into()),
        reclaims: sum(|c| c.reclaims.into()),
        preempts: sum(|c| c.preempts.into()),
        deletes: sum(|c| c.deletes.into()),
        churn: sum(|c| c.churn().into()),
        churn_in_window: steady.map(|c| u64::from(c.churn())).sum(),
        evicted: sum(|c| c.evicted),
        lost: sum(|c| c.lost),
    }
}
