//! Whether controllers create the Pods that load-driver declared, and if not, why not in their own words.
//!
//! A Deployment says so in its conditions, a StatefulSet only in an Event. Events are neither cached by the
//! apiserver nor indexed, so they are read only when a StatefulSet stands still. A refusal counts when it lasts: a
//! controller whose cache lags, or a quota that a Pod still fills which is just ending, is over after a moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use component::apiserver;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use super::cluster::Cluster;
use super::world::Lacking;
use harness_model::plan::template::NAMESPACE;
use harness_model::plan::{ClusterPlan, Workload};
use harness_model::profile::{Kind, Workloads};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// An object that got no Pod for so long, though it lacks some, is asked why.
const LACKING_FOR: Duration = Duration::from_secs(3);
/// A StatefulSet is asked later: its next Pod waits for the one before, and asking is dear.
const SET_LACKING_FOR: Duration = Duration::from_secs(5);
/// A refusal that stands for so long is one.
const REFUSED_FOR: Duration = Duration::from_secs(4);
/// Time between two lists of Events: each goes through all Events in etcd.
const EVENTS_EVERY: Duration = Duration::from_secs(4);
/// Objects asked at one look.
const ASKED_MAX: usize = 10;

/// Reports Pods that controllers cannot create, for ever.
pub async fn watch(cluster: &Cluster, plan: &ClusterPlan) {
    if cluster.plan.profile.workloads == Workloads::Bare {
        // load-driver creates them itself, and hears of it.
        return std::future::pending().await;
    }
    let workloads: BTreeMap<&str, &Workload> = plan.workloads.iter().map(|w| (w.name.as_str(), w)).collect();
    let (mut standing, mut events) = (Standing::default(), Events::default());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut lacking = cluster.world.lacking(LACKING_FOR);
        lacking.sort_by_key(|l| l.since);
        lacking.truncate(ASKED_MAX);
        let refused = match ask(cluster, &workloads, &lacking, &mut events).await {
            Ok(refused) => refused,
            Err(error) => {
                tracing::warn!(error = apiserver::words(&error), "cannot ask why Pods are lacking");
                continue;
            }
        };
        for (workload, message) in standing.look(Instant::now(), refused) {
            let kind = workloads.get(workload.as_str()).map_or("workload", |w| w.kind.as_str());
            cluster.failures.add(format!("get the Pods of {kind} {workload}"), message);
        }
    }
}

/// Which of these objects a controller cannot create Pods for, each with the controller's words.
async fn ask(
    cluster: &Cluster,
    workloads: &BTreeMap<&str, &Workload>,
    lacking: &[Lacking],
    events: &mut Events,
) -> Result<Vec<(Lacking, String)>, kube::Error> {
    let is = |l: &&Lacking, kind: Kind| workloads.get(l.workload.as_str()).is_some_and(|w| w.kind == kind);
    let mut refused = Vec::new();
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
    for lack in lacking.iter().filter(|l| is(l, Kind::Deployment)) {
        let deployment = deployments.get_opt(&lack.workload).await?;
        let words = deployment.as_ref().and_then(condition);
        refused.extend(words.map(|words| (lack.clone(), words)));
    }
    let stands =
        |l: &&Lacking| is(l, Kind::StatefulSet) && l.all_bound && l.since.elapsed() >= SET_LACKING_FOR;
    let sets: Vec<&Lacking> = lacking.iter().filter(stands).collect();
    if !sets.is_empty() {
        let events = events.known(cluster, Instant::now()).await?;
        let told = |lack: &Lacking| Some((lack.clone(), event(events, lack)?));
        refused.extend(sets.into_iter().filter_map(told));
    }
    Ok(refused)
}

/// The Events of StatefulSets whose Pods could not be created, as they were a moment ago.
#[derive(Default)]
struct Events {
    listed: Option<Instant>,
    last: Vec<Event>,
}

impl Events {
    async fn known(&mut self, cluster: &Cluster, now: Instant) -> Result<&[Event], kube::Error> {
        if self.listed.is_none_or(|at| now.duration_since(at) >= EVENTS_EVERY) {
            let events: Api<Event> = Api::namespaced(cluster.client(), NAMESPACE);
            let failed = ListParams::default().fields("involvedObject.kind=StatefulSet,reason=FailedCreate");
            self.last = events.list(&failed).await?.items;
            self.listed = Some(now);
        }
        Ok(&self.last)
    }
}

/// What keeps a Deployment from having its Pods: those of its ReplicaSet cannot be created, or it cannot itself.
fn condition(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let refuses = |type_: &str, status: &str, reason: Option<&str>| match type_ {
        "ReplicaFailure" => status == "True",
        "Progressing" => status == "False" && reason == Some("ReplicaSetCreateError"),
        _ => false,
    };
    let found = conditions.iter().find(|c| refuses(&c.type_, &c.status, c.reason.as_deref()))?;
    found.message.clone()
}

/// What the newest Event says about a StatefulSet whose last Pod is older. Both times are the cluster's.
fn event(events: &[Event], lack: &Lacking) -> Option<String> {
    let of_it = events.iter().filter(|e| e.involved_object.name.as_deref() == Some(lack.workload.as_str()));
    let newest = of_it.max_by_key(|e| seconds(e))?;
    (seconds(newest) >= lack.newest_s).then(|| newest.message.clone()).flatten()
}

/// When an Event was last repeated, seconds since the epoch.
fn seconds(event: &Event) -> i64 {
    let last = event.last_timestamp.as_ref().map(|t| t.0.as_second());
    let repeated = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0.as_second());
    let once = event.event_time.as_ref().map(|t| t.0.as_second());
    [last, repeated, once].into_iter().flatten().max().unwrap_or_default()
}

/// Refusals that stand, by workload: since when it lacks Pods, and when the refusal was first seen.
#[derive(Default)]
struct Standing(BTreeMap<String, (Instant, Instant)>);

impl Standing {
    /// Takes in who is refused now. Answers those who have been for long, without a Pod and without a break.
    fn look(&mut self, now: Instant, refused: Vec<(Lacking, String)>) -> Vec<(String, String)> {
        let before = std::mem::take(&mut self.0);
        let mut lasting = Vec::new();
        for (lack, message) in refused {
            let known = before.get(&lack.workload).filter(|(since, _)| *since == lack.since);
            let first = known.map_or(now, |(_, first)| *first);
            self.0.insert(lack.workload.clone(), (lack.since, first));
            if now.duration_since(first) >= REFUSED_FOR {
                lasting.push((lack.workload, message));
            }
        }
        lasting
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lack(since: Instant, newest_s: i64) -> Lacking {
        Lacking { workload: "w".into(), since, newest_s, all_bound: true }
    }

    fn deployment(conditions: Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": "w"}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    #[test]
    fn a_refusal_counts_when_it_stands() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let refused = |since| vec![(lack(since, 0), "exceeded quota".to_owned())];
        let mut standing = Standing::default();
        assert_eq!(standing.look(start, refused(start)), []);
        assert_eq!(standing.look(after(3), refused(start)), []);
        let lasting = standing.look(after(4), refused(start));
        assert_eq!(lasting, [("w".to_owned(), "exceeded quota".to_owned())]);
    }

    #[test]
    fn a_refusal_that_passes_does_not_count() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let refused = |since| vec![(lack(since, 0), "no PriorityClass".to_owned())];
        let mut standing = Standing::default();
        standing.look(start, refused(start));
        assert_eq!(standing.look(after(5), refused(after(2))), [], "a Pod came meanwhile");
        standing.look(after(6), Vec::new());
        assert_eq!(standing.look(after(9), refused(after(2))), [], "it was taken back meanwhile");
    }

    #[test]
    fn a_deployment_says_in_its_conditions_that_it_gets_no_pods() {
        let progressing = json!({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"});
        assert_eq!(condition(&deployment(json!([progressing]))), None);
        let over = json!({"type": "ReplicaFailure", "status": "False", "message": "over"});
        assert_eq!(condition(&deployment(json!([progressing, over]))), None);
        let failing = json!({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"});
        let words = condition(&deployment(json!([progressing, failing])));
        assert_eq!(words.as_deref(), Some("exceeded quota"));
        let alone = json!({"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError",
            "message": "no ReplicaSet"});
        assert_eq!(condition(&deployment(json!([alone]))).as_deref(), Some("no ReplicaSet"));
    }

    #[test]
    fn a_stateful_set_s_event_counts_if_no_pod_came_after_it() {
        let event_at = |name: &str, at: &str, message: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {"name": "e"}, "involvedObject": {"kind": "StatefulSet", "name": name},
                "reason": "FailedCreate", "message": message, "lastTimestamp": at,
            }))
            .unwrap()
        };
        let events = [
            event_at("w", "1970-01-01T00:00:10Z", "first"),
            event_at("w", "1970-01-01T00:00:20Z", "second"),
            event_at("another", "1970-01-01T00:00:30Z", "not about it"),
        ];
        let now = Instant::now();
        assert_eq!(event(&events, &lack(now, 15)).as_deref(), Some("second"));
        assert_eq!(event(&events, &lack(now, 20)).as_deref(), Some("second"), "the grain is a second");
        assert_eq!(event(&events, &lack(now, 21)), None, "it got a Pod since");
        assert_eq!(event(&[], &lack(now, 0)), None);
    }
}
