//! Whether load is created as planned: the drivers are asked all the time, and the first load that is not created ends
//! the run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use kube::Client;
use tokio::sync::mpsc::UnboundedSender;

use crate::scenario::driver::Driver;
use crate::scenario::failure::Failure;
use crate::scenario::gatekeepers::{self, Gatekeeper};
use crate::scenario::recorder::Recorder;
use harness_model::record::Event;
use harness_model::record::LoadFailure;
use harness_model::record::event::{Blame, LoadFailed};

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
/// A driver that does not answer for this long creates no load either. One that has ended is reported before that.
const SILENT_FOR: Duration = Duration::from_secs(8);

/// Decides which side is to blame for the refusals of a cluster.
pub struct Gate {
    admin: Client,
    /// The gatekeepers as they were just before the autoscaler was started.
    before: Vec<Gatekeeper>,
}

impl Gate {
    /// Lists what may refuse load now, before the autoscaler is started.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn before_the_autoscaler(admin: Client) -> Result<Self, kube::Error> {
        Ok(Self { before: gatekeepers::list(&admin).await?, admin })
    }

    /// Returns which side is to blame for a refusal with this message, and which object refused.
    pub async fn blame(&self, words: &str) -> (Blame, Option<String>) {
        match gatekeepers::list(&self.admin).await {
            Ok(now) => gatekeepers::blame(words, &self.before, &now),
            Err(error) => {
                tracing::warn!(
                    error = component::apiserver::words(&error),
                    "cannot list what may refuse load"
                );
                (Blame::Environment, None)
            }
        }
    }
}

/// Asks the drivers until some cluster's load was not created. Returns what was not created, and which side is to
/// blame.
pub async fn until_failed(drivers: &[Driver], gates: &BTreeMap<String, Gate>) -> Vec<LoadFailed> {
    let mut silence: Vec<Option<Instant>> = vec![None; drivers.len()];
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answers = join_all(drivers.iter().map(Driver::failures)).await;
        let mut failed = Vec::new();
        for ((driver, answer), silent) in drivers.iter().zip(answers).zip(&mut silence) {
            let failures = match answer {
                Ok(failures) => {
                    *silent = None;
                    failures
                }
                Err(error) => mute(silent, Instant::now(), &error),
            };
            for LoadFailure { what, message } in failures {
                let cluster = driver.cluster().to_owned();
                let (by, object) = match gates.get(&cluster) {
                    Some(gate) => gate.blame(&message).await,
                    None => (Blame::Environment, None),
                };
                failed.push(LoadFailed { cluster, what, message, by, object });
            }
        }
        if !failed.is_empty() {
            return failed;
        }
    }
}

/// Handles a driver that did not answer: it has not failed yet, unless this has lasted.
fn mute(since: &mut Option<Instant>, now: Instant, error: &anyhow::Error) -> Vec<LoadFailure> {
    let since = *since.get_or_insert(now);
    match now.duration_since(since) < SILENT_FOR {
        true => Vec::new(),
        false => vec![LoadFailure { what: "ask load-driver".into(), message: format!("{error:#}") }],
    }
}

/// Records load that was not created, and ends the run with it.
pub async fn watch(
    drivers: Vec<Driver>,
    gates: BTreeMap<String, Gate>,
    recorder: Recorder,
    failed: UnboundedSender<Failure>,
) {
    let all = until_failed(&drivers, &gates).await;
    all.iter().for_each(|one| recorder.record(Event::LoadFailed(one.clone())));
    if let Some(failure) = failure(&all) {
        // A run that has already ended needs no other end.
        let _ = failed.send(failure);
    }
}

/// Returns how a run ends whose load was not created: a failure for which the environment is to blame voids it.
fn failure(all: &[LoadFailed]) -> Option<Failure> {
    let environments = all.iter().find(|one| one.by == Blame::Environment);
    let first = environments.or(all.first())?;
    Some(match first.by {
        Blame::Environment => Failure::Broken(first.to_string()),
        Blame::Autoscaler => Failure::GoalMissed(first.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(by: Blame) -> LoadFailed {
        LoadFailed {
            cluster: "c".into(),
            what: "create Deployment w".into(),
            message: "no".into(),
            by,
            object: None,
        }
    }

    #[test]
    fn the_environments_fault_voids_a_run_and_the_autoscalers_fails_it() {
        assert!(matches!(failure(&[failed(Blame::Autoscaler)]), Some(Failure::GoalMissed(_))));
        let both = [failed(Blame::Autoscaler), failed(Blame::Environment)];
        assert!(
            matches!(failure(&both), Some(Failure::Broken(words)) if words.contains("create Deployment w"))
        );
        assert!(failure(&[]).is_none());
    }

    #[test]
    fn a_driver_may_be_silent_for_a_moment() {
        let (mut since, start) = (None, Instant::now());
        let error = anyhow::anyhow!("no answer");
        assert_eq!(mute(&mut since, start, &error), []);
        assert_eq!(mute(&mut since, start + SILENT_FOR / 2, &error), []);
        let told = mute(&mut since, start + SILENT_FOR, &error);
        assert_eq!(told, [LoadFailure { what: "ask load-driver".into(), message: "no answer".into() }]);
    }
}
