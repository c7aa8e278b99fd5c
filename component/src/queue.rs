//! A work queue of keys: each key is queued once, is worked on by one worker at a time, and is retried with
//! back-off. What to do for a key is looked up when its turn comes, so a burst of events costs one action.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Semaphore;

/// First delay of a retried key; doubles up to [`LONGEST_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A deduplicating queue. Clones share it.
pub struct Queue<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    state: Mutex<State<K>>,
    /// One permit per waiting key.
    waiting: Semaphore,
}

struct State<K> {
    order: VecDeque<K>,
    queued: HashSet<K>,
    /// Being worked on; true when the key was pushed again meanwhile.
    busy: HashMap<K, bool>,
    failures: HashMap<K, u32>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        let state = State {
            order: VecDeque::new(),
            queued: HashSet::new(),
            busy: HashMap::new(),
            failures: HashMap::new(),
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), waiting: Semaphore::new(0) }) }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Queue<K> {
    /// Queues `key`, unless it waits already. A key being worked on is queued when that work is done.
    pub fn push(&self, key: K) {
        let mut state = self.lock();
        if let Some(again) = state.busy.get_mut(&key) {
            *again = true;
        } else if state.queued.insert(key.clone()) {
            state.order.push_back(key);
            self.inner.waiting.add_permits(1);
        }
    }

    /// The next key; the caller must hand it to [`Queue::done`] or [`Queue::retry`].
    pub async fn take(&self) -> K {
        let permit = self.inner.waiting.acquire().await.expect("the queue's semaphore must stay open");
        permit.forget();
        let mut state = self.lock();
        let key = state.order.pop_front().expect("a permit must stand for a waiting key");
        state.queued.remove(&key);
        state.busy.insert(key.clone(), false);
        key
    }

    /// Ends the work on `key` and forgets its failures.
    pub fn done(&self, key: &K) {
        let again = {
            let mut state = self.lock();
            state.failures.remove(key);
            state.busy.remove(key) == Some(true)
        };
        if again {
            self.push(key.clone());
        }
    }

    /// Ends the work on `key` and queues it again after a delay that doubles with each failure in a row,
    /// but no shorter than `at_least`.
    pub fn retry(&self, key: K, at_least: Duration) {
        let failures = {
            let mut state = self.lock();
            state.busy.remove(&key);
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay(failures).max(at_least)).await;
            queue.push(key);
        });
    }

    /// How many keys wait, not counting those being worked on.
    pub fn len(&self) -> usize {
        self.lock().order.len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.inner.state.lock().expect("the queue's mutex must not be poisoned")
    }
}

/// How long a key waits after so many failures in a row.
fn delay(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_waits_once() {
        let queue = Queue::default();
        queue.push("a");
        queue.push("a");
        queue.push("b");
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.take().await, "a");
        assert_eq!(queue.take().await, "b");
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn a_busy_key_is_never_handed_out_twice_but_runs_again() {
        let queue = Queue::default();
        queue.push(1);
        let key = queue.take().await;
        queue.push(1);
        assert!(queue.is_empty(), "it is being worked on");
        queue.done(&key);
        assert_eq!(queue.take().await, 1);
        queue.done(&1);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn failures_are_forgotten_after_success() {
        let queue = Queue::default();
        queue.push(1);
        let key = queue.take().await;
        queue.retry(key, Duration::ZERO);
        let key = queue.take().await;
        assert_eq!(queue.lock().failures.get(&1), Some(&1));
        queue.done(&key);
        assert!(queue.lock().failures.is_empty());
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let ms = |failures| delay(failures).as_millis();
        assert_eq!([ms(1), ms(2), ms(3), ms(20)], [100, 200, 400, 30_000]);
    }
}
