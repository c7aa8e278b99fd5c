//! Waits for a fleet to be quiet: everything that is declared is live, requested, bound and running.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::observe::Observer;
use crate::scenario::account;
use crate::scenario::driver::Driver;
use crate::scenario::progress::Progress;
use crate::scenario::recorder::Recorder;
use harness_model::record::{Event, Phase};

/// Time between two checks.
const BETWEEN: Duration = Duration::from_secs(2);
/// Consecutive checks that must agree.
const IN_A_ROW: usize = 3;

/// What must no longer change.
#[derive(Clone, Copy, Debug)]
pub struct Still {
    /// Machines that the plan expects when quiet. Another number is accepted once it has not changed for
    /// `machines_unchanged`.
    pub machines: u64,
    /// How long an unplanned number of machines must be unchanged; `None`: machines do not matter.
    pub machines_unchanged: Option<Duration>,
}

/// Waits until three checks in a row have found every cluster quiet, and records those three (or, at the ceiling, the
/// last three) as quiet points. Returns whether it became quiet. `bare` are the drivers of Pods that no object
/// declares.
///
/// # Errors
/// When a cluster cannot be read.
pub async fn wait(
    observer: &Observer,
    bare: &[Driver],
    recorder: &Recorder,
    progress: &mut Progress,
    phase: Phase,
    still: Still,
    ceiling: Duration,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut looks = Looks::default();
    let mut machines = Machines { last: (0, 0), since: Instant::now() };
    loop {
        let (quiet, look) = look(observer, bare, phase).await?;
        let machines_note = machines.look(observer);
        let machines_quiet =
            still.machines_unchanged.is_none_or(|least| machines.are_still(still.machines, least));
        let enough = looks.add(quiet && machines_quiet, look);
        progress.update(observer, &machines_note);
        if enough || started.elapsed() >= ceiling {
            // The last observations are evidence too: the judge needs three checks.
            while looks.last.len() < IN_A_ROW {
                tokio::time::sleep(BETWEEN).await;
                looks.add(false, self::look(observer, bare, phase).await?.1);
            }
            looks.last.into_iter().flatten().for_each(|event| recorder.record(event));
            if !enough {
                recorder.note(format!("not quiet after {} s: {machines_note}", ceiling.as_secs()));
            }
            return Ok(enough);
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Checks all clusters once: whether all are quiet, and a quiet point for each.
async fn look(observer: &Observer, bare: &[Driver], phase: Phase) -> anyhow::Result<(bool, Vec<Event>)> {
    let mut quiet = true;
    let mut points = Vec::new();
    for cluster in observer.clusters() {
        let declared: u64 = account::declared(observer, cluster, bare).await?.values().sum();
        let counts = observer.ledger(cluster).context("no ledger")?.counts();
        // Not their sum: one request too many and one too few would cancel each other out.
        let (requests, stale) = (counts.requests, counts.stale_requests);
        quiet &= counts.terminating == 0
            && stale == 0
            && [counts.live, counts.bound, counts.running, requests].into_iter().all(|n| n == declared);
        points.push(Event::QuietPoint {
            cluster: cluster.to_owned(),
            phase,
            declared,
            live: counts.live,
            requests,
            bound: counts.bound,
            running: counts.running,
        });
    }
    Ok((quiet, points))
}

/// The last checks, and how many in a row have found everything quiet.
#[derive(Default)]
struct Looks {
    last: VecDeque<Vec<Event>>,
    quiet_in_a_row: usize,
}

impl Looks {
    /// Adds a check; returns whether enough in a row were quiet. A check that was not quiet is not part of a row.
    fn add(&mut self, quiet: bool, points: Vec<Event>) -> bool {
        self.quiet_in_a_row = if quiet { self.quiet_in_a_row + 1 } else { 0 };
        self.last.push_back(points);
        if self.last.len() > IN_A_ROW {
            self.last.pop_front();
        }
        self.quiet_in_a_row >= IN_A_ROW
    }
}

struct Machines {
    last: (u64, u64),
    since: Instant,
}

impl Machines {
    fn look(&mut self, observer: &Observer) -> String {
        let mut now = (0, 0);
        for cluster in observer.clusters() {
            let (settled, moving) = observer.ledger(cluster).map_or((0, 0), |ledger| ledger.node_counts());
            now = (now.0 + settled, now.1 + moving);
        }
        if now != self.last {
            (self.last, self.since) = (now, Instant::now());
        }
        format!("{} machines, {} on their way", now.0, now.1)
    }

    fn are_still(&self, planned: u64, unchanged: Duration) -> bool {
        self.last.1 == 0 && (self.last.0 == planned || self.since.elapsed() >= unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_was_not_quiet_is_none_of_the_three() {
        let mut looks = Looks::default();
        let mut add = |quiet: bool, text: &str| looks.add(quiet, vec![Event::Note { text: text.into() }]);
        assert!(!add(false, "moving"));
        assert!(!add(true, "1"));
        assert!(!add(true, "2"));
        assert!(add(true, "3"));
        let kept: Vec<Event> = looks.last.into_iter().flatten().collect();
        let expected = ["1", "2", "3"].map(|text| Event::Note { text: text.into() });
        assert_eq!(kept, expected, "what is written down is the row, and nothing before it");
    }
}
