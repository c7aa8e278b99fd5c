//! Holds the record of our run: renews it until it is given back, including while the cluster is cleaned up, and
//! reports when it is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::record::{Held, LEASE, Refused};
use harness_model::record::event::Hold as Account;

/// When the record is renewed, and when that is given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Time between two renewals.
    every: Duration,
    /// How long one renewal may take.
    request: Duration,
    /// A record that could not be renewed for this long counts as lost: others may soon consider us dead.
    give_up: Duration,
}

const TIMING: Timing = Timing {
    every: Duration::from_secs(10),
    request: Duration::from_secs(10),
    give_up: Duration::from_secs(90),
};

/// A record of ours that is being renewed.
pub(super) struct Hold {
    shared: Arc<Mutex<Shared>>,
    lost: watch::Receiver<Option<String>>,
    renewal: AbortHandle,
}

struct Shared {
    held: Held,
    last: Instant,
    renewals: u64,
    unrenewed_max: Duration,
}

impl Shared {
    fn renewed(&mut self, held: Held, now: Instant) {
        self.unrenewed_max = self.unrenewed_max.max(now.duration_since(self.last));
        (self.held, self.last) = (held, now);
        self.renewals += 1;
    }

    /// Returns why the record counts as lost after a failed renewal, if it does.
    fn lost(&self, why: &Refused, now: Instant, give_up: Duration) -> Option<String> {
        let unrenewed = now.duration_since(self.last);
        match why {
            Refused::Lost(why) => Some(why.clone()),
            Refused::Failed(why) if unrenewed >= give_up => {
                Some(format!("it could not be renewed for {} s: {why}", unrenewed.as_secs()))
            }
            Refused::Failed(_) => None,
        }
    }
}

impl Hold {
    /// Starts the renewals.
    pub(super) fn keep(client: &Client, held: Held) -> Self {
        Self::keep_at(client, held, TIMING)
    }

    fn keep_at(client: &Client, held: Held, timing: Timing) -> Self {
        let shared = Shared { held, last: Instant::now(), renewals: 0, unrenewed_max: Duration::ZERO };
        let shared = Arc::new(Mutex::new(shared));
        let (sender, lost) = watch::channel(None);
        let renewal = tokio::spawn(renew(client.clone(), shared.clone(), sender, timing)).abort_handle();
        Self { shared, lost, renewal }
    }

    /// Returns how often the record was renewed, and with what gaps.
    pub(super) fn account(&self, cluster: &str) -> Account {
        let shared = lock(&self.shared);
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Account {
            cluster: cluster.to_owned(),
            renewals: shared.renewals,
            unrenewed_ms_max: ms(shared.unrenewed_max.max(shared.last.elapsed())),
            lease_ms: ms(LEASE),
        }
    }

    /// Returns why the record is lost, if it is.
    pub(super) fn is_lost(&self) -> Option<String> {
        self.lost.borrow().clone()
    }

    /// Waits until the record is lost; returns `None` once it is no longer renewed.
    pub(super) fn loss(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut lost = self.lost.clone();
        async move { lost.wait_for(Option::is_some).await.ok()?.clone() }
    }

    /// Does work that only the holder may do, and abandons it when the record is lost.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        tokio::select! {
            // Work must not begin if the record is already lost.
            biased;
            Some(why) = self.loss() => Err(why),
            done = work => Ok(done),
        }
    }

    /// Stops the renewal and hands the record to the caller.
    pub(super) fn end(self) -> Held {
        self.renewal.abort();
        lock(&self.shared).held.clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn renew(
    client: Client,
    shared: Arc<Mutex<Shared>>,
    lost: watch::Sender<Option<String>>,
    timing: Timing,
) {
    let mut ticks = tokio::time::interval(timing.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let mut held = lock(&shared).held.clone();
        let renewed = tokio::time::timeout(timing.request, held.renew(&client)).await;
        let renewed = renewed.unwrap_or_else(|_| {
            Err(Refused::Failed(format!("no answer within {} s", timing.request.as_secs())))
        });
        let mut shared = lock(&shared);
        match renewed {
            Ok(()) => shared.renewed(held, Instant::now()),
            Err(why) => match shared.lost(&why, Instant::now(), timing.give_up) {
                Some(why) => {
                    lost.send_replace(Some(why));
                    return;
                }
                None => tracing::warn!(%why, "the record of the run was not renewed"),
            },
        }
    }
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
