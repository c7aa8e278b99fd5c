//! Waiting for a condition, with a ceiling and an error that tells what was last seen.
//!
//! Waiting on the event itself is better where there is one; the ceiling should be so long that only a
//! bug can reach it.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// One look at the condition.
#[derive(Debug)]
pub enum Look<T, S> {
    /// It holds; stop with this value.
    Ready(T),
    /// Not yet; what was seen.
    NotYet(S),
    /// It can never hold; stop at once with this reason.
    Never(String),
}

/// Why waiting ended without the condition.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ceiling was reached.
    #[error("waited {waited_s:.1} s for {what}; last seen: {last}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        waited_s: f64,
        /// The last observation.
        last: String,
    },
    /// The condition can no longer come true.
    #[error("{what} cannot happen any more: {reason}")]
    Never {
        /// What was waited for.
        what: String,
        /// Why not.
        reason: String,
    },
}

/// Looks every `interval` until the condition is ready, hopeless, or `ceiling` has passed.
///
/// # Errors
/// [`Error`], with the last observation.
pub async fn until<T, S, F, Fut>(
    what: &str,
    interval: Duration,
    ceiling: Duration,
    mut look: F,
) -> Result<T, Error>
where
    S: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Look<T, S>>,
{
    let start = Instant::now();
    loop {
        let last = match look().await {
            Look::Ready(value) => return Ok(value),
            Look::Never(reason) => return Err(Error::Never { what: what.to_owned(), reason }),
            Look::NotYet(seen) => format!("{seen:?}"),
        };
        if start.elapsed() >= ceiling {
            let waited_s = start.elapsed().as_secs_f64();
            return Err(Error::TimedOut { what: what.to_owned(), waited_s, last });
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn ready_ends_with_the_value() {
        let n = Cell::new(0);
        let value = until("three looks", TICK, Duration::from_secs(60), || {
            n.set(n.get() + 1);
            let seen = n.get();
            async move { if seen == 3 { Look::Ready(seen) } else { Look::NotYet(seen) } }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn the_ceiling_reports_the_last_observation() {
        let error = until("the moon", TICK, Duration::ZERO, || async { Look::<(), _>::NotYet("clouds") })
            .await
            .unwrap_err();
        assert!(error.to_string().contains("the moon") && error.to_string().contains("clouds"), "{error}");
    }

    #[tokio::test]
    async fn never_ends_at_once() {
        let error = until("a dead process", TICK, Duration::from_secs(60), || async {
            Look::<(), ()>::Never("it exited with 1".into())
        })
        .await
        .unwrap_err();
        assert!(matches!(error, Error::Never { .. }), "{error}");
    }
}
