//! Bare mode, for contrast (ADR-0038, context): Pods without an owner. Eviction destroys them, and with them
//! the demand; unless load-driver makes up for the lost ones, which is what hid the fault upstream.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::Cluster;
use crate::plan::ClusterPlan;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes up for lost Pods, for ever.
pub async fn top_up(cluster: &Cluster, plan: &ClusterPlan) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut before = BTreeMap::<&str, Short>::new();
    loop {
        ticks.tick().await;
        let mut now = BTreeMap::new();
        for w in &plan.workloads {
            let declared = cluster.world.declared(&w.name).unwrap_or(0);
            let missing = declared.saturating_sub(cluster.world.live(&w.name));
            let lost = lost(before.get(w.name.as_str()), declared, missing);
            if let Err(error) = cluster.create_pods(w, lost).await {
                tracing::error!(%error, "a lost Pod was not made up for");
            }
            now.insert(w.name.as_str(), Short { declared, missing: missing - lost });
        }
        before = now;
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
