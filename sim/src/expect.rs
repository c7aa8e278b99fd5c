//! What a scenario expects of its counters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counters::{Counters, Metric};

/// One assertion. Exactly one of `each`, `sum`, `cyclesAboveZero` and `sequence` says what is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    /// About what.
    pub metric: Metric,
    /// In which cycles.
    #[serde(default)]
    pub over: Over,
    /// First cycle, in place of `over`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// Last cycle, in place of `over`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// Every cycle's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Bound>,
    /// The sum over the cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<Bound>,
    /// The number of cycles whose value is above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles_above_zero: Option<Bound>,
    /// The values that are not zero, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Vec<f64>>,
    /// Why this is what must come out.
    #[serde(default)]
    pub because: String,
}

/// Which cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Over {
    /// The window at the end.
    #[default]
    Window,
    /// All of them.
    All,
    /// The last one.
    Last,
}

/// Limits of a value; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bound {
    /// Exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<f64>,
    /// At least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// At most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Bound {
    fn holds(&self, value: f64) -> bool {
        self.is.is_none_or(|is| value == is)
            && self.min.is_none_or(|min| value >= min)
            && self.max.is_none_or(|max| value <= max)
    }

    fn words(&self) -> String {
        let part = |word: &str, limit: Option<f64>| limit.map(|limit| format!("{word} {limit}"));
        let parts = [part("exactly", self.is), part("at least", self.min), part("at most", self.max)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// How an expectation came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The expectation in words.
    pub expected: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

impl Expectation {
    /// What is wrong with the expectation itself.
    pub fn problem(&self) -> Option<&'static str> {
        let kinds = [
            self.each.is_some(),
            self.sum.is_some(),
            self.cycles_above_zero.is_some(),
            self.sequence.is_some(),
        ];
        if kinds.iter().filter(|&&given| given).count() != 1 {
            return Some("needs exactly one of each, sum, cyclesAboveZero and sequence");
        }
        let bound = self.each.as_ref().or(self.sum.as_ref()).or(self.cycles_above_zero.as_ref());
        bound.is_some_and(|b| *b == Bound::default()).then_some("says neither is, min nor max")
    }

    /// Compares with a run whose window is the last `window` cycles.
    pub fn check(&self, cycles: &[Counters], window: u32) -> Finding {
        let last = cycles.len() as u32;
        let (mut from, mut to) = match self.over {
            Over::All => (1, last),
            Over::Window => (last.saturating_sub(window) + 1, last),
            Over::Last => (last, last),
        };
        from = self.from.unwrap_or(from);
        to = self.to.unwrap_or(to);
        let chosen = cycles.iter().filter(|c| (from..=to).contains(&c.cycle));
        let values: Vec<f64> = chosen.map(|c| c.get(self.metric)).collect();
        let name = serde_json::to_value(self.metric).unwrap_or_default();
        let name = format!("{} in cycles {from} to {to}", name.as_str().unwrap_or_default());
        let because = if self.because.is_empty() { String::new() } else { format!(" ({})", self.because) };
        let (what, holds, found) = self.judge(&values);
        Finding { expected: format!("{name}: {what}{because}"), holds: holds && !values.is_empty(), found }
    }

    fn judge(&self, values: &[f64]) -> (String, bool, String) {
        if let Some(bound) = &self.each {
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let holds = values.iter().all(|&v| bound.holds(v));
            return (format!("each {}", bound.words()), holds, format!("{low} to {high}"));
        }
        if let Some(bound) = &self.sum {
            let sum: f64 = values.iter().sum();
            return (format!("in all {}", bound.words()), bound.holds(sum), sum.to_string());
        }
        if let Some(bound) = &self.cycles_above_zero {
            let count = values.iter().filter(|&&v| v > 0.0).count() as f64;
            return (
                format!("above zero in {} cycles", bound.words()),
                bound.holds(count),
                count.to_string(),
            );
        }
        let sequence = self.sequence.as_deref().unwrap_or_default();
        let found: Vec<f64> = values.iter().copied().filter(|&v| v != 0.0).collect();
        (format!("{sequence:?} where not zero"), found == sequence, format!("{found:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(reclaims: &[u32]) -> Vec<Counters> {
        let of = |(cycle, &reclaims): (u32, &u32)| Counters { cycle, reclaims, ..Counters::default() };
        (1..).zip(reclaims).map(of).collect()
    }

    fn expectation(yaml_like: serde_json::Value) -> Expectation {
        serde_json::from_value(yaml_like).unwrap()
    }

    #[test]
    fn each_kind_can_hold_and_fail() {
        let cycles = run(&[0, 5, 4, 0, 1, 0]);
        let cases = [
            (serde_json::json!({"metric": "reclaims", "over": "all", "sequence": [5, 4, 1]}), true),
            (serde_json::json!({"metric": "reclaims", "over": "all", "sequence": [5, 4]}), false),
            (serde_json::json!({"metric": "reclaims", "over": "all", "sum": {"is": 10}}), true),
            (serde_json::json!({"metric": "reclaims", "over": "all", "sum": {"max": 9}}), false),
            (serde_json::json!({"metric": "reclaims", "over": "all", "cyclesAboveZero": {"min": 3}}), true),
            (serde_json::json!({"metric": "reclaims", "each": {"max": 1}}), true),
            (serde_json::json!({"metric": "reclaims", "each": {"is": 0}}), false),
            (serde_json::json!({"metric": "reclaims", "over": "last", "each": {"is": 0}}), true),
            (serde_json::json!({"metric": "reclaims", "from": 2, "to": 3, "each": {"min": 4}}), true),
            (serde_json::json!({"metric": "reclaims", "from": 7, "to": 9, "each": {"is": 0}}), false),
        ];
        for (given, holds) in cases {
            let e = expectation(given.clone());
            assert_eq!(e.problem(), None, "{given}");
            assert_eq!(e.check(&cycles, 2).holds, holds, "{given}");
        }
    }

    #[test]
    fn an_expectation_of_nothing_is_a_mistake() {
        for given in [
            serde_json::json!({"metric": "churn"}),
            serde_json::json!({"metric": "churn", "each": {}}),
            serde_json::json!({"metric": "churn", "each": {"is": 0}, "sum": {"is": 0}}),
        ] {
            assert!(expectation(given.clone()).problem().is_some(), "{given}");
        }
    }
}
