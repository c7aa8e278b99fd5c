//! A run on real control planes, and beside it what the model says of the same plan.

use std::collections::BTreeMap;

use fleet_engine::State;
use harness_analysis::judge::Evidence;
use harness_analysis::judge::evidence::Action;
use harness_model::plan::Plan;
use harness_model::record::Phase;
use serde::{Deserialize, Serialize};

use crate::counters::{Counters, state_idx};
use crate::model::Error;
use crate::plot::{Column, Picture};
use crate::report::Report;
use crate::{Simulation, from_plan};

/// Cycles of a prediction: five minutes of a profile. The longest cascade of a suite's plan takes a quarter of them.
const CYCLES: u32 = 30;
/// Columns of a run's picture at the most; each is a second at the least.
const COLUMNS_MAX: u64 = 600;
const SECOND_US: u64 = 1_000_000;
const ACQUIRE: [&str; 2] = ["Bootstrap", "Provision"];
const GIVE_BACK: [&str; 2] = ["Reclaim", "Preempt"];

/// What a shard did with its machines, and how many serve in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Course {
    /// Machines reclaimed or preempted, by each cycle that decided any.
    pub given_back: Vec<u64>,
    /// Machines bootstrapped or provisioned, by each cycle that decided any.
    pub acquired: Vec<u64>,
    /// Configured machines in the end.
    pub serving: u64,
}

/// The model's run of a plan.
///
/// # Errors
/// [`Error`]: the engine refuses the plan's fleet.
pub fn predict(plan: Plan) -> Result<Report, Error> {
    let mut setup = from_plan::of_plan(plan);
    (setup.cycles, setup.window) = (CYCLES, CYCLES / 3);
    crate::run(setup, &[], Simulation::decide)
}

impl Course {
    /// As the model has it.
    pub fn predicted(report: &Report) -> Self {
        let waves = |count: fn(&Counters) -> u32| {
            report.cycles.iter().map(count).filter(|n| *n > 0).map(u64::from).collect()
        };
        Self {
            given_back: waves(|c| c.reclaims + c.preempts),
            acquired: waves(|c| c.bootstraps + c.provisions),
            serving: report.cycles.last().map_or(0, |c| c.configured.into()),
        }
    }

    /// As it went on control planes, by the shard's own account.
    pub fn seen(plan: &Plan, evidence: &Evidence) -> Self {
        let states = states(&lives(plan, evidence), evidence.end_us);
        Self {
            given_back: evidence.waves(&GIVE_BACK),
            acquired: evidence.waves(&ACQUIRE),
            serving: states[state_idx(State::Configured)].into(),
        }
    }
}

/// The picture of a run, from the start of its fill to its last moment of quiet.
pub fn picture(name: &str, plan: &Plan, evidence: &Evidence) -> Picture {
    let (start, end) = evidence.loaded().unwrap_or((0, evidence.end_us));
    let end = evidence.window(Phase::Quiesce).map_or(end, |(_, end)| end);
    let step = ((end - start) / COLUMNS_MAX).max(SECOND_US);
    let lives = lives(plan, evidence);
    let begun = |kinds: &[&str], from: u64| {
        let in_step =
            |a: &&Action| kinds.contains(&a.kind.as_str()) && (from..from + step).contains(&a.started_us);
        evidence.actions.iter().filter(in_step).count() as u32
    };
    let column = |n: u64| {
        let from = start + n * step;
        Column {
            states: states(&lives, from + step),
            acquired: begun(&ACQUIRE, from),
            given_back: begun(&GIVE_BACK, from),
        }
    };
    Picture {
        title: format!(
            "{name}, on control planes: {} machines, {} Pods in {} clusters, seed {}",
            plan.inventory.machines.len(),
            plan.totals.pods,
            plan.clusters.len(),
            plan.profile.seed
        ),
        ends: ["0 s".to_owned(), format!("{} s", (end - start) / SECOND_US)],
        columns: (0..(end - start) / step).map(column).collect(),
    }
}

/// States of each machine in order, each with its beginning.
type Lives<'a> = BTreeMap<&'a str, Vec<(u64, State)>>;

fn lives<'a>(plan: &'a Plan, evidence: &'a Evidence) -> Lives<'a> {
    let seeded = |state| match state {
        api::inventory::SeedState::Configured => State::Configured,
        api::inventory::SeedState::Idle => State::Idle,
        api::inventory::SeedState::Speculative => State::Speculative,
    };
    let machines = plan.inventory.machines.iter();
    let mut lives: Lives = machines.map(|m| (m.id.as_str(), vec![(0, seeded(m.state))])).collect();
    for action in &evidence.actions {
        let (during, after) = match action.kind.as_str() {
            "Bootstrap" => (State::Configuring, State::Configured),
            "Provision" => (State::Creating, State::Configured),
            "Reclaim" | "Preempt" => (State::Draining, State::Idle),
            _ => (State::Deleting, State::Speculative),
        };
        let after = match action.outcome.as_str() {
            "success" => after,
            // Nothing had reached the provider yet: rolled back.
            "no_session" | "ctx_canceled" => State::Idle,
            _ => State::Failed,
        };
        lives
            .entry(&action.machine)
            .or_default()
            .extend([(action.started_us, during), (action.ended_us, after)]);
    }
    lives
}

fn states(lives: &Lives, at_us: u64) -> [u32; State::ALL.len()] {
    let mut states = [0; State::ALL.len()];
    for life in lives.values() {
        if let Some((_, state)) = life.iter().rfind(|(since, _)| *since <= at_us) {
            states[state_idx(*state)] += 1;
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(cycle: u64, kind: &str, machine: &str, outcome: &str, at_s: [u64; 2]) -> Action {
        let mut action = Action::default();
        (action.kind, action.machine, action.outcome) = (kind.into(), machine.into(), outcome.into());
        (action.cycle, action.started_us, action.ended_us) =
            (cycle, at_s[0] * SECOND_US, at_s[1] * SECOND_US);
        action
    }

    #[test]
    fn a_run_is_told_by_what_the_shard_did() {
        let fixtures = harness_model::profile::fixtures_dir();
        let loaded = harness_model::profile::load(&fixtures, "eviction", &[]).unwrap();
        let plan = harness_model::plan::derive(&loaded).unwrap();
        let of_state =
            |state| plan.inventory.machines.iter().filter(move |m| m.state == state).map(|m| m.id.as_str());
        let serving: Vec<&str> = of_state(api::inventory::SeedState::Configured).collect();
        let idle: Vec<&str> = of_state(api::inventory::SeedState::Idle).collect();
        let evidence = Evidence {
            end_us: 10 * SECOND_US,
            actions: vec![
                action(4, "Reclaim", serving[0], "success", [1, 3]),
                action(4, "Reclaim", serving[1], "drain_failed", [1, 4]),
                action(6, "Bootstrap", idle[0], "success", [5, 6]),
                action(9, "Bootstrap", idle[1], "no_session", [7, 8]),
            ],
            ..Evidence::default()
        };
        let course = Course { given_back: vec![2], acquired: vec![1, 1], serving: 24 };
        assert_eq!(Course::seen(&plan, &evidence), course);
        let picture = picture("a", &plan, &evidence);
        let draining: Vec<u32> =
            picture.columns.iter().map(|c| c.states[state_idx(State::Draining)]).collect();
        assert_eq!(draining, [2, 2, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(picture.columns[1].given_back, 2);
        assert_eq!(picture.columns[9].states[state_idx(State::Failed)], 1);
    }

    #[test]
    fn the_surplus_of_a_plan_goes_once() {
        let fixtures = harness_model::profile::fixtures_dir();
        let course = |overrides: &[String]| {
            let loaded = harness_model::profile::load(&fixtures, "eviction", overrides).unwrap();
            Course::predicted(&predict(harness_model::plan::derive(&loaded).unwrap()).unwrap())
        };
        assert_eq!(course(&[]), Course { given_back: vec![7], acquired: vec![], serving: 18 });
        let bare = ["workloads=bare", "loadDriver.bareTopUp=false"].map(str::to_owned);
        assert_eq!(
            course(&bare),
            Course { given_back: vec![7, 5, 3, 3, 2, 1, 1], acquired: vec![], serving: 3 }
        );
    }
}
