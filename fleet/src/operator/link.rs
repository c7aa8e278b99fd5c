//! What the rest of the operator sees of the session: a place to put frames.
//!
//! Roll-ups go through a slot that holds the newest only, answers through a bounded outbox. Both belong to one
//! session: what a broken session did not deliver is not sent in the next, which begins with a full roll-up.

use std::sync::{Mutex, MutexGuard};

use api::session::operator_message::Payload;
use api::session::{ClusterCapacityNeeds, OperatorMessage};
use metrics::counter;
use tokio::sync::{Notify, mpsc, watch};

/// Answers that may wait; upstream's outbox.
const OUTBOX_SLOTS: usize = 256;

/// Number of a session, unique within the process's life.
pub type SessionId = u64;

/// The way to the shard, while there is one.
#[derive(Default)]
pub struct Link {
    state: Mutex<State>,
    connected: Notify,
}

#[derive(Default)]
struct State {
    last: SessionId,
    open: Option<Open>,
}

struct Open {
    outbox: mpsc::Sender<OperatorMessage>,
    rollup: watch::Sender<Option<ClusterCapacityNeeds>>,
}

/// The other end: what a session sends.
pub struct Outgoing {
    /// Number of the session.
    pub session: SessionId,
    outbox: mpsc::Receiver<OperatorMessage>,
    rollup: watch::Receiver<Option<ClusterCapacityNeeds>>,
}

impl Link {
    /// Begins a session and wakes who waits for one.
    pub fn open(&self) -> Outgoing {
        let (outbox, outbox_end) = mpsc::channel(OUTBOX_SLOTS);
        let (rollup, rollup_end) = watch::channel(None);
        let mut state = self.lock();
        state.last += 1;
        state.open = Some(Open { outbox, rollup });
        self.connected.notify_one();
        Outgoing { session: state.last, outbox: outbox_end, rollup: rollup_end }
    }

    /// Ends the session.
    pub fn close(&self) {
        self.lock().open = None;
    }

    /// The session that is open.
    pub fn session(&self) -> Option<SessionId> {
        let state = self.lock();
        state.open.as_ref().map(|_| state.last)
    }

    /// Waits for the next session.
    pub async fn connected(&self) {
        self.connected.notified().await;
    }

    /// Puts an answer into the outbox; whether there was a session and room.
    pub fn send(&self, payload: Payload) -> bool {
        let state = self.lock();
        let Some(open) = &state.open else { return false };
        let sent = open.outbox.try_send(OperatorMessage { payload: Some(payload) }).is_ok();
        if !sent {
            counter!("bigfleet_operator_outbox_dropped_total").increment(1);
        }
        sent
    }

    /// Puts a roll-up into the slot, in place of one that was not sent yet; whether there was a session.
    pub fn offer(&self, rollup: ClusterCapacityNeeds) -> bool {
        let state = self.lock();
        state.open.as_ref().is_some_and(|open| open.rollup.send(Some(rollup)).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the link's mutex must not be poisoned")
    }
}

impl Outgoing {
    /// The next frame to send; `None` when the session was closed.
    pub async fn next(&mut self) -> Option<OperatorMessage> {
        loop {
            tokio::select! {
                biased;
                answer = self.outbox.recv() => return answer,
                changed = self.rollup.changed() => {
                    changed.ok()?;
                    let rollup = self.rollup.borrow_and_update().clone();
                    if let Some(rollup) = rollup {
                        return Some(OperatorMessage { payload: Some(Payload::Rollup(rollup)) });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::session::ReclaimAck;

    use super::*;

    fn rollup(timestamp_unix_nanos: i64) -> ClusterCapacityNeeds {
        ClusterCapacityNeeds { timestamp_unix_nanos, ..ClusterCapacityNeeds::default() }
    }

    fn ack() -> Payload {
        Payload::ReclaimAck(ReclaimAck::default())
    }

    #[tokio::test]
    async fn only_the_newest_roll_up_is_sent() {
        let link = Link::default();
        assert!(!link.offer(rollup(1)), "there is no session");
        let mut outgoing = link.open();
        assert!(link.offer(rollup(2)) && link.offer(rollup(3)));
        let Some(Payload::Rollup(sent)) = outgoing.next().await.unwrap().payload else {
            panic!("no roll-up")
        };
        assert_eq!(sent.timestamp_unix_nanos, 3);
        link.close();
        assert!(outgoing.next().await.is_none());
    }

    #[tokio::test]
    async fn a_full_outbox_drops_the_newest_answer_and_says_so() {
        let link = Link::default();
        let _outgoing = link.open();
        for _ in 0..OUTBOX_SLOTS {
            assert!(link.send(ack()));
        }
        assert!(!link.send(ack()));
    }

    #[tokio::test]
    async fn sessions_are_told_apart() {
        let link = Link::default();
        assert_eq!(link.session(), None);
        let first = link.open().session;
        assert_eq!(link.session(), Some(first));
        link.close();
        assert_eq!(link.session(), None);
        assert_ne!(link.open().session, first);
    }
}
