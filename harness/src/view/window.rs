//! Rates over a short time that ends now.

use std::collections::VecDeque;

/// Shortest time over which a rate is computed: a shorter time says nothing.
const LEAST_US: u64 = 1_000_000;

/// A count over a span of time that ends now.
#[derive(Clone, Debug)]
pub struct Window {
    span_us: u64,
    points: VecDeque<(u64, f64)>,
}

impl Window {
    /// Creates an empty window of that many seconds.
    pub fn seconds(span_s: u64) -> Self {
        Self { span_us: span_s * 1_000_000, points: VecDeque::new() }
    }

    /// Adds the count at a moment. A count lower than the last is a new count: what came before is forgotten.
    pub fn add(&mut self, at_us: u64, count: f64) {
        if self.points.back().is_some_and(|(_, last)| count < *last) {
            self.points.clear();
        }
        self.points.push_back((at_us, count));
        // The first point is on the edge of the window or before it, so that the rate spans all of it.
        let edge_us = at_us.saturating_sub(self.span_us);
        while self.points.get(1).is_some_and(|(at, _)| *at <= edge_us) {
            self.points.pop_front();
        }
    }

    /// Returns the rate per second.
    pub fn per_s(&self) -> Option<f64> {
        let ((from_us, first), (to_us, last)) = (self.points.front()?, self.points.back()?);
        let length_us = to_us - from_us;
        (LEAST_US <= length_us).then(|| (last - first) / (length_us as f64 / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_moments() {
        let mut window = Window::seconds(10);
        assert_eq!(window.per_s(), None);
        window.add(0, 100.0);
        assert_eq!(window.per_s(), None, "one point is no rate");
        for s in 1..=20 {
            window.add(s * 1_000_000, 100.0 + if s <= 10 { 0.0 } else { 5.0 * (s - 10) as f64 });
        }
        assert_eq!(window.per_s(), Some(5.0));
    }

    #[test]
    fn gaps_are_spanned_and_a_restart_forgets() {
        let mut window = Window::seconds(10);
        window.add(0, 0.0);
        window.add(30_000_000, 60.0);
        assert_eq!(window.per_s(), Some(2.0));
        window.add(31_000_000, 1.0);
        assert_eq!(window.per_s(), None);
    }
}
