//! Churn: deletes Pods at a pace; their controllers make new ones (ADR-0038).
//!
//! Which Pods is decided before the first is deleted: workload and ordinal come from the seed and the sorted
//! workloads, never from Pod names, which are random. So two runs with one seed make the same choices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::RngExt;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use harness_model::plan::{ClusterPlan, Plan, Workload, rng, template};

/// One choice: the Pod of a workload at an ordinal, counted round by age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Workload name.
    pub workload: String,
    /// Ordinal among its bound Pods.
    pub ordinal: u32,
    /// When, since the start.
    pub at: Duration,
}

/// Deletions of one kind, decided in full.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// `churn`, `ageing/<archetype>`, `burst`.
    pub name: String,
    /// In order of time.
    pub picks: Vec<Pick>,
}

impl Stream {
    /// `count` deletions over `length`, each among all replicas of `workloads` with the same probability.
    pub fn new(
        name: &str,
        seed: u64,
        mut workloads: Vec<&Workload>,
        count: u32,
        length: Duration,
        poisson: bool,
    ) -> Self {
        workloads.sort_by(|a, b| a.name.cmp(&b.name));
        let total: u32 = workloads.iter().map(|w| w.replicas).sum();
        if total == 0 {
            return Self { name: name.to_owned(), picks: Vec::new() };
        }
        let mut rng = rng(seed, name);
        let times = if poisson { poisson_times(count, length, &mut rng) } else { even_times(count, length) };
        let picks = times.into_iter().filter_map(|time| {
            let (workload, ordinal) = at(&workloads, rng.random_range(0..total))?;
            Some(Pick { workload: workload.name.clone(), ordinal, at: time })
        });
        Self { name: name.to_owned(), picks: picks.collect() }
    }

    /// SHA-256 over the choices, not their times.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for pick in &self.picks {
            hash.update(pick.workload.as_bytes());
            hash.update(pick.ordinal.to_le_bytes());
        }
        template::hex(&hash.finalize())
    }
}

/// All deletions of a soak: the profile's churn, and the ageing of archetypes with a lifetime on top of it.
pub fn streams(plan: &Plan, cluster: &ClusterPlan, length: Duration) -> Vec<Stream> {
    let profile = &plan.profile;
    let poisson = profile.load_driver.poisson_jitter;
    let churned = f64::from(cluster.pods) * profile.churn_per_minute * length.as_secs_f64() / 60.0;
    let all = cluster.workloads.iter().collect();
    let name = format!("churn/{}", cluster.name);
    let mut streams = vec![Stream::new(&name, profile.seed, all, churned.round() as u32, length, poisson)];
    for (archetype, lifetime) in plan.catalog.archetypes.iter().filter_map(|(n, a)| Some((n, a.lifetime?))) {
        let mine: Vec<&Workload> = cluster.workloads.iter().filter(|w| &w.archetype == archetype).collect();
        let pods: u32 = mine.iter().map(|w| w.replicas).sum();
        let aged = f64::from(pods) * length.as_secs_f64() / lifetime.as_seconds().max(1.0);
        let name = format!("ageing/{}/{archetype}", cluster.name);
        streams.push(Stream::new(&name, profile.seed, mine, aged.round() as u32, length, poisson));
    }
    streams.retain(|s| !s.picks.is_empty());
    streams
}

/// The workload that has the replica at `ordinal`, counted through all of them, and which of its own that is.
pub fn at<'a>(workloads: &[&'a Workload], ordinal: u32) -> Option<(&'a Workload, u32)> {
    let mut left = ordinal;
    workloads.iter().find_map(|w| match left.checked_sub(w.replicas) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some((*w, left)),
    })
}

/// Evenly: the middle of each of `count` equal parts.
fn even_times(count: u32, length: Duration) -> Vec<Duration> {
    (0..count).map(|i| length.mul_f64((f64::from(i) + 0.5) / f64::from(count))).collect()
}

/// A Poisson process, given that it has `count` events in `length`: exponential gaps, scaled.
fn poisson_times(count: u32, length: Duration, rng: &mut impl RngExt) -> Vec<Duration> {
    // 1 - u is in (0, 1], where the logarithm is finite.
    let gaps: Vec<f64> = (0..=count).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
    let total: f64 = gaps.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut sum = 0.0;
    let passed = gaps.iter().take(count as usize).map(|gap| {
        sum += gap;
        length.mul_f64(sum / total)
    });
    passed.collect()
}

/// Carries out a stream; `done` counts the Pods deleted. Deletions run beside each other: a slow apiserver
/// delays one of them and not the pace. A stop lets those that have begun come to their end.
pub async fn run(
    cluster: Arc<Cluster>,
    picks: Vec<Pick>,
    start: Instant,
    done: Arc<AtomicU32>,
    stop: CancellationToken,
) {
    let mut deletions = JoinSet::new();
    for pick in picks {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(start + pick.at) => {}
        }
        let (cluster, done, stop) = (cluster.clone(), done.clone(), stop.clone());
        deletions.spawn(async move {
            let pod = tokio::select! {
                biased;
                pod = cluster.world.until_picked(&pick.workload, pick.ordinal) => pod,
                () = stop.cancelled() => return,
            };
            // Ahead of the watch: the same Pod must not be chosen twice.
            cluster.world.apply(&pick.workload, &pod.uid, None);
            match cluster.delete(&pod).await {
                Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                Err(refused) => cluster.report(&refused),
            }
        });
        while deletions.try_join_next().is_some() {}
    }
    while deletions.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::plan::derive;
    use harness_model::profile::{fixtures_dir, load};

    fn plan(overrides: &[&str]) -> Plan {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        derive(&load(&fixtures_dir(), "dev-50", &overrides).unwrap()).unwrap()
    }

    fn of(plan: &Plan, seconds: u64) -> Vec<Stream> {
        streams(plan, &plan.clusters[0], Duration::from_secs(seconds))
    }

    #[test]
    fn counts_are_exact_and_choices_seeded() {
        let a = of(&plan(&[]), 120);
        let counts: Vec<usize> = a.iter().map(|s| s.picks.len()).collect();
        assert_eq!(counts, [120, 30], "2,500 x 0.024 x 2 min; 150 batch Pods that live 600 s");
        assert!(a[1].picks.iter().all(|p| p.workload.contains("cpu-batch")));
        assert_eq!(a[0].digest(), of(&plan(&[]), 120)[0].digest());
        assert_ne!(a[0].digest(), of(&plan(&["seed=51"]), 120)[0].digest());
        assert!(of(&plan(&["churnPerMinute=0"]), 120).iter().all(|s| s.name.starts_with("ageing")));
    }

    #[test]
    fn times_lie_in_order_within_the_length_however_they_are_spaced() {
        for jitter in ["false", "true"] {
            let plan = plan(&[&format!("loadDriver.poissonJitter={jitter}")]);
            let times: Vec<Duration> = of(&plan, 60)[0].picks.iter().map(|p| p.at).collect();
            assert!(times.is_sorted() && *times.last().unwrap() < Duration::from_secs(60), "{jitter}");
        }
    }
}
