//! Time divided into equal steps, and what happened in each.

use std::collections::BTreeMap;

use crate::judge::Evidence;
use harness_model::record::Phase;

/// Most steps of a run.
const COUNT_MAX: u64 = 240;
/// Shortest step: two samples of processes and one scrape fall into it.
const STEP_MIN_US: u64 = 5_000_000;

/// Equal steps from the start of the fill to the run's last event.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    start_us: u64,
    step_us: u64,
    count: usize,
    /// The last step may be shorter than the others.
    end_us: u64,
}

impl Steps {
    /// Returns the steps of a run.
    pub fn of(evidence: &Evidence) -> Self {
        let start_us = evidence.window(Phase::Fill).map_or(0, |(start, _)| start);
        let length_us = evidence.end_us.saturating_sub(start_us).max(1);
        let step_us = length_us.div_ceil(COUNT_MAX).max(STEP_MIN_US);
        let count = length_us.div_ceil(step_us) as usize;
        Self { start_us, step_us, count, end_us: start_us + length_us }
    }

    /// Returns the number of steps.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the length of one step, seconds.
    pub fn step_s(&self) -> f64 {
        self.step_us as f64 / 1e6
    }

    /// Returns the length of all steps, seconds.
    pub fn length_s(&self) -> f64 {
        self.step_s() * self.count as f64
    }

    /// Returns the seconds since the start; negative before it.
    pub fn seconds(&self, at_us: u64) -> f64 {
        (at_us as f64 - self.start_us as f64) / 1e6
    }

    /// Returns the end of each step, microseconds on the run's clock.
    pub fn ends(&self) -> impl Iterator<Item = u64> {
        let Self { start_us, step_us, count, .. } = *self;
        (1..=count as u64).map(move |n| start_us + n * step_us)
    }

    /// Returns the step that a moment falls into.
    pub fn place(&self, at_us: u64) -> Option<usize> {
        let place = self.first_end_from(at_us);
        (at_us >= self.start_us && place < self.count).then_some(place)
    }

    /// Returns the first step whose end is not before a moment.
    fn first_end_from(&self, at_us: u64) -> usize {
        at_us.saturating_sub(self.start_us).div_ceil(self.step_us).saturating_sub(1) as usize
    }

    /// Returns the events per second in each step.
    pub fn rate(&self, times_us: impl Iterator<Item = u64>) -> Vec<f64> {
        let mut counts = vec![0.0; self.count];
        times_us.filter_map(|at| self.place(at)).for_each(|place| counts[place] += 1.0);
        for (count, end) in counts.iter_mut().zip(self.ends()) {
            *count /= (end.min(self.end_us) - (end - self.step_us)) as f64 / 1e6;
        }
        counts
    }

    /// Adds an amount that accrued at an even pace over a span to the amounts of the steps.
    fn spread(&self, amounts: &mut [f64], (from_us, to_us): (u64, u64), amount: f64) {
        let length_us = to_us.saturating_sub(from_us).max(1) as f64;
        for (sum, end) in amounts.iter_mut().zip(self.ends()) {
            let within_us = to_us.min(end).saturating_sub(from_us.max(end - self.step_us));
            *sum += amount * within_us as f64 / length_us;
        }
    }

    /// Returns how many of these spans (from, to) are open at the end of each step.
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

/// Means over the steps of amounts that are known as differences between two observations.
///
/// Observations and steps are not aligned. A difference is spread evenly over the time between its observations, and
/// the mean of a step is taken over the part of it that lies between observations: an even pace comes out even.
#[derive(Debug)]
pub struct Means<'a> {
    steps: &'a Steps,
    looked_us: Vec<f64>,
    amounts: BTreeMap<String, Vec<f64>>,
}

impl<'a> Means<'a> {
    /// Creates means without any observation yet.
    pub fn over(steps: &'a Steps) -> Self {
        Self { steps, looked_us: vec![0.0; steps.count], amounts: BTreeMap::new() }
    }

    /// Records observations at both ends of the span; spans must not overlap.
    pub fn looked(&mut self, span: (u64, u64)) {
        self.steps.spread(&mut self.looked_us, span, span.1.saturating_sub(span.0) as f64);
    }

    /// Adds the amount that accrued between these two observations.
    pub fn add(&mut self, name: &str, span: (u64, u64), amount: f64) {
        let none = || vec![0.0; self.steps.count];
        let amounts = match self.amounts.get_mut(name) {
            Some(amounts) => amounts,
            None => self.amounts.entry(name.to_owned()).or_insert_with(none),
        };
        self.steps.spread(amounts, span, amount);
    }

    /// Returns the means per second, step by step; 0 where there was no observation.
    pub fn per_s(self) -> BTreeMap<String, Vec<f64>> {
        let Self { looked_us, mut amounts, .. } = self;
        for amounts in amounts.values_mut() {
            for (amount, looked_us) in amounts.iter_mut().zip(&looked_us) {
                *amount = if *looked_us > 0.0 { *amount / (looked_us / 1e6) } else { 0.0 };
            }
        }
        amounts
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
    fn an_even_pace_comes_out_even_whenever_one_looks() {
        let steps = Steps::of(&Evidence { end_us: 63_000_000, ..Evidence::default() });
        let mut means = Means::over(&steps);
        // About every two seconds; the first observation is in the middle of a step, the last one before the end.
        let looks = (0..27_u64).map(|n| 3_100_000 + n * 2_000_000 + (n * 7919 % 13) * 70_000);
        let looks: Vec<u64> = looks.collect();
        for span in looks.windows(2).map(|pair| (pair[0], pair[1])) {
            means.looked(span);
            means.add("busy", span, (span.1 - span.0) as f64 / 1e6 * 1.98);
        }
        let means = &means.per_s()["busy"];
        assert_eq!(means.len(), 13);
        let looked = &means[..means.len() - 1];
        assert!(looked.iter().all(|mean| (mean - 1.98).abs() < 1e-9), "{means:?}");
        assert_eq!(means[12], 0.0, "nobody looked");
    }

    #[test]
    fn a_last_step_that_is_shorter_has_the_same_rate() {
        let steps = Steps::of(&Evidence { end_us: 11_000_000, ..Evidence::default() });
        let every_half_second = (0..22).map(|n| n * 500_000 + 1);
        assert_eq!(steps.rate(every_half_second), [2.0, 2.0, 2.0]);
    }

    #[test]
    fn a_long_run_has_longer_steps_and_no_more_of_them() {
        let steps = Steps::of(&Evidence { end_us: 2_500_000_000, ..Evidence::default() });
        assert!(steps.count() <= COUNT_MAX as usize && steps.length_s() >= 2_500.0, "{steps:?}");
    }
}
