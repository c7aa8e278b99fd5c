//! Whether the clusters of a run are still its own: the records in existing clusters, as the supervisor keeps them, and
//! the reports of its clean-ups there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::scenario::recorder::Recorder;
use harness_model::record::{Event, RunDir};
use harness_planes::existing::CLEANUP_LOG;
use harness_planes::spec::Lease;
use harness_supervisor::Client;
use harness_supervisor::protocol::HoldStatus;
use harness_supervisor::tail::Tail;

/// Time between two checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches the records of one lease. All clones together report a loss once.
#[derive(Clone)]
pub struct Holds {
    client: Client,
    lease: Arc<OnceLock<Lease>>,
    recorder: Recorder,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Holds {
    /// Watches the records of the lease, once there is one.
    pub fn new(client: Client, lease: Arc<OnceLock<Lease>>, recorder: Recorder) -> Self {
        Self { client, lease, recorder, told: Arc::default() }
    }

    /// Checks the records repeatedly. A loss is recorded and shown at once, and sent to `dead`.
    pub fn watch(&self, tasks: &mut JoinSet<()>, dead: mpsc::UnboundedSender<String>) {
        let holds = self.clone();
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // The sampler reports a supervisor that does not answer.
                let Ok(found) = holds.look().await else { continue };
                for why in holds.tell_losses(&found) {
                    let _ = dead.send(why);
                }
            }
        });
    }

    /// Records the state of the records at the end, before anything is given back.
    pub async fn account(&self) {
        match self.look().await {
            Ok(found) => {
                self.tell_losses(&found);
                let kept = found.into_iter().filter(|hold| hold.lost.is_none());
                kept.for_each(|kept| self.recorder.record(Event::ClusterHeld(kept.hold)));
            }
            Err(error) => self.recorder.note(format!("how the clusters were held is unknown: {error}")),
        }
    }

    async fn look(&self) -> Result<Vec<HoldStatus>, harness_supervisor::Error> {
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
                let text = format!("{cluster} no longer belongs to the run, another may act there: {reason}");
                tracing::error!("{text}");
                self.recorder.record(Event::ClusterLost { cluster, reason });
                all.push(text);
            }
        }
        all
    }
}

/// Awaits work of the supervisor, and meanwhile shows the reports of its clean-ups.
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
