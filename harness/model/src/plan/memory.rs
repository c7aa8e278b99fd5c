//! The memory of a run: the limit of its apiservers, and the peak of all its processes.
//!
//! Constants are fitted to the runs that docs/performance.md lists under "Memory"; a test below checks them against
//! these.

use super::error::TooSmall;
use crate::profile::{APISERVER_GOMEMLIMIT_MIB, Profile};

/// Pods of one cluster up to which an apiserver runs at full speed with [`APISERVER_GOMEMLIMIT_MIB`].
const UNDER_THE_SMALLEST_LIMIT_PODS: u32 = 10_000;
/// Addition to that limit for each further Pod, KiB: 8 GiB for 30,000 Pods, where an apiserver with 2 GiB spent half
/// its CPU on garbage collection.
const LIMIT_KIB_PER_POD: u64 = 315;
/// Memory that stays free for everything else on the machine, MiB.
const RESERVE_MIB: u64 = 512;

/// Memory of an apiserver under load with almost no Pods, MiB: garbage of requests, and data not yet taken by watchers.
const APISERVER_MIB: f64 = 450.0;
/// Memory that each Pod adds to it until its limit, with its CapacityRequest and its events, MiB: about nine times its
/// live objects (GOGC 400 lets a heap grow to five times its live size).
const APISERVER_POD_MIB: f64 = 0.8;
/// Memory of everything else in a cluster with almost no Pods, MiB: etcd, kube-controller-manager, kube-scheduler,
/// kwok, and the programs of the fleet and the harness.
const OTHERS_MIB: f64 = 500.0;
/// Memory that each Pod adds to these, MiB.
const OTHERS_POD_MIB: f64 = 0.075;
/// Memory of kubelet and containerd in a kind cluster, MiB.
const KIND_MIB: f64 = 140.0;
/// Memory of kwok and the programs next to an existing control plane, and what each Pod adds to it, MiB.
const BESIDE_MIB: f64 = 100.0;
const BESIDE_POD_MIB: f64 = 0.015;
/// Memory of supervisor and shard, MiB.
const ONCE_MIB: f64 = 30.0;

/// Kind of the control planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planes {
    /// Child processes.
    Local,
    /// kind clusters on this machine.
    Kind,
    /// Existing clusters, wherever they run.
    Existing,
}

impl Planes {
    /// Returns the kind for the name of a provider, as after `--provider`.
    pub fn of(provider: &str) -> Self {
        match provider {
            "kind" => Self::Kind,
            "existing" => Self::Existing,
            _ => Self::Local,
        }
    }
}

/// Returns the limit that suits an apiserver with that many Pods, MiB.
pub fn suitable_limit_mib(pods: u32) -> u32 {
    let beyond = u64::from(pods.saturating_sub(UNDER_THE_SMALLEST_LIMIT_PODS));
    APISERVER_GOMEMLIMIT_MIB + (beyond * LIMIT_KIB_PER_POD / 1024) as u32
}

/// Returns the limit of each apiserver, MiB: the profile's or, if it gives none, what suits its Pods and fits the
/// machine.
pub fn apiserver_limit_mib(profile: &Profile, available_mib: u64) -> u32 {
    let suitable = suitable_limit_mib(profile.pods_per_cluster);
    profile.control_plane.apiserver_gomemlimit_mib.unwrap_or_else(|| {
        let beside = Model::of(profile, 0, Planes::Local).mib() as u64 + RESERVE_MIB;
        let share = available_mib.saturating_sub(beside) / u64::from(profile.clusters.max(1));
        suitable.min(share as u32).max(APISERVER_GOMEMLIMIT_MIB)
    })
}

/// Peak memory of all processes of a run, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    clusters: f64,
    /// One apiserver.
    apiserver_mib: f64,
    /// Everything else of one cluster.
    others_mib: f64,
    limit_mib: u32,
    pods: f64,
}

impl Model {
    /// Returns the model of a profile whose apiservers have this limit.
    pub fn of(profile: &Profile, limit_mib: u32, planes: Planes) -> Self {
        let wave = profile.demand_wave.as_ref().map_or(0, |w| w.replicas);
        let pods = f64::from(profile.pods_per_cluster) + f64::from(wave);
        let apiserver_mib = (APISERVER_MIB + pods * APISERVER_POD_MIB).min(f64::from(limit_mib));
        let others_mib = OTHERS_MIB + pods * OTHERS_POD_MIB;
        let (apiserver_mib, others_mib) = match planes {
            Planes::Local => (apiserver_mib, others_mib),
            Planes::Kind => (apiserver_mib, others_mib + KIND_MIB),
            Planes::Existing => (0.0, BESIDE_MIB + pods * BESIDE_POD_MIB),
        };
        Self { clusters: f64::from(profile.clusters), apiserver_mib, others_mib, limit_mib, pods }
    }

    /// Returns the estimate, MiB.
    pub fn mib(&self) -> f64 {
        self.clusters * (self.apiserver_mib + self.others_mib) + ONCE_MIB
    }

    /// Returns how the estimate is composed.
    pub fn formula(&self) -> String {
        let Self { clusters, apiserver_mib, others_mib, limit_mib, pods } = self;
        format!(
            "{clusters} clusters of {pods} Pods x ({apiserver_mib:.0} MiB for the apiserver, whose limit is {limit_mib}, \
             and {others_mib:.0} MiB for everything else) + {ONCE_MIB} MiB"
        )
    }
}

/// Returns the model of a run on a machine with that much available memory.
pub fn of_this_machine(profile: &Profile, planes: Planes, available_mib: u64) -> Model {
    Model::of(profile, apiserver_limit_mib(profile, available_mib), planes)
}

/// Refuses a machine with less memory than a run needs.
///
/// # Errors
/// [`TooSmall`], with the numbers.
pub fn check(profile: &Profile, planes: Planes, available_mib: u64) -> Result<(), TooSmall> {
    let model = of_this_machine(profile, planes, available_mib);
    if model.mib() <= available_mib as f64 {
        return Ok(());
    }
    Err(TooSmall {
        profile: profile.name.clone(),
        needed_gib: model.mib() / 1024.0,
        formula: model.formula(),
        available_gib: available_mib as f64 / 1024.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{DemandWave, Span, fixtures_dir, load};

    fn profile(clusters: u32, pods_per_cluster: u32, wave: u32) -> Profile {
        let smoke = load(&fixtures_dir(), "smoke", &[]).unwrap().profile;
        let archetype = "tiny-stateless".to_owned();
        let wave = DemandWave { archetype, replicas: wave, period: Span::seconds(60), staggered: false };
        Profile { clusters, pods_per_cluster, demand_wave: Some(wave).filter(|w| w.replicas > 0), ..smoke }
    }

    /// From docs/performance.md, "Memory": clusters, Pods of each, their wave, limit, planes, measured peak.
    const MEASURED: [(u32, u32, u32, u32, Planes, f64); 11] = [
        (1, 150, 0, 2048, Planes::Local, 1_083.0),
        (1, 200, 0, 2048, Planes::Local, 1_198.0),
        (3, 1_450, 0, 2048, Planes::Local, 6_656.0),
        (2, 2_500, 300, 2048, Planes::Local, 5_610.0),
        (2, 2_500, 300, 2048, Planes::Local, 5_742.0),
        (2, 2_500, 300, 2048, Planes::Kind, 5_870.0),
        (5, 10_000, 100, 2048, Planes::Local, 16_235.0),
        (5, 10_000, 100, 2048, Planes::Local, 16_414.0),
        (5, 10_000, 100, 2048, Planes::Local, 16_932.0),
        (5, 10_000, 100, 2048, Planes::Kind, 16_231.0),
        (1, 30_000, 0, 8192, Planes::Local, 11_162.0),
    ];

    #[test]
    fn the_estimate_is_within_a_quarter_of_every_run_that_was_measured() {
        for (clusters, pods, wave, limit_mib, planes, measured) in MEASURED {
            let estimate = Model::of(&profile(clusters, pods, wave), limit_mib, planes).mib();
            let off = estimate / measured - 1.0;
            assert!(
                off.abs() <= 0.25,
                "{clusters} x {pods} on {planes:?}: {estimate:.0} of {measured}, {off:+.2}"
            );
        }
    }

    #[test]
    fn the_limit_follows_from_the_pods_and_the_machine_unless_it_is_given() {
        let limit = |pods: u32, gib: u64| apiserver_limit_mib(&profile(1, pods, 0), gib * 1024);
        for pods in [150, 2_500, 10_000] {
            assert_eq!(limit(pods, 24), 2048, "{pods} Pods");
        }
        assert_eq!(limit(15_000, 24), 3586);
        assert!((8000..=8300).contains(&limit(30_000, 24)), "{}", limit(30_000, 24));
        let bounded = limit(30_000, 8);
        assert!((2048..6000).contains(&bounded), "a smaller machine gives what it has: {bounded}");
        assert_eq!(limit(30_000, 4), 2048, "and no less than it always gave");
        let mut given = profile(1, 30_000, 0);
        given.control_plane.apiserver_gomemlimit_mib = Some(384);
        assert_eq!(apiserver_limit_mib(&given, 24 * 1024), 384);
        let small = check(&profile(1, 30_000, 0), Planes::Local, 6 * 1024);
        assert_eq!(small, Ok(()), "it fits with the limit that this machine gives");
    }

    #[test]
    fn beside_clusters_that_are_there_little_is_needed() {
        let of = |planes| Model::of(&profile(2, 2_500, 300), 2048, planes).mib();
        assert!(of(Planes::Existing) < 400.0 && of(Planes::Local) < of(Planes::Kind));
        assert_eq!(
            ["local", "kind", "existing"].map(Planes::of),
            [Planes::Local, Planes::Kind, Planes::Existing]
        );
    }
}
