//! Compares two sets of runs: whether the second differs from the first by more than runs of one set do.
//!
//! Pure, except for [`Member::load`]. As with two runs, there is no verdict: people decide what a difference means.

mod bootstrap;
mod figure;
pub mod screen;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use self::bootstrap::RESAMPLES;
pub use self::figure::{EFFECT_MIN, Finding, Ratio, SHARE_MIN, SetFigure};
use super::Head;
use harness_model::summary::{Summary, file, machine};

/// Fewest runs that show how far apart runs of one set lie.
pub const RUNS_MIN: usize = 2;

/// Why sets are not compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A run has no summary that can be read.
    #[error("{0}; `cargo xtask judge RUN` writes the summary of a run directory again")]
    Summary(#[from] file::Error),
    /// Too few runs to know their noise.
    #[error(
        "set {set} has {n} run; a set needs {RUNS_MIN} or more, because its noise is measured, too \
         (`cargo xtask compare RUN RUN` puts two runs side by side)"
    )]
    Few {
        /// `A` or `B`.
        set: char,
        /// Runs in it.
        n: usize,
    },
    /// A run that is given twice would count twice.
    #[error("the run {0} is given twice")]
    Twice(String),
    /// The runs answer different questions.
    #[error("these runs cannot be compared:\n{}\nuse --force to compare them anyway", screen::unlike(.0))]
    Unlike(Vec<Unlike>),
}

/// A run as a member of a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// Run directory or summary, as given.
    pub path: PathBuf,
    /// Its summary.
    pub summary: Summary,
}

impl Member {
    /// Reads a run directory, or a summary that was kept from one.
    ///
    /// # Errors
    /// When there is no summary, or none of a known version.
    pub fn load(path: &Path) -> Result<Self, file::Error> {
        Ok(Self { path: path.to_owned(), summary: file::read(path)? })
    }

    /// Returns the path as given: the id of a run of a suite may also be that of another of its runs.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Something that should be the same in all runs, but is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unlike {
    /// What it is.
    pub what: String,
    /// Each value with the runs that have it.
    pub values: BTreeMap<String, Vec<String>>,
}

/// What may differ although it should not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The plan.
    pub plan: bool,
    /// Anything: plan, tools, machine class, autoscaler, and runs without a verdict of their own.
    pub all: bool,
}

/// The comparison of two sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first set, which the other one is measured against.
    pub a: Vec<Head>,
    /// The second set.
    pub b: Vec<Head>,
    /// Where the runs differ; empty unless that was allowed.
    pub unlike: Vec<Unlike>,
    /// What figures are normalised by; that of the first run if the runs differ.
    pub host_speed_index: String,
    /// Every figure of the summaries, by group and name.
    pub figures: Vec<SetFigure>,
}

impl Comparison {
    /// Returns pretty-printed JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a comparison must serialise")
    }
}

/// Puts two sets of runs side by side.
///
/// # Errors
/// When a set is too small, a run is given twice, or the runs differ in something that is not [`Allowed`].
pub fn compare(a: &[Member], b: &[Member], allowed: Allowed) -> Result<Comparison, Error> {
    for (set, members) in [('A', a), ('B', b)] {
        if members.len() < RUNS_MIN {
            return Err(Error::Few { set, n: members.len() });
        }
    }
    let all: Vec<&Member> = a.iter().chain(b).collect();
    once_each(&all).map_err(Error::Twice)?;
    let unlike = unlike(&all);
    let is_allowed = |u: &Unlike| allowed.all || (allowed.plan && u.what == PLAN);
    if !unlike.iter().all(is_allowed) {
        return Err(Error::Unlike(unlike.into_iter().filter(|u| !is_allowed(u)).collect()));
    }
    let heads = |set: &[Member]| set.iter().map(|m| super::head(&m.path, &m.summary)).collect();
    let figures = figure::all(a.iter().map(|m| &m.summary), b.iter().map(|m| &m.summary));
    let host_speed_index = index_version(&a[0].summary);
    Ok(Comparison { a: heads(a), b: heads(b), unlike, host_speed_index, figures })
}

/// Checks that no run is given twice; `Err` names it.
pub fn once_each(members: &[&Member]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match members.iter().find(|m| !seen.insert((&m.summary.run_id, &m.summary.started))) {
        Some(member) => Err(member.name()),
        None => Ok(()),
    }
}

const PLAN: &str = "plan digest";
const VALIDITY: &str = "validity";
const VALID: &str = "valid";
const INDEX: &str = "host speed index";

/// Returns what should be the same in runs whose figures are combined, but is not: plan, tools, machine class,
/// autoscaler, version of the host speed index, and that each run says anything at all (an invalid one does not).
pub fn unlike(members: &[&Member]) -> Vec<Unlike> {
    let mut values: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for member in members {
        for (what, value) in facts(member) {
            values.entry(what).or_default().entry(value).or_default().push(member.name());
        }
    }
    let is_alike = |what: &str, of: &BTreeMap<String, Vec<String>>| {
        // A fact that some runs lack is a difference, too.
        let known_in: usize = of.values().map(Vec::len).sum();
        of.len() == 1 && known_in == members.len() && (what != VALIDITY || of.contains_key(VALID))
    };
    let unlike = values.into_iter().filter(|(what, of)| !is_alike(what, of));
    unlike.map(|(what, values)| Unlike { what, values }).collect()
}

/// Returns what the figures of a run are normalised by.
fn index_version(summary: &Summary) -> String {
    summary.index_version().map_or_else(
        || "not measured: figures are not normalised".to_owned(),
        |version| format!("version {version}"),
    )
}

/// Returns what a run must have in common with others.
fn facts(member: &Member) -> BTreeMap<String, String> {
    let summary = &member.summary;
    // A machine that was not recorded is unlike any other.
    let class = machine::class(&summary.host).unwrap_or_else(|| format!("not recorded in {}", member.name()));
    let verdict = if summary.verdict.is_judgement() { VALID } else { summary.verdict.name() };
    let mut facts = BTreeMap::from([
        (PLAN.to_owned(), summary.plan_digest.clone()),
        ("machine class".to_owned(), class),
        ("autoscaler".to_owned(), summary.autoscaler().unwrap_or("the reference").to_owned()),
        (VALIDITY.to_owned(), verdict.to_owned()),
        (INDEX.to_owned(), index_version(summary)),
    ]);
    for (name, described) in super::tools(&summary.tools) {
        facts.insert(
            format!("tool {name}"),
            described.as_str().map_or_else(|| described.to_string(), str::to_owned),
        );
    }
    facts
}
