//! Waiting until nothing of a run is there any more: said while it takes, and not for ever.

use std::time::{Duration, Instant};

use kube::Client;

use super::left::{self, Left};
use super::sweep::{self, Extent};
use crate::Error;

/// Looks that must find nothing before it is over: a controller may be in the middle of a creation.
const LOOKS_IN_A_ROW: u32 = 2;
/// Variable that says how many seconds a clean-up goes on although nothing more goes away.
pub(super) const PATIENCE_VARIABLE: &str = "E2E_CLEANUP_PATIENCE_S";

/// How long a clean-up may take, and how it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Without anything going away.
    patience: Duration,
    /// In all; deleting ten thousand Pods takes a minute. Less than whoever waits for a supervisor gives it.
    ceiling: Duration,
    /// Time between two looks.
    tick: Duration,
    /// Until something is said, and from then on between two lines.
    say_every: Duration,
}

impl Limits {
    /// With that patience, in place of the usual one.
    pub(super) fn with_patience(seconds: Option<u64>) -> Self {
        let patience = seconds.map_or(Duration::from_secs(120), Duration::from_secs);
        Self {
            patience,
            ceiling: Duration::from_secs(540),
            tick: Duration::from_millis(250),
            say_every: Duration::from_secs(10).min(patience / 2),
        }
    }

    /// How long it may take without anything going away.
    pub(super) fn patience(self) -> Duration {
        self.patience
    }

    /// As the environment says.
    ///
    /// # Errors
    /// When it says no number.
    pub(super) fn from_env() -> Result<Self, Error> {
        let text = std::env::var(PATIENCE_VARIABLE).ok().filter(|text| !text.is_empty());
        patience(text.as_deref()).map(Self::with_patience)
    }
}

/// Seconds, of the variable's value.
///
/// # Errors
/// When it is no number.
pub(super) fn patience(text: Option<&str>) -> Result<Option<u64>, Error> {
    let Some(text) = text else { return Ok(None) };
    let seconds: Option<u64> = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds.map(Some).ok_or_else(|| {
        Error::Usage(format!("{PATIENCE_VARIABLE}={text}: give a whole number of seconds, at least 1"))
    })
}

/// Why a clean-up has ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    /// Objects do not go away.
    #[error("after {after_s} s there still is: {}", left::line(.left))]
    Objects {
        /// Which.
        left: Vec<Left>,
        /// How long that was waited for, in seconds.
        after_s: u64,
    },
    /// What is there cannot be read, or removed.
    #[error("{0}")]
    Blind(String),
}

/// Removes what is there until there is nothing. `say` is told what it waits for.
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
        // What stands still need not be asked four times a second.
        let idle = waiting.unchanged(Instant::now()) / 10;
        tokio::time::sleep(limits.tick.max(idle.min(Duration::from_secs(2)))).await;
    }
}

/// A look, which may take long on an apiserver that hardly answers.
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

/// What a clean-up waits for.
struct Waiting {
    begin: Instant,
    /// When something was last seen to go away, or to come.
    changed: Instant,
    said: Instant,
    last: Vec<Left>,
    /// Why the last look saw nothing, if so.
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

    /// Says how it stands, if that is due.
    ///
    /// # Errors
    /// When it is to be given up.
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
        assert_eq!(stuck, "after 80 s there still is: Node b");
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
