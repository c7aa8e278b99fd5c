//! Bare mode, for contrast (ADR-0038, context): Pods without an owner. Eviction destroys them, and with them
//! the demand; unless load-driver makes up for the lost ones, which is what hid the fault upstream.

use std::time::Duration;

use rand::RngExt;

use super::churn;
use super::cluster::Cluster;
use harness_model::plan::{ClusterPlan, Workload, rng};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes up for lost Pods, for ever: each object for its own, or all together in objects drawn afresh.
pub async fn top_up(cluster: &Cluster, plan: &ClusterPlan) {
    let profile = &cluster.plan.profile;
    let all: Vec<&Workload> = plan.workloads.iter().collect();
    let pods: u32 = all.iter().map(|w| w.replicas).sum();
    let mut rng = rng(profile.seed, &format!("bare-top-up/{}", plan.name));
    let owners: Vec<Option<&Workload>> = match profile.load_driver.bare_fresh_draws {
        true => vec![None],
        false => all.iter().map(|w| Some(*w)).collect(),
    };
    let mut before: Vec<Option<Short>> = owners.iter().map(|_| None).collect();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        for (owner, before) in owners.iter().zip(&mut before) {
            let (declared, live) = match owner {
                Some(w) => (cluster.world.declared(&w.name).unwrap_or(0), cluster.world.live(&w.name)),
                None => (cluster.world.totals().declared, cluster.world.totals().live),
            };
            let missing = declared.saturating_sub(live);
            let lost = lost(before.as_ref(), declared, missing);
            for _ in 0..lost {
                let drawn = || churn::at(&all, rng.random_range(0..pods)).map(|(w, _)| w);
                let Some(workload) = owner.or_else(drawn) else { continue };
                if let Err(refused) = cluster.create_pods(workload, 1).await {
                    cluster.report(&refused);
                }
            }
            *before = Some(Short { declared, missing: missing - lost });
        }
    }
}

/// What a workload lacked at one look.
struct Short {
    declared: u32,
    missing: u32,
}

/// Only what was missing a look ago too is lost: Pods just created may not have reached the watch. While more
/// are being declared there are always some of those.
fn lost(before: Option<&Short>, declared: u32, missing: u32) -> u32 {
    before.filter(|short| short.declared == declared).map_or(0, |short| short.missing.min(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_not_lost() {
        let before = |declared, missing| Some(Short { declared, missing });
        assert_eq!(lost(None, 5, 5), 0);
        assert_eq!(lost(before(5, 2).as_ref(), 5, 3), 2);
        assert_eq!(lost(before(5, 3).as_ref(), 5, 1), 1);
        assert_eq!(lost(before(4, 1).as_ref(), 5, 1), 0, "another one");
    }
}
