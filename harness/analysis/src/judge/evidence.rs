//! What a run left behind, read into memory.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::judge::Error;
use harness_model::families::{self, Family, Shown};
use harness_model::prometheus::Series;
use harness_model::record::event::{End, LeftBehind};
use harness_model::record::{
    Event, NodeRecord, Phase, PodRecord, RunDir, Sample, Scrape, Stamped, Written, lines,
};
use harness_model::summary::{LEFT_BEHIND, Verdict, autoscaler};

/// Everything that a verdict is based on.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Identifier of the run.
    pub run_id: String,
    /// Wall clock at time zero, microseconds since 1970.
    pub wall_start_us: u64,
    /// How the run ended; `None` if it was killed.
    pub end: Option<End>,
    /// Why it ended early.
    pub end_reason: Option<String>,
    /// Time of the last event.
    pub end_us: u64,
    /// What the run reports that it wrote, by file; empty if it does not report it.
    pub written: BTreeMap<String, Written>,
    /// Number of lines in each of these files.
    pub found: BTreeMap<String, u64>,
    /// All events.
    pub events: Vec<Stamped>,
    /// All Pods.
    pub pods: Vec<PodRecord>,
    /// All Nodes.
    pub nodes: Vec<NodeRecord>,
    /// Samples of processes and host.
    pub samples: Vec<Sample>,
    /// Scrapes, by target.
    pub scrapes: BTreeMap<(String, Option<String>), Timeline>,
    /// When each cluster's roll-ups were queued, ascending.
    pub rollups_us: BTreeMap<String, Vec<u64>>,
    /// What the shard did, in order of the start.
    pub actions: Vec<Action>,
    /// Number of actions that the shard reported without times, which are left out of everything else.
    pub actions_without_times: u64,
    /// Bootstraps that the shard carried out: (when begun, cluster, machine), ascending.
    pub bootstraps: Vec<(u64, String, String)>,
    /// Host facts.
    pub host: serde_json::Value,
    /// Tool versions.
    pub tools: serde_json::Value,
}

/// The scrapes of one target.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// (when, changed series), ascending.
    scrapes: Vec<(u64, Series)>,
    /// Families of the table that it exposed in any scrape.
    pub shown: BTreeSet<String>,
    /// When scraping failed, and why.
    pub errors: Vec<(u64, String)>,
}

impl Timeline {
    /// Adds a scrape; times must ascend.
    pub fn push(&mut self, scrape: Scrape) {
        match scrape.error {
            Some(error) => self.errors.push((scrape.at_us, error)),
            None => {
                self.shown.extend(scrape.families);
                self.shown.extend(families::of(&scrape.series).map(str::to_owned));
                self.scrapes.push((scrape.at_us, scrape.series));
            }
        }
    }

    /// Returns all values as of the last scrape at or before `at_us`; `None` if there was none.
    pub fn at(&self, at_us: u64) -> Option<Series> {
        let mut known = self.scrapes.iter().take_while(|(at, _)| *at <= at_us).peekable();
        known.peek()?;
        let mut state = Series::new();
        known.for_each(|(_, changed)| state.extend(changed.iter().map(|(k, v)| (k.clone(), *v))));
        Some(state)
    }

    /// Calls `see` with all values as of each of these ascending times; there are none before the first scrape.
    pub fn walk(&self, times_us: impl Iterator<Item = u64>, mut see: impl FnMut(usize, &Series)) {
        let (mut state, mut scrapes) = (Series::new(), self.scrapes.iter().peekable());
        for (place, time_us) in times_us.enumerate() {
            while let Some((_, changed)) = scrapes.next_if(|(at, _)| *at <= time_us) {
                state.extend(changed.iter().map(|(k, v)| (k.clone(), *v)));
            }
            see(place, &state);
        }
    }

    /// Returns the times of the scrapes in a window.
    pub fn times(&self, window: (u64, u64)) -> impl Iterator<Item = u64> {
        self.scrapes.iter().map(|(at, _)| *at).filter(move |at| (window.0..=window.1).contains(at))
    }

    /// Returns the largest value that `read` finds in any scrape of the window, including the state at its start.
    pub fn max_in(&self, window: (u64, u64), read: impl Fn(&Series) -> Option<f64>) -> Option<f64> {
        let mut largest = None;
        let times_us = std::iter::once(window.0).chain(self.times((window.0 + 1, window.1)));
        self.walk(times_us, |_, state| {
            largest = [largest, read(state)].into_iter().flatten().reduce(f64::max);
        });
        largest
    }
}

/// A line of an operator's `--rollup-log`. Other fields are ignored.
#[derive(Deserialize)]
struct RollupLine {
    at_unix_ns: u64,
}

/// Something that the shard did with a machine, or tried to: a line of its `--audit-log`. Other fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Action {
    #[serde(rename = "startedUnixNanos")]
    pub(crate) started_unix_ns: u64,
    #[serde(rename = "unixNanos")]
    pub(crate) ended_unix_ns: u64,
    /// When it began, on the run's clock.
    #[serde(skip)]
    pub started_us: u64,
    /// When it ended.
    #[serde(skip)]
    pub ended_us: u64,
    /// The cycle that decided it.
    pub cycle: u64,
    /// Bootstrap, Provision, Reclaim, Preempt or Delete.
    pub kind: String,
    /// The machine.
    pub machine: String,
    /// Cluster that gained or lost it.
    pub cluster: String,
    /// `success`, or the reason why not.
    pub outcome: String,
}

impl Evidence {
    /// Returns what could not be removed from existing clusters.
    pub fn left_behind(&self) -> impl Iterator<Item = &LeftBehind> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            Event::LeftBehind(left) => Some(left),
            _ => None,
        })
    }

    /// Returns the exit code for a verdict. Objects that remain in an existing cluster do not change the verdict, but
    /// such a run does not end as if all were well.
    pub fn exit_code(&self, verdict: Verdict) -> u8 {
        match verdict.exit_code() {
            0 if self.left_behind().next().is_some() => LEFT_BEHIND,
            code => code,
        }
    }

    /// Reads a run directory. Files that an interrupted run may lack count as empty; the judge finds their
    /// measurements missing.
    ///
    /// # Errors
    /// When the events are missing, or a file is broken.
    pub fn load(dir: &RunDir) -> Result<Self, Error> {
        let events: Vec<Stamped> = lines::read_lines(&dir.events())?;
        let Some(last) = events.last() else { return Err(Error::Empty(dir.root().to_owned())) };
        let mut evidence = Self { end_us: last.at_us, ..Self::default() };
        evidence.read_events(events);
        for file in evidence.written.keys() {
            // Only the name, so that a path cannot lead elsewhere.
            let name = std::path::Path::new(file).file_name().unwrap_or_default();
            evidence.found.insert(file.clone(), lines::count_lines(&dir.root().join(name))?);
        }
        evidence.pods = if_present(&dir.pods(), lines::read_lines_gz)?;
        evidence.nodes = if_present(&dir.nodes(), lines::read_lines)?;
        evidence.samples = if_present(&dir.processes(), lines::read_lines)?;
        for scrape in if_present::<Scrape>(&dir.metrics(), lines::read_lines)? {
            let key = (scrape.target.clone(), scrape.cluster.clone());
            evidence.scrapes.entry(key).or_default().push(scrape);
        }
        let clusters: Vec<String> = evidence.pods.iter().map(|p| p.cluster.clone()).collect();
        for cluster in clusters.into_iter().collect::<std::collections::BTreeSet<_>>() {
            let lines: Vec<RollupLine> = if_present(&dir.rollups(&cluster), lines::read_lines)?;
            let times = lines.iter().map(|l| evidence.run_us(l.at_unix_ns)).collect();
            evidence.rollups_us.insert(cluster, times);
        }
        evidence.read_actions(if_present(&dir.audit(), lines::read_lines)?);
        let came =
            |a: &&Action| matches!(a.kind.as_str(), "Bootstrap" | "Provision") && a.outcome == "success";
        let came = evidence.actions.iter().filter(came);
        evidence.bootstraps = came.map(|a| (a.started_us, a.cluster.clone(), a.machine.clone())).collect();
        evidence.bootstraps.sort();
        let json = |path: &std::path::Path| match path.exists() {
            true => dir.read_json(path),
            false => Ok(serde_json::Value::Null),
        };
        evidence.host = json(&dir.host())?;
        evidence.tools = json(&dir.tools())?;
        Ok(evidence)
    }

    /// Stores the events and what is read from them.
    pub fn read_events(&mut self, events: Vec<Stamped>) {
        for stamped in &events {
            match &stamped.event {
                Event::RunStarted { run_id, wall_unix_us, .. } => {
                    self.run_id.clone_from(run_id);
                    self.wall_start_us = *wall_unix_us;
                }
                Event::RunEnded { end, reason, written } => {
                    self.end = Some(*end);
                    self.end_reason.clone_from(reason);
                    self.written.clone_from(written);
                }
                _ => {}
            }
        }
        self.end_us = events.last().map_or(0, |e| e.at_us);
        self.events = events;
    }

    /// Stores the shard's actions that have their times. An action without them must not become one at time zero.
    fn read_actions(&mut self, actions: Vec<Action>) {
        for mut action in actions {
            let at = |unix_ns: u64| (unix_ns / 1000).checked_sub(self.wall_start_us).filter(|_| unix_ns > 0);
            match (at(action.started_unix_ns), at(action.ended_unix_ns)) {
                (Some(started_us), Some(ended_us)) if started_us <= ended_us => {
                    (action.started_us, action.ended_us) = (started_us, ended_us);
                    self.actions.push(action);
                }
                _ => self.actions_without_times += 1,
            }
        }
        self.actions.sort_by_key(|a| a.started_us);
    }

    /// Returns start and end of a phase; an unfinished phase ends with the run.
    pub fn window(&self, phase: Phase) -> Option<(u64, u64)> {
        let at =
            |wanted: &dyn Fn(&Event) -> bool| self.events.iter().find(|e| wanted(&e.event)).map(|e| e.at_us);
        let start = at(&|e| *e == Event::PhaseStarted { phase })?;
        let end = at(&|e| *e == Event::PhaseEnded { phase }).unwrap_or(self.end_us);
        Some((start, end))
    }

    /// Whether a phase was finished.
    pub fn finished(&self, phase: Phase) -> bool {
        self.events.iter().any(|e| e.event == Event::PhaseEnded { phase })
    }

    /// Returns the time from the start of the fill to the end of the soak.
    pub fn loaded(&self) -> Option<(u64, u64)> {
        let (start, fill_end) = self.window(Phase::Fill)?;
        Some((start, self.window(Phase::Soak).map_or(fill_end, |(_, end)| end)))
    }

    /// Returns the length of each phase in seconds.
    pub fn phases_s(&self) -> BTreeMap<Phase, f64> {
        use Phase::{Collect, Fill, Provision, Quiesce, Release, Settle, Soak, Start, Steady};
        let all = [Provision, Start, Fill, Steady, Settle, Soak, Quiesce, Collect, Release];
        let length = |(start, end): (u64, u64)| (end - start) as f64 / 1e6;
        all.into_iter().filter_map(|p| Some((p, length(self.window(p)?)))).collect()
    }

    /// Returns the start of the run, RFC 3339.
    pub fn started(&self) -> String {
        let us = i64::try_from(self.wall_start_us).unwrap_or_default();
        jiff::Timestamp::from_microsecond(us).unwrap_or_default().to_string()
    }

    /// Returns the scrapes of all targets of that name.
    pub fn timelines<'a>(&'a self, target: &'a str) -> impl Iterator<Item = (Option<&'a str>, &'a Timeline)> {
        let of_target = self.scrapes.iter().filter(move |((name, _), _)| name == target);
        of_target.map(|((_, cluster), timeline)| (cluster.as_deref(), timeline))
    }

    /// Returns the scrapes of all targets of that name: at least `at_least` targets, each of which exposed the family.
    ///
    /// # Errors
    /// A message, when a target was not scraped or never exposed it: its values are not measured, and not 0.
    pub fn showing<'a>(
        &'a self,
        target: &'a str,
        at_least: usize,
        family: &Family,
    ) -> Result<Vec<(Option<&'a str>, &'a Timeline)>, String> {
        let timelines: Vec<_> = self.timelines(target).collect();
        if timelines.len() < at_least.max(1) {
            return Err(format!(
                "{} of {} {target} endpoints were scraped",
                timelines.len(),
                at_least.max(1)
            ));
        }
        match timelines.iter().find(|(_, timeline)| !self.is_shown(timeline, family)) {
            Some((cluster, _)) => Err(never_showed(target, *cluster, family)),
            None => Ok(timelines),
        }
    }

    /// Whether a target exposed a family, as far as this autoscaler has to.
    fn is_shown(&self, timeline: &Timeline, family: &Family) -> bool {
        let may_lack = family.shown == Shown::ByTheReference && autoscaler(&self.host).is_some();
        may_lack || family.is_proved_by(&timeline.shown)
    }

    /// Describes the families that are read, but that a scraped target never exposed.
    pub fn not_shown(&self) -> Vec<String> {
        let missing = |family: &'static &'static Family| {
            let of_its_targets = self.scrapes.iter().filter(|((target, _), timeline)| {
                family.targets.contains(&target.as_str()) && !self.is_shown(timeline, family)
            });
            let words = |((target, cluster), _): (&(String, Option<String>), &Timeline)| {
                never_showed(target, cluster.as_deref(), family)
            };
            of_its_targets.map(words).collect::<Vec<_>>()
        };
        families::ALL.iter().filter(|family| !family.read_by.is_empty()).flat_map(missing).collect()
    }

    /// Returns the sizes of the waves: actions of these kinds by the cycle that decided them, whatever their outcome.
    pub fn waves(&self, kinds: &[&str]) -> Vec<u64> {
        let mut waves: BTreeMap<u64, u64> = BTreeMap::new();
        for action in self.actions.iter().filter(|a| kinds.contains(&a.kind.as_str())) {
            *waves.entry(action.cycle).or_default() += 1;
        }
        waves.into_values().collect()
    }

    /// Converts a wall-clock time of another program to our clock.
    fn run_us(&self, unix_nanos: u64) -> u64 {
        (unix_nanos / 1000).saturating_sub(self.wall_start_us)
    }
}

fn never_showed(target: &str, cluster: Option<&str>, family: &Family) -> String {
    let whose = cluster.map_or_else(String::new, |cluster| format!(" of {cluster}"));
    format!("{target}{whose} never showed {}", family.name)
}

fn if_present<T>(
    path: &std::path::Path,
    read: impl Fn(&std::path::Path) -> Result<Vec<T>, lines::Error>,
) -> Result<Vec<T>, lines::Error> {
    if path.exists() { read(path) } else { Ok(Vec::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_without_its_times_is_counted_and_none_at_time_zero() {
        let action =
            |started_unix_ns, ended_unix_ns| Action { started_unix_ns, ended_unix_ns, ..Action::default() };
        let mut evidence = Evidence { wall_start_us: 1_000, ..Evidence::default() };
        evidence.read_actions(vec![
            action(3_000_000, 4_000_000),
            action(0, 4_000_000),
            action(3_000_000, 0),
            action(999_000, 4_000_000),
            action(1_000_000, 1_000_000),
        ]);
        let times: Vec<_> = evidence.actions.iter().map(|a| (a.started_us, a.ended_us)).collect();
        assert_eq!((times, evidence.actions_without_times), (vec![(0, 0), (2_000, 3_000)], 3));
    }

    #[test]
    fn a_timeline_keeps_what_did_not_change() {
        let scrape = |at_us, series: &[(&str, f64)]| Scrape {
            at_us,
            series: series.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
            ..Scrape::default()
        };
        let mut timeline = Timeline::default();
        timeline.push(scrape(10, &[("a", 1.0), ("b", 5.0)]));
        timeline.push(scrape(20, &[("a", 2.0)]));
        assert_eq!(timeline.at(9), None);
        assert_eq!(timeline.at(25).unwrap()["b"], 5.0);
        assert_eq!(timeline.max_in((12, 30), |s| s.get("a").copied()), Some(2.0));
        assert_eq!(
            timeline.max_in((12, 30), |s| s.get("b").copied()),
            Some(5.0),
            "the state at the start counts"
        );
    }
}
