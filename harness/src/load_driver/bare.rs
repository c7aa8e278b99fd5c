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
    let mut short_before = BTreeMap::<&str, u32>::new();
    loop {
        ticks.tick().await;
        let mut short = BTreeMap::new();
        for w in &plan.workloads {
            let declared = cluster.world.declared(&w.name).unwrap_or(0);
            let missing = declared.saturating_sub(cluster.world.live(&w.name));
            if missing == 0 {
                continue;
            }
            // Only what was missing a tick ago too: Pods just created may not have reached the watch.
            let lost = missing.min(short_before.get(w.name.as_str()).copied().unwrap_or(0));
            if let Err(error) = cluster.create_pods(w, lost).await {
                tracing::error!(%error, "a lost Pod was not made up for");
            }
            short.insert(w.name.as_str(), missing - lost);
        }
        short_before = short;
    }
}
