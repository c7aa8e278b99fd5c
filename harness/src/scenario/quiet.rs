//! Waiting for a fleet to be quiet: what is declared, lives, is requested, is bound and runs.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::observe::Observer;
use crate::record::{Event, Phase};
use crate::scenario::account;
use crate::scenario::driver::Driver;
use crate::scenario::progress::Progress;
use crate::scenario::recorder::Recorder;

/// Time between two looks.
const BETWEEN: Duration = Duration::from_secs(2);
/// Looks that must agree, one after the other.
const IN_A_ROW: usize = 3;

/// What has to be still.
#[derive(Clone, Copy, Debug)]
pub struct Still {
    /// Machines that the plan foresees when quiet. Another number is accepted once it has not changed for
    /// `machines_unchanged`.
    pub machines: u64,
    /// How long an unplanned number of machines must have stood still; `None`: machines do not matter.
    pub machines_unchanged: Option<Duration>,
}

/// Waits until three looks in a row found every cluster quiet; writes those three (or, at the ceiling, the
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
    let mut points: Vec<Vec<Event>> = Vec::new();
    let mut machines = Machines { last: (0, 0), since: Instant::now() };
    loop {
        let (quiet, look) = look(observer, bare, phase).await?;
        let machines_note = machines.look(observer);
        let machines_quiet =
            still.machines_unchanged.is_none_or(|least| machines.are_still(still.machines, least));
        if !quiet || !machines_quiet {
            points.clear();
        }
        points.push(look);
        progress.update(observer.totals(), &machines_note);
        let enough = quiet && machines_quiet && points.len() >= IN_A_ROW;
        let late = started.elapsed() >= ceiling && points.len() >= IN_A_ROW.min(1);
        if enough || late {
            if !enough {
                // What was seen last is evidence, too: the judge needs three looks.
                for _ in points.len()..IN_A_ROW {
                    tokio::time::sleep(BETWEEN).await;
                    points.push(self::look(observer, bare, phase).await?.1);
                }
            }
            let from = points.len() - IN_A_ROW;
            points.drain(from..).flatten().for_each(|event| recorder.record(event));
            if !enough {
                recorder.note(format!("not quiet after {} s: {machines_note}", ceiling.as_secs()));
            }
            return Ok(enough);
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// One look at all clusters: whether all are quiet, and a quiet point for each.
async fn look(observer: &Observer, bare: &[Driver], phase: Phase) -> anyhow::Result<(bool, Vec<Event>)> {
    let mut quiet = true;
    let mut points = Vec::new();
    for cluster in observer.clusters() {
        let declared: u64 = account::declared(observer, cluster, bare).await?.values().sum();
        let counts = observer.ledger(cluster).context("no ledger")?.counts();
        // Not their sum: a request too many and one too few would make up for each other.
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
