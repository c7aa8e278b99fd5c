//! Two runs side by side: where their summaries agree and where they differ. [`sets`] does the same for several runs on
//! each side.
//!
//! Pure, except for [`Run::load`]. There is no verdict: ranges and people decide whether a difference matters.

mod figures;
pub mod screen;
pub mod sets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

pub use self::figures::{Figure, Group, Reading};
use harness_model::record::{self, RunDir};
use harness_model::summary::{Finding, Gate, Summary, Verdict};

/// Why two runs are not compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No summary, or one that cannot be read.
    #[error("{source}; is {dir} a run directory? `cargo xtask judge {dir}` writes its summary again", dir = .run.display())]
    Summary {
        /// The directory.
        run: PathBuf,
        /// What went wrong.
        source: record::Error,
    },
    /// No plan, or one that is not JSON.
    #[error("{0}; a run cannot be compared without its plan")]
    Plan(#[source] record::Error),
    /// Figures of different plans do not answer the same question.
    #[error("the two runs were made from different plans:\n{}\nuse --any-plan to compare them anyway", screen::differences(.0))]
    Plans(Vec<Difference>),
}

/// The parts of a run that are compared.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory, as given.
    pub dir: PathBuf,
    /// Its summary.
    pub summary: Summary,
    /// Its `plan.json`; untyped, so that plans of other versions can be read, too.
    pub plan: Value,
}

impl Run {
    /// Reads summary and plan of a run directory.
    ///
    /// # Errors
    /// When one of the two is missing or broken.
    pub fn load(dir: &RunDir) -> Result<Self, Error> {
        let run = dir.root().to_owned();
        let summary =
            dir.read_json(&dir.summary()).map_err(|source| Error::Summary { run: run.clone(), source })?;
        let plan = dir.read_json(&dir.plan()).map_err(Error::Plan)?;
        Ok(Self { dir: run, summary, plan })
    }
}

/// Two runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first run.
    pub a: Head,
    /// The second run.
    pub b: Head,
    /// Where the plans differ; empty when they are the same.
    pub plan: Vec<Difference>,
    /// What to know about the hosts' speed before comparing figures; empty if both were measured in the same way.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_speed_note: String,
    /// Every figure of the summaries, by group and name.
    pub figures: Vec<Figure>,
    /// Gates with different outcomes or different bounds.
    pub gates: Vec<Change<Gate>>,
    /// Rules of validity that are broken in either run, or known to only one of them.
    pub validity: Vec<Change<Finding>>,
    /// Tools that differ.
    pub tools: Vec<Difference>,
    /// Facts about the host that differ.
    pub host: Vec<Difference>,
}

impl Comparison {
    /// Returns pretty-printed JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a comparison must serialise")
    }
}

/// The identity of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)] // As in the summary.
pub struct Head {
    pub run_dir: PathBuf,
    pub run_id: String,
    pub profile: String,
    pub seed: u64,
    pub started: String,
    pub verdict: Verdict,
    pub reason: String,
    pub plan_digest: String,
    pub outcome_digest: String,
}

/// A key whose values differ; a value is absent if the key is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Difference {
    pub key: String,
    pub a: Option<Value>,
    pub b: Option<Value>,
}

/// Something with a name that both runs may have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Change<T> {
    pub name: String,
    pub a: Option<T>,
    pub b: Option<T>,
}

/// Puts two runs side by side.
///
/// # Errors
/// [`Error::Plans`] when they were made from different plans, unless that is allowed.
pub fn compare(a: &Run, b: &Run, any_plan: bool) -> Result<Comparison, Error> {
    let plan = if a.summary.plan_digest == b.summary.plan_digest {
        Vec::new()
    } else {
        plan_differences(&a.plan, &b.plan)
    };
    if a.summary.plan_digest != b.summary.plan_digest && !any_plan {
        return Err(Error::Plans(plan));
    }
    Ok(Comparison {
        plan,
        host_speed_note: host_speed_note(a.summary.index_version(), b.summary.index_version()),
        figures: figures::all(&a.summary, &b.summary),
        gates: gates(&a.summary, &b.summary),
        validity: validity(&a.summary, &b.summary),
        tools: differing(&tools(&a.summary.tools), &tools(&b.summary.tools)),
        host: differing(&leaves(&a.summary.host), &leaves(&b.summary.host)),
        a: head(&a.dir, &a.summary),
        b: head(&b.dir, &b.summary),
    })
}

fn host_speed_note(a: Option<u32>, b: Option<u32>) -> String {
    let of = |version: Option<u32>| {
        version.map_or_else(|| "not measured".to_owned(), |version| format!("index version {version}"))
    };
    let note = |why: &str| {
        format!(
            "figures are not normalised: {why}; those of CPU and time may differ by the hosts' speed alone"
        )
    };
    match (a, b) {
        (None, None) => note("the host's speed was measured in neither run"),
        (a, b) if a != b => note(&format!("the host's speed is {} in A, {} in B", of(a), of(b))),
        _ => String::new(),
    }
}

fn head(run_dir: &Path, s: &Summary) -> Head {
    Head {
        run_dir: run_dir.to_owned(),
        run_id: s.run_id.clone(),
        profile: s.profile.clone(),
        seed: s.seed,
        started: s.started.clone(),
        verdict: s.verdict,
        reason: s.reason.clone(),
        plan_digest: s.plan_digest.clone(),
        outcome_digest: s.outcome_digest.clone(),
    }
}

/// Returns where two plans differ: keys of the profile as `--set` takes them, then those of the catalog. Values that
/// the plan derives from these are listed only if these are the same, because then it is the planner that changed.
fn plan_differences(a: &Value, b: &Value) -> Vec<Difference> {
    const GIVEN: [&str; 3] = ["profile", "catalog", "overrides"];
    let part = |plan: &Value, key: &str| -> BTreeMap<String, Value> {
        let prefix = if key == "profile" { "" } else { key };
        leaves(&plan[key]).into_iter().map(|(path, value)| (join(prefix, &path), value)).collect()
    };
    let given: Vec<_> = GIVEN.iter().flat_map(|key| differing(&part(a, key), &part(b, key))).collect();
    if given.is_empty() { differing(&leaves(a), &leaves(b)) } else { given }
}

fn gates(a: &Summary, b: &Summary) -> Vec<Change<Gate>> {
    let named = |s: &Summary| s.gates.iter().map(|g| (g.metric.clone(), g.clone())).collect();
    let judged = |g: &Gate| (g.outcome, g.slo, g.range);
    pairs(&named(a), &named(b)).filter(|c| c.a.as_ref().map(judged) != c.b.as_ref().map(judged)).collect()
}

fn validity(a: &Summary, b: &Summary) -> Vec<Change<Finding>> {
    let named = |s: &Summary| s.validity.iter().map(|f| (f.rule.clone(), f.clone())).collect();
    let holds = |f: &Option<Finding>| f.as_ref().is_some_and(|f| f.ok);
    pairs(&named(a), &named(b)).filter(|c| !holds(&c.a) || !holds(&c.b)).collect()
}

/// Returns each tool by name with what identifies it: version, origin and digest. File times do not count.
fn tools(recorded: &Value) -> BTreeMap<String, Value> {
    let Some(tools) = recorded["tools"].as_array() else { return leaves(recorded) };
    let text = |tool: &Value, key: &str| tool[key].as_str().unwrap_or("?").to_owned();
    let described = |tool: &Value| {
        let digest: String = text(tool, "sha256").chars().take(12).collect();
        format!("{} ({}, sha256 {digest})", text(tool, "version"), text(tool, "source"))
    };
    tools.iter().map(|tool| (text(tool, "name"), described(tool).into())).collect()
}

/// Returns the keys whose values differ, in order.
fn differing(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Vec<Difference> {
    pairs(a, b).filter(|c| c.a != c.b).map(|c| Difference { key: c.name, a: c.a, b: c.b }).collect()
}

/// Returns everything that either side has, with the values of both.
fn pairs<T: Clone>(
    a: &BTreeMap<String, T>,
    b: &BTreeMap<String, T>,
) -> impl Iterator<Item = Change<T>> + use<T> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let change =
        |name: &String| Change { name: name.clone(), a: a.get(name).cloned(), b: b.get(name).cloned() };
    names.into_iter().map(change).collect::<Vec<_>>().into_iter()
}

/// Returns the single values of a document by their paths (`a.b[2].c`); empty sections and lists count as values.
fn leaves(document: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, inner) in map {
                    walk(inner, &join(path, key), found);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (i, inner) in items.iter().enumerate() {
                    walk(inner, &format!("{path}[{i}]"), found);
                }
            }
            Value::Null => {}
            leaf => drop(found.insert(path.to_owned(), leaf.clone())),
        }
    }
    let mut found = BTreeMap::new();
    walk(document, "", &mut found);
    found
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() || key.is_empty() || key.starts_with('[') {
        format!("{path}{key}")
    } else {
        format!("{path}.{key}")
    }
}
