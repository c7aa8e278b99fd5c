//! The Prometheus text format: parsing, series by name, quantiles of histograms.

use std::collections::BTreeMap;

/// Series of one scrape: values by `name{labels}` as received.
pub type Series = BTreeMap<String, f64>;

/// Parses the text, keeping the series whose name `keep` accepts. Comments, timestamps and lines that are not series
/// are left out.
pub fn parse(text: &str, keep: impl Fn(&str) -> bool) -> Series {
    let mut series = Series::new();
    for line in text.lines() {
        if line.starts_with('#') || !keep(name(line)) {
            continue;
        }
        let end = line.find('}').map_or_else(|| line.find(' '), |_| line.rfind('}').map(|i| i + 1));
        let Some((key, rest)) = end.and_then(|i| line.split_at_checked(i)) else { continue };
        let value = rest.split_whitespace().next().and_then(|v| v.parse().ok());
        if let Some(value) = value {
            series.insert(key.to_owned(), value);
        }
    }
    series
}

/// Returns the metric name of a series key or line.
pub fn name(key: &str) -> &str {
    key.split(['{', ' ']).next().unwrap_or_default()
}

/// Returns the value of a label in a series key. Labels whose values have escaped quotes are never read here.
pub fn label<'a>(key: &'a str, label: &str) -> Option<&'a str> {
    let inside = key.split_once('{')?.1.strip_suffix('}')?;
    let mut rest = inside;
    while let Some((found, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"')?;
        if found.trim_start_matches([',', ' ']) == label {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// Returns the sum of all series of `metric` whose key `accept` accepts; `None` if there are none.
pub fn sum(series: &Series, metric: &str, accept: impl Fn(&str) -> bool) -> Option<f64> {
    let mut values = of(series, metric).filter(|(key, _)| accept(key)).map(|(_, value)| value).peekable();
    values.peek()?;
    Some(values.sum())
}

/// Returns all series of a metric.
pub fn of<'a>(series: &'a Series, metric: &str) -> impl Iterator<Item = (&'a str, f64)> {
    let metric = metric.to_owned();
    let from = series.range(metric.clone()..);
    from.take_while({
        let metric = metric.clone();
        move |(key, _)| key.starts_with(&metric)
    })
    .filter(move |(key, _)| name(key) == metric)
    .map(|(key, value)| (key.as_str(), *value))
}

/// Cumulative counts by upper bound, ascending, the last bound infinite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets(Vec<(f64, f64)>);

/// A quantile of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    /// No observation.
    Empty,
    /// The value, interpolated inside its bucket.
    Value(f64),
    /// Above the last finite bound: the value is only known to be larger than this.
    Saturated(f64),
}

impl Buckets {
    /// Adds up the buckets of all series of `metric` (without `_bucket`) that `accept` accepts.
    pub fn collect(series: &Series, metric: &str, accept: impl Fn(&str) -> bool) -> Self {
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for (key, count) in of(series, &format!("{metric}_bucket")).filter(|(key, _)| accept(key)) {
            let Some(bound) = label(key, "le").and_then(|le| le.parse::<f64>().ok()) else { continue };
            match sums.iter_mut().find(|(b, _)| b.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => sums.push((bound, count)),
            }
        }
        sums.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(sums)
    }

    /// Returns what was observed after `earlier`; `None` if a count went down: the process restarted, and its earlier
    /// observations are lost.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let before = |bound: f64| {
            earlier.0.iter().find(|(b, _)| b.total_cmp(&bound).is_eq()).map_or(0.0, |(_, count)| *count)
        };
        let difference: Vec<_> =
            self.0.iter().map(|&(bound, count)| (bound, count - before(bound))).collect();
        difference.iter().all(|(_, count)| *count >= 0.0).then_some(Self(difference))
    }

    /// Adds another histogram with the same bounds.
    pub fn add(&mut self, other: &Self) {
        for &(bound, count) in &other.0 {
            match self.0.iter_mut().find(|(b, _)| b.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((bound, count)),
            }
        }
        self.0.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// Returns the number of observations.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// Returns the quantile `q` (0..=1) as Prometheus' `histogram_quantile` computes it, except that a value above the
    /// last finite bound is reported as such.
    pub fn quantile(&self, q: f64) -> Quantile {
        let total = self.count();
        if total <= 0.0 {
            return Quantile::Empty;
        }
        let rank = q * total;
        let (mut low, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > below {
                if bound.is_infinite() {
                    return Quantile::Saturated(low);
                }
                return Quantile::Value(low + (bound - low) * (rank - below) / (count - below));
            }
            (low, below) = (bound, count);
        }
        Quantile::Saturated(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP x Help.
# TYPE x counter
x_total{code="200",path="/a b"} 3
x_total{code="429",path="/"} 2 1700000000
xy 7
h_bucket{le="1"} 5
h_bucket{le="2"} 9
h_bucket{le="+Inf"} 10
"#;

    #[test]
    fn text_is_parsed_and_summed() {
        let series = parse(TEXT, |_| true);
        assert_eq!(series.len(), 6);
        assert_eq!(sum(&series, "x_total", |_| true), Some(5.0));
        assert_eq!(sum(&series, "x_total", |key| label(key, "code") == Some("429")), Some(2.0));
        assert_eq!(sum(&series, "x", |_| true), None, "a prefix is another metric");
        assert_eq!(sum(&series, "xy", |_| true), Some(7.0));
        assert_eq!(parse(TEXT, |name| name == "xy").len(), 1);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let buckets = Buckets::collect(&parse(TEXT, |_| true), "h", |_| true);
        assert_eq!(buckets.quantile(0.5), Quantile::Value(1.0));
        assert_eq!(buckets.quantile(0.7), Quantile::Value(1.5));
        assert_eq!(buckets.quantile(0.9), Quantile::Value(2.0));
    }

    #[test]
    fn a_quantile_above_the_last_bound_is_saturated() {
        let buckets = Buckets::collect(&parse(TEXT, |_| true), "h", |_| true);
        assert_eq!(buckets.quantile(0.99), Quantile::Saturated(2.0));
        assert_eq!(Buckets::default().quantile(0.99), Quantile::Empty);
    }

    #[test]
    fn a_window_is_a_difference_and_a_restart_has_none() {
        let later = Buckets(vec![(1.0, 5.0), (f64::INFINITY, 9.0)]);
        let earlier = Buckets(vec![(1.0, 5.0), (f64::INFINITY, 8.0)]);
        assert_eq!(later.since(&earlier).unwrap().quantile(0.5), Quantile::Saturated(1.0));
        assert_eq!(earlier.since(&later), None);
    }

    #[test]
    fn empty_buckets_below_do_not_attract_a_quantile() {
        let buckets = Buckets(vec![(1.0, 0.0), (2.0, 4.0), (f64::INFINITY, 4.0)]);
        assert_eq!(buckets.quantile(0.0), Quantile::Value(1.0));
        assert_eq!(buckets.quantile(1.0), Quantile::Value(2.0));
    }
}
