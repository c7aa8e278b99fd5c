//! The values of a run's gates in earlier runs of its kind.

mod draw;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::results::{self, Kind};
use harness_model::record::RunDir;
use harness_model::summary::screen::measured;
use harness_model::summary::stats::Spread;
use harness_model::summary::{Bound, Gate, Outcome, Summary, file};

/// Earlier runs that a run is compared with: of the same kind, and valid.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The runs, in order of their start.
    earlier: Vec<Summary>,
    /// Number of files that are not summaries of a version known here.
    unread: usize,
    /// Version of the host speed index that brings figures to reference speed.
    index_version: u32,
    /// Metrics of this run that have a value at reference speed, each with the ratio of that value to the plain one.
    factors: BTreeMap<String, f64>,
}

/// One gate over earlier runs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Past {
    /// Runs in which it was judged.
    runs: usize,
    /// Runs in which it passed, by the bounds that it had then.
    passed: usize,
    /// Distribution of its values; `None` if it was never measured exactly.
    spread: Option<Spread>,
}

impl History {
    /// Finds the history of a run in the summaries of the directories next to its own and in the directory `kept`. A
    /// directory without a summary is not a run, and one that cannot be listed has no summaries.
    pub fn find(dir: &RunDir, of: &Summary, kept: &Path) -> Self {
        // The target of `latest` lies next to the runs, and `.` lies in its parent.
        let root = dir.root().canonicalize().unwrap_or_else(|_| dir.root().to_owned());
        let beside = root.parent().map(summaries_of_runs).unwrap_or_default();
        let kept = results::files(kept).unwrap_or_default();
        let mut unread = 0;
        let read = beside.into_iter().chain(kept).filter_map(|path| {
            let read = file::read(&path);
            unread += usize::from(read.is_err());
            read.ok()
        });
        let history = Self::of(of, read);
        Self { unread, ..history }
    }

    /// Returns the history of a run among others.
    fn of(of: &Summary, others: impl Iterator<Item = Summary>) -> Self {
        let index_version = of.index_version().unwrap_or_default();
        let factor = |metric: &String| Some((metric.clone(), factor(of, metric, index_version)?));
        let factors = of.metrics.keys().filter_map(factor).collect();
        Self { earlier: earlier(of, others), unread: 0, index_version, factors }
    }

    /// Returns the gate in each earlier run that judged it, with that run.
    fn gates<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a Summary, Gate)> {
        self.earlier.iter().filter_map(|run| Some((run, self.judged(run, metric)?)))
    }

    /// Returns the gate of a run, if it applied there, at reference speed if this run's gate is. A run whose host was
    /// not measured in that way then has no value, but its plain value in the note: the two are never combined.
    fn judged(&self, run: &Summary, metric: &str) -> Option<Gate> {
        let gate =
            run.gates.iter().find(|gate| gate.metric == metric && gate.outcome != Outcome::NotApplicable)?;
        if !self.factors.contains_key(metric) {
            return Some(gate.clone());
        }
        Some(match factor(run, metric, self.index_version) {
            Some(factor) => scaled(gate, factor),
            None => {
                let note = format!("{}, not normalised", measured(gate.value));
                Gate { value: None, note, ..gate.clone() }
            }
        })
    }

    /// Returns the number of earlier runs whose figures cannot be brought to reference speed although this run's can.
    fn not_normalised(&self) -> usize {
        let version = |run: &&Summary| run.index_version() != Some(self.index_version);
        if self.factors.is_empty() { 0 } else { self.earlier.iter().filter(version).count() }
    }

    fn past(&self, metric: &str) -> Past {
        let gates: Vec<Gate> = self.gates(metric).map(|(_, gate)| gate).collect();
        let passed = gates.iter().filter(|gate| gate.outcome == Outcome::Pass).count();
        // A value beyond a histogram is only known to be larger.
        let exact = gates.iter().filter(|gate| gate.outcome != Outcome::Saturated);
        let values: Vec<f64> = exact.filter_map(|gate| gate.value).collect();
        Past { runs: gates.len(), passed, spread: Spread::of(&values) }
    }
}

/// Returns the runs that a run is compared with: of its kind, judged, and started before it; each once, in order of
/// their start.
fn earlier(of: &Summary, runs: impl Iterator<Item = Summary>) -> Vec<Summary> {
    let Some(kind) = Kind::of(of) else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut earlier: Vec<Summary> = runs
        .filter(|run| run.verdict.is_judgement() && run.started < of.started)
        .filter(|run| Kind::of(run).as_ref() == Some(&kind))
        // A run may lie next to this one and be kept as well.
        .filter(|run| seen.insert((run.run_id.clone(), run.started.clone())))
        .collect();
    earlier.sort_by(|a, b| a.started.cmp(&b.started));
    earlier
}

/// Returns the ratio of the value at reference speed to the plain value.
fn factor(run: &Summary, metric: &str, index_version: u32) -> Option<f64> {
    let plain = run.metrics.get(metric)?.exact().filter(|value| *value != 0.0)?;
    Some(run.normalised(metric, index_version)? / plain)
}

/// Returns a gate with its value and bounds at reference speed.
fn scaled(gate: &Gate, factor: f64) -> Gate {
    let bound = |bound: Option<Bound>| {
        bound.map(|b| Bound { min: b.min.map(|v| v * factor), max: b.max.map(|v| v * factor) })
    };
    Gate {
        value: gate.value.map(|value| value * factor),
        slo: bound(gate.slo),
        range: bound(gate.range),
        ..gate.clone()
    }
}

/// Returns the summaries in the subdirectories of a directory, by name. Links are left out: `latest` is one of the
/// others.
fn summaries_of_runs(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut paths: Vec<PathBuf> = dirs.map(|entry| RunDir::new(entry.path()).summary()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
}
