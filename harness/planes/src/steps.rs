//! The steps of a start, each timed.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::spec::Step;

/// Measures the steps of a start.
pub(super) struct Steps {
    start: Instant,
    done: Mutex<Vec<Step>>,
}

impl Steps {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), done: Mutex::default() }
    }

    /// Does `work` and records how long it took.
    pub(super) async fn time<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let result = work.await;
        self.done.lock().expect("the list of steps must not be poisoned").push(Step {
            name: name.to_owned(),
            start_ms: millis(begin - self.start),
            duration_ms: millis(begin.elapsed()),
        });
        result
    }

    /// Returns all steps in the order in which they began, followed by their total.
    pub(super) fn finish(self) -> Vec<Step> {
        let mut steps = self.done.into_inner().expect("the list of steps must not be poisoned");
        steps.sort_by_key(|step| step.start_ms);
        let total = millis(self.start.elapsed());
        steps.push(Step { name: "total".to_owned(), start_ms: 0, duration_ms: total });
        steps
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Formats each step as `name start+duration`, in milliseconds, for a log line.
pub(super) fn brief(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|s| format!("{} {}+{}", s.name, s.start_ms, s.duration_ms)).collect()
}
