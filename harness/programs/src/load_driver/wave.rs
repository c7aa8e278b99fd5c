//! The demand wave: a square wave on the replicas of one archetype's objects.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use harness_model::plan::{ClusterPlan, Workload, rng};
use harness_model::profile::DemandWave;

/// One change of level: when, since the start, and to how many replicas above or below the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swing {
    /// Since the start.
    pub at: Duration,
    /// Replicas above (or below) the plan's.
    pub delta: i64,
}

/// The swings of cluster `index` of `clusters` within `length`: up, down, up, ..., half a period each. Staggered,
/// it starts so much later that the clusters' ups are spread over the period.
pub fn swings(wave: &DemandWave, index: usize, clusters: usize, length: Duration) -> Vec<Swing> {
    let offset = if wave.staggered {
        wave.period.0.mul_f64(index as f64 / clusters.max(1) as f64)
    } else {
        Duration::ZERO
    };
    let half = wave.period.0 / 2;
    let up = i64::from(wave.replicas);
    (0_u32..)
        .map(|i| Swing { at: offset + half * i, delta: if i % 2 == 0 { up } else { -up } })
        .take_while(|s| s.at < length)
        .collect()
}

/// Replicas of each object such that their sum lies `delta` off the plan's. Objects are taken in a seeded
/// order, first by up to half their size, then (upwards) by the rest over all, (downwards) to a single replica.
pub fn targets(workloads: &[&Workload], delta: i64, seed: u64, cluster: &str) -> BTreeMap<String, u32> {
    let mut order: Vec<&&Workload> = workloads.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    order.shuffle(&mut rng(seed, &format!("wave/{cluster}")));
    let mut replicas: BTreeMap<String, u32> = order.iter().map(|w| (w.name.clone(), w.replicas)).collect();
    let mut left = delta.unsigned_abs() as u32;
    let even = left.div_ceil(order.len().max(1) as u32);
    for pass in 0..3 {
        for w in &order {
            let now = replicas.get_mut(&w.name).expect("every object must have its replicas");
            let most = match (pass, delta > 0) {
                (0, _) => w.replicas / 2,
                (_, true) => even,
                (_, false) => now.saturating_sub(1),
            };
            let taken = most.min(left);
            *now = if delta > 0 { *now + taken } else { *now - taken };
            left -= taken;
        }
    }
    replicas
}

/// Carries out the swings until it is stopped.
pub async fn run(
    cluster: &Cluster,
    plan: &ClusterPlan,
    wave: &DemandWave,
    swings: &[Swing],
    start: Instant,
    stop: &CancellationToken,
) {
    for swing in swings {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(start + swing.at) => {}
        }
        tracing::info!(delta = swing.delta, "demand wave");
        let mine: Vec<&Workload> = plan.workloads.iter().filter(|w| w.archetype == wave.archetype).collect();
        let targets = targets(&mine, swing.delta, cluster.plan.profile.seed, &plan.name);
        set_all(cluster, mine, |w| targets[&w.name]).await;
    }
}

/// Brings objects to the given replicas, beside each other; those that are there already are left alone.
pub async fn set_all(cluster: &Cluster, workloads: Vec<&Workload>, replicas: impl Fn(&Workload) -> u32) {
    let changes = workloads.into_iter().filter_map(|w| {
        let (now, then) = (cluster.world.declared(&w.name)?, replicas(w));
        // An object that was never created is the fill's to create.
        (now != 0 && now != then).then_some(async move {
            if let Err(refused) = cluster.set_replicas(w, then).await {
                cluster.report(&refused);
            }
        })
    });
    futures::future::join_all(changes).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::plan::derive;
    use harness_model::profile::{Span, fixtures_dir, load};

    #[test]
    fn targets_are_off_by_exactly_delta_and_never_zero() {
        let plan = derive(&load(&fixtures_dir(), "dev-50", &[]).unwrap()).unwrap();
        let tiny: Vec<&Workload> =
            plan.clusters[0].workloads.iter().filter(|w| w.archetype == "tiny-stateless").collect();
        let base: i64 = tiny.iter().map(|w| i64::from(w.replicas)).sum();
        for delta in [300, -300, 1, -1, 1500, -1200] {
            let targets = targets(&tiny, delta, 1, "c");
            let sum: i64 = targets.values().map(|r| i64::from(*r)).sum();
            assert_eq!(sum, base + delta, "{delta}");
            assert!(targets.values().all(|r| *r >= 1), "{delta}");
        }
        assert_eq!(targets(&tiny, 300, 1, "c"), targets(&tiny, 300, 1, "c"));
        assert_ne!(targets(&tiny, 300, 1, "c"), targets(&tiny, 300, 2, "c"));
    }

    #[test]
    fn swings_alternate_and_are_staggered() {
        let wave =
            DemandWave { archetype: "t".into(), replicas: 3, period: Span::seconds(80), staggered: true };
        let of = |index| -> Vec<(u64, i64)> {
            let swings = swings(&wave, index, 2, Duration::from_secs(120));
            swings.iter().map(|s| (s.at.as_secs(), s.delta)).collect()
        };
        assert_eq!(of(0), [(0, 3), (40, -3), (80, 3)]);
        assert_eq!(of(1), [(40, 3), (80, -3)]);
    }
}
