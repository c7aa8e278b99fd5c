//! What `--json` prints: one object per line, each with `at_us` and `event`.
//!
//! Most are the lines of `events.jsonl`, as they are recorded; `view` and `verdict` are meant for those who watch, and
//! are not written to any file. The schema is `fixtures/schemas/events.json`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::view::snapshot::Snapshot;
use harness_model::record::{RunDir, Stamped};
use harness_model::summary::{Outcome, Summary, Verdict};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Line {
    /// An event, as in `events.jsonl`.
    Recorded(Stamped),
    /// Something that is reported but not recorded.
    Told(Told),
}

/// A report with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// Microseconds since the start of the run.
    pub at_us: u64,
    /// What is reported.
    #[serde(flatten)]
    pub what: What,
}

/// What is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The state of the run: at the beginning of each phase, and every five seconds.
    View(Box<Snapshot>),
    /// The last line of a run that could be judged.
    Verdict(Judged),
}

/// The verdict in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason for the verdict.
    pub reason: String,
    /// The program's exit code.
    pub exit_code: u8,
    /// Gates that did not pass.
    pub failed_gates: Vec<String>,
    /// Validity rules that do not hold.
    pub broken_rules: Vec<String>,
    /// The run directory.
    pub run_dir: PathBuf,
    /// The file with the whole verdict.
    pub summary: PathBuf,
}

impl Line {
    /// Creates the line with the state of a run.
    pub fn view(at_us: u64, snapshot: Snapshot) -> Self {
        Self::Told(Told { at_us, what: What::View(Box::new(snapshot)) })
    }

    /// Creates the line with a verdict and its exit code; `at_us` is when the run ended.
    pub fn verdict(at_us: u64, summary: &Summary, exit_code: u8, run_dir: &Path) -> Self {
        let passed = |outcome| matches!(outcome, Outcome::Pass | Outcome::NotApplicable);
        let failed = summary.gates.iter().filter(|gate| !passed(gate.outcome));
        let broken = summary.validity.iter().filter(|finding| !finding.ok);
        let judged = Judged {
            verdict: summary.verdict,
            reason: summary.reason.clone(),
            exit_code,
            failed_gates: failed.map(|gate| gate.metric.clone()).collect(),
            broken_rules: broken.map(|finding| finding.rule.clone()).collect(),
            run_dir: run_dir.to_owned(),
            summary: RunDir::new(run_dir).summary(),
        };
        Self::Told(Told { at_us, what: What::Verdict(judged) })
    }

    /// Returns the line without a line break.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("must be serialisable: all its maps have text for keys")
    }
}

/// Returns the schema of [`Line`] as JSON text, for `fixtures/schemas/events.json`.
pub fn schema_json() -> String {
    let schema = schemars::schema_for!(Line);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema must be serialisable");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::record::{Event, Phase};

    #[test]
    fn a_recorded_line_is_the_same_in_both_places() {
        let stamped = Stamped { at_us: 7, event: Event::PhaseStarted { phase: Phase::Soak } };
        let line = Line::Recorded(stamped.clone());
        assert_eq!(line.json(), serde_json::to_string(&stamped).unwrap());
        assert_eq!(serde_json::from_str::<Line>(&line.json()).unwrap(), line);
    }

    #[test]
    fn a_verdict_is_one_flat_object_that_names_what_failed() {
        let (expect, evidence) =
            (harness_analysis::judge::Expect::default(), harness_analysis::judge::Evidence::default());
        let summary = harness_analysis::judge::weigh(&expect, &evidence);
        let line = Line::verdict(9, &summary, 4, Path::new("/runs/x"));
        let value: serde_json::Value = serde_json::from_str(&line.json()).unwrap();
        assert_eq!((&value["event"], &value["at_us"]), (&"verdict".into(), &9.into()), "{value}");
        assert_eq!((&value["verdict"], &value["exit_code"]), (&"invalid".into(), &4.into()), "{value}");
        assert_eq!(value["summary"], "/runs/x/summary.json");
        assert!(value["broken_rules"].as_array().is_some_and(|all| !all.is_empty()), "{value}");
        assert_eq!(serde_json::from_str::<Line>(&line.json()).unwrap(), line);
    }
}
