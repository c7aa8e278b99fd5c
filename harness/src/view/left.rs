//! How long something will still take, as far as it can be estimated honestly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::view::snapshot::{PhaseState, PhaseView};
use harness_model::record::Phase;

/// If two bounds differ by less than this share of the larger one, they are shown as one figure.
const SAME: f64 = 0.1;

/// A length of time between two bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// Minimum in seconds.
    pub least_s: f64,
    /// Maximum in seconds.
    pub most_s: f64,
}

impl Range {
    /// Creates a known length.
    pub fn exactly(s: f64) -> Self {
        Self { least_s: s, most_s: s }
    }

    /// Creates a length with a ceiling.
    pub fn at_most(s: f64) -> Self {
        Self { least_s: 0.0, most_s: s }
    }

    /// Returns what is left of it after a time.
    pub fn after(self, s: f64) -> Self {
        Self { least_s: (self.least_s - s).max(0.0), most_s: (self.most_s - s).max(0.0) }
    }

    /// Formats it as `about 12 min`, `at most 40 s`, `38 to 47 min`.
    pub fn words(self) -> String {
        let (least, most) = (length(self.least_s), length(self.most_s));
        if self.most_s * (1.0 - SAME) <= self.least_s || least == most {
            return format!("about {most}");
        }
        if self.least_s < 1.0 {
            return format!("at most {most}");
        }
        match (least.rsplit_once(' '), most.rsplit_once(' ')) {
            (Some((number, unit)), Some((other, same))) if unit == same && !other.contains(' ') => {
                format!("{number} to {most}")
            }
            _ => format!("{least} to {most}"),
        }
    }
}

impl std::ops::Add for Range {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { least_s: self.least_s + other.least_s, most_s: self.most_s + other.most_s }
    }
}

/// Returns what is left of a phase. `planned` is its length in the profile, `missing` the number of Pods that do not
/// run yet, and `per_s` how many Pods start running per second.
pub fn of_phase(
    phase: Phase,
    planned: Option<Range>,
    elapsed_s: f64,
    missing: Option<u64>,
    per_s: Option<f64>,
) -> Option<Range> {
    match phase {
        // The budget is the time at which the fill fails, not a forecast.
        Phase::Fill => match (missing?, per_s.filter(|rate| *rate > 0.0)) {
            (0, _) => Some(Range::default()),
            (missing, rate) => rate.map(|rate| Range::exactly(missing as f64 / rate)),
        },
        Phase::Steady | Phase::Settle | Phase::Soak | Phase::Quiesce => {
            planned.map(|range| range.after(elapsed_s))
        }
        // They take seconds, but it is unknown how many.
        Phase::Provision | Phase::Start | Phase::Collect | Phase::Release => None,
    }
}

/// Returns what is left of the whole run: the current phase and all that follow, except the last two, which take
/// seconds.
pub fn of_run(phases: &[PhaseView], present: Option<Range>) -> Option<Range> {
    let is_short = |phase: Phase| matches!(phase, Phase::Collect | Phase::Release);
    let ahead = phases.iter().filter(|p| p.state == PhaseState::Ahead && !is_short(p.phase));
    ahead.into_iter().try_fold(present?, |sum, view| match view.phase {
        Phase::Fill => None,
        _ => Some(sum + view.planned?),
    })
}

/// Formats a length as `58 s`, `12 min`, `1 h 40 min`.
pub fn length(s: f64) -> String {
    let minutes = (s / 60.0).round() as u64;
    match s.max(0.0) {
        s if s < 99.5 => format!("{s:.0} s"),
        _ if minutes < 100 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// Formats a running clock as `0:07`, `12:31`, `1:02:03`.
pub fn clock(s: f64) -> String {
    let s = s.max(0.0) as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_is_told_by_its_rate_and_nothing_else() {
        let budget = Some(Range::at_most(600.0));
        let fill = |missing, per_s| of_phase(Phase::Fill, budget, 60.0, missing, per_s);
        assert_eq!(fill(Some(1000), Some(50.0)), Some(Range::exactly(20.0)));
        assert_eq!(fill(Some(1000), None), None);
        assert_eq!(fill(Some(1000), Some(0.0)), None, "a fill that stands still has no end");
        assert_eq!(fill(Some(0), None), Some(Range::default()));
        assert_eq!(fill(None, Some(50.0)), None, "nobody has said yet how many there will be");
    }

    #[test]
    fn what_has_a_length_or_a_ceiling_is_told_by_it() {
        let left = |phase, planned, elapsed_s| of_phase(phase, planned, elapsed_s, Some(5), Some(1.0));
        assert_eq!(
            left(Phase::Soak, Some(Range::exactly(180.0)), 30.0),
            Some(Range { least_s: 150.0, most_s: 150.0 })
        );
        assert_eq!(left(Phase::Settle, Some(Range::at_most(60.0)), 90.0), Some(Range::default()));
        assert_eq!(left(Phase::Provision, None, 3.0), None);
    }

    #[test]
    fn a_run_is_the_sum_of_its_phases_or_unknown() {
        let view = |phase, state, planned| PhaseView { phase, state, took_s: None, planned };
        let mut phases = vec![
            view(Phase::Fill, PhaseState::Present, Some(Range::at_most(600.0))),
            view(Phase::Settle, PhaseState::Ahead, Some(Range::at_most(60.0))),
            view(Phase::Soak, PhaseState::Ahead, Some(Range::exactly(1800.0))),
            view(Phase::Release, PhaseState::Ahead, None),
        ];
        let left = of_run(&phases, Some(Range::exactly(100.0)));
        assert_eq!(left, Some(Range { least_s: 1900.0, most_s: 1960.0 }));
        assert_eq!(of_run(&phases, None), None);
        phases[0].state = PhaseState::Ahead;
        assert_eq!(
            of_run(&phases, Some(Range::exactly(1.0))),
            None,
            "how long a fill takes is not known before"
        );
    }

    #[test]
    fn lengths_read_well() {
        let words = |least_s, most_s| Range { least_s, most_s }.words();
        assert_eq!(words(720.0, 720.0), "about 12 min");
        assert_eq!(words(1900.0, 1960.0), "about 33 min");
        assert_eq!(words(0.0, 40.0), "at most 40 s");
        assert_eq!(words(2280.0, 2820.0), "38 to 47 min");
        assert_eq!(words(50.0, 240.0), "50 s to 4 min");
        assert_eq!(words(5000.0, 9000.0), "83 min to 2 h 30 min");
        assert_eq!(words(0.0, 0.0), "about 0 s");
        assert_eq!(
            (clock(7.9), clock(751.0), clock(3723.0)),
            ("0:07".into(), "12:31".into(), "1:02:03".into())
        );
        assert_eq!((length(99.4), length(99.6)), ("99 s".into(), "2 min".into()));
    }
}
