//! Whether the clusters of a run are still its own: the records in clusters of somebody else's, as the supervisor keeps
//! them, and what its clean-ups there have to say.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::existing::CLEANUP_LOG;
use crate::cluster::spec::Lease;
use crate::record::{Event, RunDir};
use crate::scenario::recorder::Recorder;
use crate::supervisor::Client;
use crate::supervisor::protocol::HoldStatus;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks after the records of one lease. Clones tell the same loss once.
#[derive(Clone)]
pub struct Holds {
    client: Client,
    lease: Arc<OnceLock<Lease>>,
    recorder: Recorder,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Holds {
    /// Of the lease, once there is one.
    pub fn new(client: Client, lease: Arc<OnceLock<Lease>>, recorder: Recorder) -> Self {
        Self { client, lease, recorder, told: Arc::default() }
    }

    /// Looks again and again. A loss is recorded and shown at once, and `dead` is told.
    pub fn watch(&self, tasks: &mut JoinSet<()>, dead: mpsc::UnboundedSender<String>) {
        let holds = self.clone();
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A supervisor that does not answer is the sampler's to tell.
                let Ok(found) = holds.look().await else { continue };
                for why in holds.tell_losses(&found) {
                    let _ = dead.send(why);
                }
            }
        });
    }

    /// Records how they stand at the end; before anything is given back.
    pub async fn account(&self) {
        match self.look().await {
            Ok(found) => {
                self.tell_losses(&found);
                let kept = found.into_iter().filter(|hold| hold.lost.is_none());
                kept.for_each(|kept| self.recorder.record(Event::ClusterHeld(kept.hold)));
            }
            Err(error) => self.recorder.note(format!("how the clusters were held was not told: {error}")),
        }
    }

    async fn look(&self) -> Result<Vec<HoldStatus>, crate::supervisor::Error> {
        let Some(lease) = self.lease.get() else { return Ok(Vec::new()) };
        let mut found = self.client.status().await?.holds;
        found.retain(|hold| hold.lease == lease.id);
        Ok(found)
    }

    fn tell_losses(&self, found: &[HoldStatus]) -> Vec<String> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (cluster, reason) in found.iter().filter_map(|h| Some((h.hold.cluster.clone(), h.lost.clone()?)))
        {
            if told.insert(cluster.clone()) {
                let text = format!("{cluster} is not the run's any more, another may act there: {reason}");
                tracing::error!("{text}");
                self.recorder.record(Event::ClusterLost { cluster, reason });
                all.push(text);
            }
        }
        all
    }
}

/// Does work of the supervisor's, and shows what its clean-ups say meanwhile.
pub async fn shown<T>(dir: &RunDir, work: impl Future<Output = T>) -> T {
    let mut log = Tail::of(dir.logs().join(CLEANUP_LOG));
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                log.new_lines().iter().for_each(|line| tracing::warn!("{line}"));
                return done;
            }
            _ = ticks.tick() => log.new_lines().iter().for_each(|line| tracing::warn!("{line}")),
        }
    }
}

/// What is added to a file from now on.
pub struct Tail {
    path: PathBuf,
    seen: usize,
}

impl Tail {
    /// Of that file, which need not be there yet.
    pub fn of(path: PathBuf) -> Self {
        let seen = std::fs::read(&path).map_or(0, |text| text.len());
        Self { path, seen }
    }

    /// Whole lines that were not told yet.
    pub fn new_lines(&mut self) -> Vec<String> {
        let text = std::fs::read(&self.path).unwrap_or_default();
        let new = text.get(self.seen..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.seen += whole;
        String::from_utf8_lossy(&new[..whole]).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_whole_lines_that_are_new_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cleanup.log");
        let append = |text: &str| {
            let file = std::fs::File::options().append(true).create(true).open(&path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        assert!(Tail::of(path.clone()).new_lines().is_empty(), "there is no file");
        append("old\n");
        let mut tail = Tail::of(path.clone());
        append("one\ntw");
        assert_eq!(tail.new_lines(), ["one"]);
        assert!(tail.new_lines().is_empty());
        append("o\n");
        assert_eq!(tail.new_lines(), ["two"]);
    }
}
