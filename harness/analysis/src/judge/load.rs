//! Whether the intended load was created, and which side is at fault if it was not.

use std::collections::BTreeMap;

use crate::judge::{Evidence, Expect};
use harness_model::record::Event;
use harness_model::record::LoadFailure;
use harness_model::record::event::{Blame, End, LoadFailed, how_it_ended};

/// Returns what an object that came with the autoscaler refused, if any did: this is the autoscaler's failure.
pub fn refused_by_the_autoscaler(evidence: &Evidence) -> Option<&LoadFailed> {
    failed(evidence).find(|one| one.by == Blame::Autoscaler)
}

/// Checks the rule that all load was created, except for what the autoscaler itself refused.
///
/// # Errors
/// Returns the load that was not created, in the words of the refusal.
pub fn was_made(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    if let Some(failed) = failed(evidence).find(|one| one.by == Blame::Environment) {
        return Err(failed.to_string());
    }
    if let Some(ended) = evidence.events.iter().find_map(|e| driver_ended(&e.event)) {
        return Err(ended);
    }
    if refused_by_the_autoscaler(evidence).is_some() {
        return Ok("the autoscaler refused all load that was not created".into());
    }
    let reports: BTreeMap<&str, &serde_json::Value> =
        evidence.events.iter().filter_map(|e| report(&e.event)).collect();
    for (cluster, status) in &reports {
        let failures = LoadFailure::in_status(status)
            .map_err(|error| format!("{cluster}: load-driver did not report whether load failed: {error}"))?;
        if let Some(first) = failures.first() {
            return Err(format!("{cluster}: cannot {}: {}", first.what, first.message));
        }
    }
    // A run that was cut short says why elsewhere.
    if evidence.end == Some(End::Completed) && reports.len() != expect.clusters.len() {
        return Err(format!(
            "{} of {} load-drivers reported at the end what they had done",
            reports.len(),
            expect.clusters.len()
        ));
    }
    Ok("no request for load failed, and no Pod was refused".into())
}

fn failed(evidence: &Evidence) -> impl Iterator<Item = &LoadFailed> {
    evidence.events.iter().filter_map(|e| match &e.event {
        Event::LoadFailed(failed) => Some(failed),
        _ => None,
    })
}

fn driver_ended(event: &Event) -> Option<String> {
    match event {
        Event::ProcessEnded { name, cluster, exit_code, signal, log_tail } if name == "load-driver" => {
            let cluster = cluster.as_deref().unwrap_or("a cluster");
            let how = how_it_ended(*exit_code, *signal);
            let last =
                log_tail.last().map_or_else(String::new, |line| format!("; its last log line: {line}"));
            Some(format!("{cluster}: load-driver ended with {how}, and the load with it{last}"))
        }
        _ => None,
    }
}

fn report(event: &Event) -> Option<(&str, &serde_json::Value)> {
    match event {
        Event::DriverReport { cluster, status } => Some((cluster, status)),
        _ => None,
    }
}
