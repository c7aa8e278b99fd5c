//! One figure of two sets of runs.

use std::collections::BTreeSet;

use serde::Serialize;

use super::RUNS_MIN;
use super::bootstrap::ratio_interval;
use crate::compare::figures::{self, Group};
use harness_model::summary::Summary;
use harness_model::summary::stats::Spread;

/// A difference counts only if it is larger than this many times the noise.
pub const EFFECT_MIN: f64 = 2.0;
/// It also has to be at least this share of the first set's median, however certain it is: configured lengths always
/// differ by milliseconds.
pub const SHARE_MIN: f64 = 0.01;

/// One figure of both sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetFigure {
    /// Section of the summary that contains it.
    pub group: Group,
    /// Its name, unique within the group.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Its values in the first set, without runs in which it is unmeasured or saturated.
    pub a: Option<Spread>,
    /// Its values in the second set.
    pub b: Option<Spread>,
    /// Median of `b` minus median of `a`.
    pub difference: Option<f64>,
    /// Median of `b` over median of `a`; absent if a value is 0 or less.
    pub ratio: Option<Ratio>,
    /// Standard deviation within the sets, over both sets together, in the figure's unit.
    pub noise: Option<f64>,
    /// The difference over the noise; absent if there is no noise.
    pub effect: Option<f64>,
    /// The conclusion.
    pub finding: Finding,
}

/// A ratio and how certain it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How the second set compares with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// All values of both sets are equal.
    Same,
    /// They differ by no more than runs of one set do.
    WithinNoise,
    /// Lower by more than that.
    Lower,
    /// Higher by more than that.
    Higher,
    /// Too few runs measured it.
    Unknown,
}

/// Returns every figure that any run has.
pub fn all<'a>(a: impl Iterator<Item = &'a Summary>, b: impl Iterator<Item = &'a Summary>) -> Vec<SetFigure> {
    let (a, b): (Vec<_>, Vec<_>) = (a.map(figures::readings).collect(), b.map(figures::readings).collect());
    let keys: BTreeSet<&(Group, String)> = a.iter().chain(&b).flat_map(|run| run.keys()).collect();
    let figure = |key: &(Group, String)| {
        let unit = a
            .iter()
            .chain(&b)
            .find_map(|run| run.get(key))
            .map_or_else(String::new, |(unit, _)| unit.clone());
        let exact = |runs: &[figures::Readings]| -> Vec<f64> {
            let read = runs.iter().filter_map(|run| run.get(key)?.1);
            read.filter(|r| !r.saturated && r.value.is_finite()).map(|r| r.value).collect()
        };
        build(key.0, &key.1, unit, &exact(&a), &exact(&b))
    };
    keys.into_iter().map(figure).collect()
}

/// Weighs the values of both sets.
pub(super) fn build(group: Group, name: &str, unit: String, a: &[f64], b: &[f64]) -> SetFigure {
    let spreads = (Spread::of(a), Spread::of(b));
    let mut figure = SetFigure {
        group,
        name: name.to_owned(),
        unit,
        a: spreads.0,
        b: spreads.1,
        difference: None,
        ratio: None,
        noise: None,
        effect: None,
        finding: Finding::Unknown,
    };
    let (Some(of_a), Some(of_b)) = spreads else { return figure };
    if a.len() < RUNS_MIN || b.len() < RUNS_MIN {
        return figure;
    }
    let difference = of_b.median - of_a.median;
    let noise = pooled(&of_a, &of_b);
    figure.difference = Some(difference);
    figure.noise = Some(noise);
    figure.effect = (noise > 0.0).then(|| difference / noise);
    figure.ratio =
        ratio_interval(a, b).map(|(low, high)| Ratio { value: of_b.median / of_a.median, low, high });
    figure.finding = finding(&of_a, &of_b, &figure);
    figure
}

/// Returns higher or lower only if all criteria agree: the interval shows how certain the medians are, the effect how
/// large their difference is compared with the noise, the ratio whether it matters at all.
fn finding(a: &Spread, b: &Spread, figure: &SetFigure) -> Finding {
    if a.min == a.max && b.min == b.max && a.min == b.min {
        return Finding::Same;
    }
    let apart = match figure.ratio {
        Some(ratio) => ratio.high < 1.0 || 1.0 < ratio.low,
        None => a.max < b.min || b.max < a.min,
    };
    // Without any noise, every difference counts.
    let matters = figure.effect.is_none_or(|effect| effect.abs() > EFFECT_MIN)
        && figure.ratio.is_none_or(|ratio| (ratio.value - 1.0).abs() >= SHARE_MIN);
    match figure.difference {
        Some(difference) if apart && matters && difference > 0.0 => Finding::Higher,
        Some(difference) if apart && matters && difference < 0.0 => Finding::Lower,
        _ => Finding::WithinNoise,
    }
}

/// Returns the standard deviation of both sets around their own means.
fn pooled(a: &Spread, b: &Spread) -> f64 {
    let squares = |s: &Spread| (s.n - 1) as f64 * s.deviation.powi(2);
    ((squares(a) + squares(b)) / (a.n + b.n - 2) as f64).sqrt()
}
