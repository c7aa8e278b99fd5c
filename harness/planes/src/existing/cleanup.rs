//! Waits until nothing of a run is left, with progress reports and a time limit.

use std::time::{Duration, Instant};

use kube::Client;

use super::left::{self, Left};
use super::sweep::{self, Extent};
use crate::Error;

/// Consecutive checks that must find nothing before the clean-up is done: a controller may be in the middle of creating
/// an object.
const LOOKS_IN_A_ROW: u32 = 2;
/// Variable with the number of seconds that a clean-up continues although nothing more goes away.
pub(super) const PATIENCE_VARIABLE: &str = "E2E_CLEANUP_PATIENCE_S";

/// How long a clean-up may take, and how often it is reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Longest time without anything going away.
    patience: Duration,
    /// Longest time in total; deleting ten thousand Pods takes a minute. It is shorter than what clients allow a
    /// supervisor for its shutdown.
    ceiling: Duration,
    /// Time between two checks.
    tick: Duration,
    /// Time until the first progress line, and between two of them.
    say_every: Duration,
}

impl Limits {
    /// Returns the limits with the given patience, or with the default one.
    pub(super) fn with_patience(seconds: Option<u64>) -> Self {
        let patience = seconds.map_or(Duration::from_secs(120), Duration::from_secs);
        Self {
            patience,
            ceiling: Duration::from_secs(540),
            tick: Duration::from_millis(250),
            say_every: Duration::from_secs(10).min(patience / 2),
        }
    }

    /// Returns how long it may take without anything going away.
    pub(super) fn patience(self) -> Duration {
        self.patience
    }

    /// Reads the limits from the environment.
    ///
    /// # Errors
    /// When the value is not a valid number.
    pub(super) fn from_env() -> Result<Self, Error> {
        let text = std::env::var(PATIENCE_VARIABLE).ok().filter(|text| !text.is_empty());
        patience(text.as_deref()).map(Self::with_patience)
    }
}

/// Parses the variable's value as seconds.
///
/// # Errors
/// When it is not a whole number of at least 1.
pub(super) fn patience(text: Option<&str>) -> Result<Option<u64>, Error> {
    let Some(text) = text else { return Ok(None) };
    let seconds: Option<u64> = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds.map(Some).ok_or_else(|| {
        Error::Usage(format!("{PATIENCE_VARIABLE}={text}: give a whole number of seconds, at least 1"))
    })
}

/// Why a clean-up was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    /// Objects do not go away.
    #[error("after {after_s} s still there: {}", left::line(.left))]
    Objects {
        /// The objects.
        left: Vec<Left>,
        /// How long the clean-up waited for them, in seconds.
        after_s: u64,
    },
    /// What remains cannot be read or removed.
    #[error("{0}")]
    Blind(String),
}

/// Removes objects until none are left. `say` receives what the clean-up is waiting for.
pub(super) async fn until_nothing(
    client: &Client,
    extent: Extent,
    limits: Limits,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), Stuck> {
    let begin = Instant::now();
    let (mut empty, mut waiting) = (0, Waiting::new(begin));
    loop {
        let look = said_meanwhile(sweep::round(client, extent), &mut waiting, limits, say).await?;
        empty = if matches!(&look, Ok(left) if left.is_empty()) { empty + 1 } else { 0 };
        if empty == LOOKS_IN_A_ROW {
            return Ok(());
        }
        if empty == 0 {
            waiting.saw(look, Instant::now());
        }
        waiting.tell(limits, say)?;
        // While nothing changes, there is no need to ask four times a second.
        let idle = waiting.unchanged(Instant::now()) / 10;
        tokio::time::sleep(limits.tick.max(idle.min(Duration::from_secs(2)))).await;
    }
}

/// Runs a check and reports progress meanwhile: it may take long if the apiserver hardly answers.
async fn said_meanwhile<T>(
    look: impl Future<Output = T>,
    waiting: &mut Waiting,
    limits: Limits,
    say: &(dyn Fn(&str) + Sync),
) -> Result<T, Stuck> {
    tokio::pin!(look);
    loop {
        tokio::select! {
            seen = &mut look => return Ok(seen),
            () = tokio::time::sleep(Duration::from_secs(1)) => waiting.tell(limits, say)?,
        }
    }
}

/// The state of a clean-up that is waiting.
struct Waiting {
    begin: Instant,
    /// When an object was last seen to disappear or to appear.
    changed: Instant,
    said: Instant,
    last: Vec<Left>,
    /// Why the last check saw nothing, if it failed.
    trouble: Option<String>,
}

impl Waiting {
    fn new(begin: Instant) -> Self {
        Self { begin, changed: begin, said: begin, last: Vec::new(), trouble: None }
    }

    fn saw(&mut self, look: Result<Vec<Left>, Error>, now: Instant) {
        match look {
            Ok(mut left) => {
                left.sort();
                left.dedup();
                if left != self.last {
                    (self.last, self.changed) = (left, now);
                }
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    fn unchanged(&self, now: Instant) -> Duration {
        now.duration_since(self.changed)
    }

    /// Reports progress, if a report is due.
    ///
    /// # Errors
    /// When the clean-up must be given up.
    fn tell(&mut self, limits: Limits, say: &(dyn Fn(&str) + Sync)) -> Result<(), Stuck> {
        let now = Instant::now();
        if let Some(stuck) = self.gives_up(limits, now) {
            return Err(stuck);
        }
        self.what_to_say(limits, now).iter().for_each(|line| say(line));
        Ok(())
    }

    fn gives_up(&self, limits: Limits, now: Instant) -> Option<Stuck> {
        if self.unchanged(now) < limits.patience && now.duration_since(self.begin) < limits.ceiling {
            return None;
        }
        let after_s = now.duration_since(self.begin).as_secs();
        Some(match &self.trouble {
            Some(why) => Stuck::Blind(format!("after {after_s} s: {why}")),
            None if self.last.is_empty() => {
                Stuck::Blind(format!("after {after_s} s: the apiserver does not answer"))
            }
            None => Stuck::Objects { left: self.last.clone(), after_s },
        })
    }

    fn what_to_say(&mut self, limits: Limits, now: Instant) -> Option<String> {
        if now.duration_since(self.said) < limits.say_every {
            return None;
        }
        self.said = now;
        let seconds = |duration: Duration| duration.as_secs();
        let what = match &self.trouble {
            Some(why) => why.clone(),
            None if self.last.is_empty() => "the apiserver has not answered yet".to_owned(),
            None => format!("still there: {}", left::line(&self.last)),
        };
        Some(format!(
            "cleaning up for {} s; {what}; given up when nothing changes for {} s (unchanged for {} s)",
            seconds(now.duration_since(self.begin)),
            seconds(limits.patience),
            seconds(self.unchanged(now))
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        patience: Duration::from_secs(60),
        ceiling: Duration::from_secs(300),
        tick: Duration::from_millis(1),
        say_every: Duration::from_secs(10),
    };

    fn nodes(names: &[&str]) -> Vec<Left> {
        names.iter().map(|name| Left::named("Node", name)).collect()
    }

    #[test]
    fn what_stands_still_is_said_and_given_up() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let mut waiting = Waiting::new(begin);
        waiting.saw(Ok(nodes(&["a", "b"])), at(1));
        assert_eq!(waiting.what_to_say(LIMITS, at(5)), None, "too soon");
        waiting.saw(Ok(nodes(&["b"])), at(20));
        let said = waiting.what_to_say(LIMITS, at(30)).unwrap();
        assert!(said.contains("still there: Node b;") && said.contains("unchanged for 10 s"), "{said}");
        assert_eq!(waiting.what_to_say(LIMITS, at(35)), None, "it was just said");
        waiting.saw(Ok(nodes(&["b"])), at(70));
        assert!(waiting.gives_up(LIMITS, at(79)).is_none(), "59 s since a went away");
        let stuck = waiting.gives_up(LIMITS, at(80)).unwrap().to_string();
        assert_eq!(stuck, "after 80 s still there: Node b");
    }

    #[test]
    fn what_goes_on_is_given_up_in_the_end_and_trouble_is_no_progress() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let mut waiting = Waiting::new(begin);
        for s in 0..300 {
            let name = format!("n{s}");
            waiting.saw(Ok(nodes(&[&name])), at(s));
            assert!(waiting.gives_up(LIMITS, at(s)).is_none(), "{s}");
        }
        assert!(waiting.gives_up(LIMITS, at(300)).is_some(), "a controller makes one for each that goes");
        let mut blind = Waiting::new(begin);
        blind.saw(Err(Error::Environment("listing Nodes: Unauthorized".to_owned())), at(59));
        let stuck = blind.gives_up(LIMITS, at(60)).unwrap().to_string();
        assert_eq!(stuck, "after 60 s: listing Nodes: Unauthorized");
    }

    #[test]
    fn patience_is_a_number_of_seconds() {
        assert_eq!(patience(None).unwrap(), None);
        assert_eq!(patience(Some("5")).unwrap(), Some(5));
        for wrong in ["0", "-1", "2m"] {
            assert!(patience(Some(wrong)).unwrap_err().to_string().contains(wrong));
        }
    }

    #[tokio::test]
    async fn a_node_that_a_finalizer_holds_is_told_while_it_waits_and_goes_when_let_go() {
        let fake = super::super::fake::Fake::default();
        fake.add_node("free", &[]);
        fake.add_node("held", &["example.com/hold"]);
        let limits =
            Limits { patience: Duration::from_millis(300), say_every: Duration::from_millis(100), ..LIMITS };
        let said = std::sync::Mutex::new(Vec::new());
        let say = |text: &str| said.lock().unwrap().push(text.to_owned());
        let client = fake.client();
        let stuck = until_nothing(&client, Extent::Everything, limits, &say).await.unwrap_err().to_string();
        let held =
            "Node held (being deleted since 2026-11-30T10:00:00Z, held by the finalizers example.com/hold)";
        assert!(stuck.ends_with(held), "{stuck}");
        let first = said.lock().unwrap().first().cloned().unwrap();
        assert!(first.contains(held), "{first}");
        fake.let_go("held");
        until_nothing(&client, Extent::Everything, limits, &say).await.unwrap();
    }
}
