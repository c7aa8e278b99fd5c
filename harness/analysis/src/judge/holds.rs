//! Whether existing clusters belonged to the run all along: two runs in one cluster measure each other.

use crate::judge::{Evidence, Expect};
use harness_model::record::Event;
use harness_model::record::event::Hold;

/// Checks the rule `clusters_held`.
///
/// # Errors
/// Returns what does not hold.
pub fn clusters_held(expect: &Expect, evidence: &Evidence) -> Result<String, String> {
    let events = || evidence.events.iter().map(|stamped| &stamped.event);
    let lost = events().find_map(|event| match event {
        Event::ClusterLost { cluster, reason } => {
            Some(format!("{cluster} no longer belonged to the run; another may have acted there: {reason}"))
        }
        _ => None,
    });
    if let Some(lost) = lost {
        return Err(lost);
    }
    if !expect.theirs {
        return Ok("does not apply: the control planes are the run's own".to_owned());
    }
    let held: Vec<&Hold> = events()
        .filter_map(|event| match event {
            Event::ClusterHeld(hold) => Some(hold),
            _ => None,
        })
        .collect();
    if let Some(missing) = expect.clusters.iter().find(|name| !held.iter().any(|h| h.cluster == **name)) {
        return Err(format!("whether {missing} still belonged to the run was not recorded"));
    }
    if let Some(late) = held.iter().find(|hold| hold.lease_ms <= hold.unrenewed_ms_max) {
        return Err(format!(
            "the record in {} was not renewed for {} s, and another may take the cluster after {} s",
            late.cluster,
            late.unrenewed_ms_max / 1000,
            late.lease_ms / 1000
        ));
    }
    let longest_ms = held.iter().map(|hold| hold.unrenewed_ms_max).max().unwrap_or_default();
    Ok(format!("the records in all clusters were renewed, at most {:.1} s apart", longest_ms as f64 / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::made_up::{CLUSTER, events, evidence, expect};
    use crate::judge::weigh;
    use harness_model::record::Stamped;
    use harness_model::summary::{Finding, Verdict};

    fn held(unrenewed_ms_max: u64) -> Event {
        Event::ClusterHeld(Hold { cluster: CLUSTER.into(), renewals: 9, unrenewed_ms_max, lease_ms: 120_000 })
    }

    /// Returns the rule and the verdict for the run that passes, with these events before its last.
    fn judged(theirs: bool, more: &[Event]) -> (Finding, Verdict) {
        let (mut expect, mut evidence) = (expect(), evidence());
        expect.theirs = theirs;
        let mut all = events();
        let last = all.len() - 1;
        // The events as read from the file.
        let lines = more.iter().map(|event| {
            let text = serde_json::to_string(&Stamped { at_us: 199_000_000, event: event.clone() }).unwrap();
            serde_json::from_str(&text).unwrap()
        });
        all.splice(last..last, lines);
        evidence.read_events(all);
        let summary = weigh(&expect, &evidence);
        let rule = summary.validity.into_iter().find(|finding| finding.rule == "clusters_held").unwrap();
        (rule, summary.verdict)
    }

    #[test]
    fn own_control_planes_need_no_record() {
        let (rule, verdict) = judged(false, &[]);
        assert!(rule.ok && verdict == Verdict::Pass, "{rule:?}");
    }

    #[test]
    fn clusters_of_others_must_have_been_held() {
        let (rule, verdict) = judged(true, &[held(10_400)]);
        assert!(
            rule.ok && rule.detail.contains("10.4 s") && verdict == Verdict::Pass,
            "{rule:?} {verdict:?}"
        );
        let (rule, verdict) = judged(true, &[]);
        assert!(!rule.ok && rule.detail.contains("not recorded"), "{rule:?}");
        assert_eq!(verdict, Verdict::Invalid);
        let (rule, verdict) = judged(true, &[held(120_000)]);
        assert!(!rule.ok && verdict == Verdict::Invalid, "{rule:?}");
    }

    #[test]
    fn a_cluster_that_was_lost_makes_the_run_invalid() {
        let lost = Event::ClusterLost { cluster: CLUSTER.into(), reason: "held by run b".into() };
        let (rule, verdict) = judged(true, &[lost, held(10)]);
        assert!(!rule.ok && rule.detail.ends_with("held by run b"), "{rule:?}");
        assert_eq!(verdict, Verdict::Invalid);
    }
}
