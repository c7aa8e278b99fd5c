//! Derives calibrated ranges from runs: what a metric is on one class of machines, and how far it may deviate.
//!
//! Pure, except for what its callers read and write.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::compare::sets::{self, Member, Unlike};
use crate::speed::NORMALISED;
use harness_model::profile::{Range, Ranges};
use harness_model::summary::screen::number;
use harness_model::summary::stats::Spread;
use harness_model::summary::{Verdict, file, machine};

/// Fewest runs that a range may be based on.
pub const RUNS_MIN: usize = 5;
/// Smallest margin around the mean, as a share of it, so that a range from a few runs in one quiet hour does not fail
/// the runs of another.
pub const MARGIN: f64 = 0.2;
/// Smallest margin in standard deviations: a metric that moves in steps, such as the fill of a small profile, needs
/// more.
pub const DEVIATIONS: f64 = 3.0;
/// Largest margin. A metric that would need more gets no range, because a range that wide would find nothing.
pub const MARGIN_MAX: f64 = 0.5;
/// Digits of a bound that are written down; more would suggest a precision that does not exist.
const DIGITS: i32 = 4;

/// Why nothing is calibrated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too few runs.
    #[error(
        "{0} runs are given, but a range needs {RUNS_MIN} or more; `cargo xtask e2e PROFILE` creates one"
    )]
    Few(usize),
    /// A run has no summary that can be read.
    #[error("{0}; `cargo xtask judge RUN` writes the summary of a run directory again")]
    Summary(#[from] file::Error),
    /// A run that is given twice would count twice.
    #[error("the run {0} is given twice")]
    Twice(String),
    /// A run of another profile.
    #[error("{run} is a run of {found}, and not of {wanted}")]
    Profile {
        /// The run.
        run: String,
        /// Its profile.
        found: String,
        /// The profile that is calibrated.
        wanted: String,
    },
    /// A run that says nothing, or that found a fault, does not show what is right.
    #[error("{run} is {}, and only runs that passed count: {reason}", verdict.name())]
    NotPassed {
        /// The run.
        run: String,
        /// Its verdict.
        verdict: Verdict,
        /// Why.
        reason: String,
    },
    /// The runs differ in what must be the same.
    #[error("the runs cannot be combined:\n{}", sets::screen::unlike(.0))]
    Unlike(Vec<Unlike>),
    /// The runs were made from a plan that differs from the profile's.
    #[error(
        "the runs were made from plan {found}, and {profile} as it stands gives {wanted}: it was changed since, or they \
         were run with --set, --seed or --soak; use --any-plan if that does not matter to what is calibrated"
    )]
    Plan {
        /// The profile.
        profile: String,
        /// Digest of the runs' plan.
        found: String,
        /// Digest of the profile's plan.
        wanted: String,
    },
    /// There is nothing to calibrate.
    #[error(
        "the ranges of {0} name no metric; name the metrics to calibrate in its ranges.yaml, as placeholders"
    )]
    NoMetrics(String),
    /// The profile does not name a requested metric.
    #[error("the ranges of {profile} do not name {metric}; they name {known}")]
    UnknownMetric {
        /// The profile.
        profile: String,
        /// The requested metric.
        metric: String,
        /// The metrics that it names.
        known: String,
    },
    /// A run did not measure a metric.
    #[error("{run} has no value of {metric}: {why}")]
    Unmeasured {
        /// The run.
        run: String,
        /// The metric.
        metric: String,
        /// The reason that the summary gives.
        why: String,
    },
}

/// What is calibrated.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name of the profile.
    pub profile: &'a str,
    /// Its ranges so far, which name the metrics.
    pub known: &'a Ranges,
    /// The metrics to calibrate; if empty, all that `known` names. Others get no range for this class of machines.
    pub only: &'a [String],
    /// Digest of the profile's current plan; `None` if runs of other plans are accepted.
    pub plan_digest: Option<&'a str>,
}

/// The result of a calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The class of the machines.
    pub class: String,
    /// All ranges of the profile; the new ones replace older ones of that class.
    pub ranges: Ranges,
    /// Metrics whose runs lie too far apart for a range, each with the numbers.
    pub left_out: Vec<String>,
}

/// Calibrates the metrics that the profile's ranges name.
///
/// # Errors
/// When the runs are too few, not all passed, or do not belong together.
pub fn calibrate(subject: &Subject, members: &[Member]) -> Result<Calibration, Error> {
    let class = check(subject, members)?;
    // The day of the last run, so that calibrating the same runs on another day gives the same file.
    let date =
        members.iter().map(|m| m.summary.started.get(..10).unwrap_or_default()).max().unwrap_or_default();
    // The same for all: `check` refuses runs that differ in it.
    let index_version = members.first().and_then(|member| member.summary.index_version());
    let mut own = BTreeMap::new();
    let mut left_out = Vec::new();
    let wanted = |metric: &&String| subject.only.is_empty() || subject.only.contains(*metric);
    for (metric, known) in subject.known.metrics.iter().filter(|(metric, _)| wanted(metric)) {
        let normalised_by = index_version.filter(|_| NORMALISED.contains(&metric.as_str()));
        let values = values(metric, members, normalised_by)?;
        let Some(spread) = Spread::of(&values) else { continue };
        let margin = margin(&spread);
        if margin > MARGIN_MAX {
            left_out.push(format!(
                "{metric}: the runs lie too far apart, from {} to {} (mean {}, deviation {})",
                number(spread.min),
                number(spread.max),
                number(spread.mean),
                number(spread.deviation)
            ));
            continue;
        }
        own.insert(metric.clone(), range(known, &spread, margin, &class, date, normalised_by));
    }
    let mut ranges = subject.known.clone();
    ranges.machine_classes.insert(class.clone(), own);
    Ok(Calibration { class, ranges, left_out })
}

/// Checks that the runs can be combined, and returns the class of their machines.
fn check(subject: &Subject, members: &[Member]) -> Result<String, Error> {
    if members.len() < RUNS_MIN {
        return Err(Error::Few(members.len()));
    }
    let all: Vec<&Member> = members.iter().collect();
    sets::once_each(&all).map_err(Error::Twice)?;
    for member in members {
        let (run, summary) = (member.name(), &member.summary);
        if summary.profile != subject.profile {
            let (found, wanted) = (summary.profile.clone(), subject.profile.to_owned());
            return Err(Error::Profile { run, found, wanted });
        }
        if summary.verdict != Verdict::Pass {
            return Err(Error::NotPassed { run, verdict: summary.verdict, reason: summary.reason.clone() });
        }
    }
    let unlike = sets::unlike(&all);
    let first = &all[0].summary;
    let Some(class) = machine::class(&first.host).filter(|_| unlike.is_empty()) else {
        return Err(Error::Unlike(unlike));
    };
    if let Some(wanted) = subject.plan_digest.filter(|wanted| *wanted != first.plan_digest) {
        return Err(Error::Plan {
            profile: subject.profile.to_owned(),
            found: first.plan_digest.clone(),
            wanted: wanted.to_owned(),
        });
    }
    let known = &subject.known.metrics;
    if known.is_empty() {
        return Err(Error::NoMetrics(subject.profile.to_owned()));
    }
    if let Some(metric) = subject.only.iter().find(|metric| !known.contains_key(*metric)) {
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        return Err(Error::UnknownMetric {
            profile: subject.profile.to_owned(),
            metric: metric.clone(),
            known: names.join(", "),
        });
    }
    Ok(class)
}

/// Returns a metric of each run: at reference speed, by that version of the index, or as measured.
fn values(metric: &str, members: &[Member], normalised_by: Option<u32>) -> Result<Vec<f64>, Error> {
    let value = |member: &Member| {
        let measured = member.summary.metrics.get(metric);
        let plain = measured.and_then(|m| m.exact()).ok_or_else(|| Error::Unmeasured {
            run: member.name(),
            metric: metric.to_owned(),
            why: measured.map_or_else(|| "there is no such metric".to_owned(), |m| m.note.clone()),
        })?;
        let Some(version) = normalised_by else { return Ok(plain) };
        member.summary.normalised(metric, version).ok_or_else(|| Error::Unmeasured {
            run: member.name(),
            metric: format!("{metric} at reference speed"),
            why: "the host's speed was not measured during its fill".to_owned(),
        })
    };
    members.iter().map(value).collect()
}

/// Returns how far from the mean a value may lie, as a share of it. A metric that is always 0 has no deviation and must
/// stay 0.
fn margin(spread: &Spread) -> f64 {
    let deviations = DEVIATIONS * spread.deviation / spread.mean.abs();
    // In whole hundredths, so that the factor that is written next to the bound gives the bound.
    if deviations.is_finite() { MARGIN.max((deviations * 100.0).ceil() / 100.0) } else { MARGIN }
}

/// Bounds a range on the same sides as the known range: only its author knows whether less is better.
fn range(
    known: &Range,
    spread: &Spread,
    margin: f64,
    class: &str,
    date: &str,
    normalised_by: Option<u32>,
) -> Range {
    let mean = spread.mean;
    let (low, high) = (rounded(1.0 - margin), rounded(1.0 + margin));
    let max = known.max.map(|_| rounded(mean * high));
    let min = known.min.map(|_| rounded(mean * low));
    let factors = match (min, max) {
        (Some(_), Some(_)) => format!("mean x {low} to x {high}"),
        (Some(_), None) => format!("mean x {low}"),
        _ => format!("mean x {high}"),
    };
    let Spread { n, deviation, .. } = spread;
    let mut calibrated =
        format!("{factors}, n={n}, mean={}, deviation={}, {class}, {date}", number(mean), number(*deviation));
    if normalised_by.is_some() {
        calibrated.push_str(", at reference speed");
    }
    Range { min, max, calibrated, index_version: normalised_by }
}

/// Rounds to as many digits as are worth writing down.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = DIGITS - 1 - value.abs().log10().floor() as i32;
    // Dividing by a whole power of ten gives the nearest decimal fraction; multiplying by a fractional one does not.
    if digits >= 0 {
        let scale = 10_f64.powi(digits);
        (value * scale).round() / scale
    } else {
        let scale = 10_f64.powi(-digits);
        (value / scale).round() * scale
    }
}

/// Returns the text of a profile's `ranges.yaml`.
///
/// # Errors
/// When the ranges cannot be written as YAML.
pub fn file_text(profile: &str, ranges: &Ranges) -> Result<String, serde_saphyr::SerializeError> {
    let yaml = serde_saphyr::to_string(ranges)?;
    Ok(format!(
        "# Ranges of profile {profile}. Metric names are those of summary.json. What stands under `metrics` holds on every\n\
         # machine that has no range of its own; `cargo xtask calibrate {profile} RUN...` writes those of a machine class,\n\
         # from {RUNS_MIN} passing runs or more on an otherwise idle machine. A range with an `indexVersion` holds at reference\n\
         # speed (docs/host-speed.md).\n{yaml}"
    ))
}
