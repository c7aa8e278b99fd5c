//! What a kube-apiserver turned away (429), by kind of request and since when.

use crate::judge::evidence::Timeline;
use harness_model::families::{APISERVER_REJECTED, APISERVER_REQUESTS};
use harness_model::prometheus::{Series, label, name, of};

/// How many of them are listed one by one.
const TOLD: usize = 3;

/// Describes what was answered 429 within the window; `None` if nothing was.
///
/// A series appears with its first event. Answers before the load do not count: an apiserver answers 429 while it fills
/// its watch caches.
pub fn told(timeline: &Timeline, window: (u64, u64)) -> Option<String> {
    let before = timeline.at(window.0).unwrap_or_default();
    let after = timeline.at(window.1).unwrap_or_default();
    let answered = grown(&before, &after, APISERVER_REQUESTS.name, is_refusal);
    let turned_away = grown(&before, &after, APISERVER_REJECTED.name, |_| true);
    let total = |of: &[(&str, f64)]| of.iter().map(|(_, count)| count).sum::<f64>();
    // A request that gave up in the queue was turned away, but never answered.
    let refused = total(&answered).max(total(&turned_away));
    if refused <= 0.0 {
        return None;
    }
    let first_us = timeline.times(window).find(|at| {
        let then = timeline.at(*at).unwrap_or_default();
        !grown(&before, &then, APISERVER_REQUESTS.name, is_refusal).is_empty()
            || !grown(&before, &then, APISERVER_REJECTED.name, |_| true).is_empty()
    });
    let mut text = format!("{refused} requests were answered 429");
    if let Some(first_us) = first_us {
        text += &format!(", the first before {:.1} s of the run", first_us as f64 / 1e6);
    }
    text += &largest(&answered, &["verb", "group", "resource", "subresource"]);
    let by_flow = largest(&turned_away, &["flow_schema", "priority_level", "reason"]);
    if !by_flow.is_empty() {
        text += &format!("; by flow control{by_flow}");
    }
    Some(text)
}

/// An eviction that a disruption budget forbids is answered 429, too, but that is an answer, not a refusal.
fn is_refusal(key: &str) -> bool {
    label(key, "code") == Some("429") && label(key, "subresource") != Some("eviction")
}

/// Returns the series of a metric that grew, with their growth, largest first.
fn grown<'a>(
    before: &Series,
    after: &'a Series,
    metric: &str,
    accept: impl Fn(&str) -> bool,
) -> Vec<(&'a str, f64)> {
    let growth = |(key, value): (&'a str, f64)| (key, value - before.get(key).copied().unwrap_or(0.0));
    let mut found: Vec<_> =
        of(after, metric).filter(|(key, _)| accept(key)).map(growth).filter(|(_, by)| *by > 0.0).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

/// Lists the largest ones, for example `: 80 POST pods, 6 LIST nodes`; empty if there are none.
fn largest(found: &[(&str, f64)], labels: &[&str]) -> String {
    let told = found.iter().take(TOLD).map(|(key, count)| {
        let values: Vec<_> =
            labels.iter().filter_map(|of| label(key, of)).filter(|value| !value.is_empty()).collect();
        format!("{count} {}", if values.is_empty() { name(key).to_owned() } else { values.join(" ") })
    });
    let told: Vec<_> = told.collect();
    match (told.is_empty(), found.len().saturating_sub(TOLD)) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", told.join(", ")),
        (false, more) => format!(": {} and {more} more kinds", told.join(", ")),
    }
}
