//! Time cut into equal steps, and what happened in each.

use crate::judge::Evidence;
use crate::record::Phase;

/// Steps of a run at the most.
const COUNT_MAX: u64 = 240;
/// A step at the least: two samples of processes and one scrape fall into it.
const STEP_MIN_US: u64 = 5_000_000;

/// Equal steps from the start of the fill to the run's last event.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    start_us: u64,
    step_us: u64,
    count: usize,
}

impl Steps {
    /// The steps of a run.
    pub fn of(evidence: &Evidence) -> Self {
        let start_us = evidence.window(Phase::Fill).map_or(0, |(start, _)| start);
        let length_us = evidence.end_us.saturating_sub(start_us).max(1);
        let step_us = length_us.div_ceil(COUNT_MAX).max(STEP_MIN_US);
        Self { start_us, step_us, count: length_us.div_ceil(step_us) as usize }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length of one, seconds.
    pub fn step_s(&self) -> f64 {
        self.step_us as f64 / 1e6
    }

    /// Length of all, seconds.
    pub fn length_s(&self) -> f64 {
        self.step_s() * self.count as f64
    }

    /// Seconds since the start; below 0 before it.
    pub fn seconds(&self, at_us: u64) -> f64 {
        (at_us as f64 - self.start_us as f64) / 1e6
    }

    /// When each ends, microseconds on the run's clock.
    pub fn ends(&self) -> impl Iterator<Item = u64> {
        let Self { start_us, step_us, count } = *self;
        (1..=count as u64).map(move |n| start_us + n * step_us)
    }

    /// The step that a moment falls into.
    pub fn place(&self, at_us: u64) -> Option<usize> {
        let place = self.first_end_from(at_us);
        (at_us >= self.start_us && place < self.count).then_some(place)
    }

    /// The first step whose end is not before a moment.
    fn first_end_from(&self, at_us: u64) -> usize {
        at_us.saturating_sub(self.start_us).div_ceil(self.step_us).saturating_sub(1) as usize
    }

    /// Events per second in each step.
    pub fn rate(&self, times_us: impl Iterator<Item = u64>) -> Vec<f64> {
        let mut counts = vec![0.0; self.count];
        times_us.filter_map(|at| self.place(at)).for_each(|place| counts[place] += 1.0);
        counts.iter_mut().for_each(|count| *count /= self.step_s());
        counts
    }

    /// Adds to the rates per second what happened at an even pace in a span.
    pub fn spread(&self, rates: &mut [f64], (from_us, to_us): (u64, u64), amount: f64) {
        let length_us = to_us.saturating_sub(from_us).max(1);
        let per_step = amount / (length_us as f64 / 1e6) / self.step_us as f64;
        for (rate, end) in rates.iter_mut().zip(self.ends()) {
            let within_us = to_us.min(end).saturating_sub(from_us.max(end - self.step_us));
            *rate += per_step * within_us as f64;
        }
    }

    /// How many of these spans (from, to) are open at the end of each step.
    pub fn open(&self, spans: impl Iterator<Item = (u64, Option<u64>)>) -> Vec<f64> {
        let mut changes = vec![0.0; self.count + 1];
        for (from, to) in spans {
            changes[self.first_end_from(from).min(self.count)] += 1.0;
            if let Some(to) = to {
                changes[self.first_end_from(to).min(self.count)] -= 1.0;
            }
        }
        let mut open = 0.0;
        changes[..self.count]
            .iter()
            .map(|change| {
                open += change;
                open
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_counted_at_the_end_of_a_step() {
        let s = |steps: u64| steps * STEP_MIN_US;
        let steps = Steps::of(&Evidence { end_us: s(5), ..Evidence::default() });
        assert_eq!(steps.count(), 5);
        let spans = [(0, Some(s(2))), (s(1), None), (s(2) + 1, Some(s(3) + 1)), (s(9), None)];
        assert_eq!(steps.open(spans.into_iter()), [2.0, 1.0, 2.0, 1.0, 1.0]);
        assert_eq!(steps.rate([0, 1, s(1), s(4) + 1, s(8)].into_iter()), [0.6, 0.0, 0.0, 0.0, 0.2]);
    }

    #[test]
    fn a_long_run_has_longer_steps_and_no_more_of_them() {
        let steps = Steps::of(&Evidence { end_us: 2_500_000_000, ..Evidence::default() });
        assert!(steps.count() <= COUNT_MAX as usize && steps.length_s() >= 2_500.0, "{steps:?}");
    }
}
