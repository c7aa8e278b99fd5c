//! Finds values that parse but make no sense.

use std::path::Path;

use super::catalog::Catalog;
use super::error::Problem;
use super::keys;
use super::ranges::Ranges;
use super::types::Profile;
use crate::scheduler_config;

/// Most Pods that Kubernetes supports in one cluster.
pub const PODS_PER_CLUSTER_MAX: u32 = 150_000;
/// Most Pods that node-creator lets a Node hold.
pub const PODS_PER_NODE_MAX: u32 = 1100;
/// Most machines of one shape that a profile may seed instead of the computed number.
const MACHINES_PER_SHAPE_MAX: u32 = 1_000_000;
/// Longest prefix that node-creator may put before the machine's id in a Node's name. The longest id has 23 characters.
const NODE_NAME_PREFIX_MAX: usize = 40;

/// Returns the problems of a profile with its catalog.
pub fn profile(p: &Profile, catalog: &Catalog, fixtures: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    numbers(p, &mut problems);
    fractions(p, &mut problems);
    archetypes(p, catalog, &mut problems);
    wave(p, catalog, &mut problems);
    schedulers(p, catalog, fixtures, &mut problems);
    let prefix = &p.node_creator.node_name_prefix;
    if !prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        || prefix.starts_with('-')
        || prefix.len() > NODE_NAME_PREFIX_MAX
    {
        problems.push(Problem::new(
            "nodeCreator.nodeNamePrefix",
            format!(
                "is `{prefix}`; a Node's name begins with a letter or digit and consists of a-z, 0-9 and -, and the \
                 prefix has at most {NODE_NAME_PREFIX_MAX} characters"
            ),
        ));
    }
    counts(p, &mut problems);
    problems
}

/// Finds counts that a component or Kubernetes would refuse, truncate, or never finish processing.
fn counts(p: &Profile, problems: &mut Vec<Problem>) {
    let int32 = i32::MAX.unsigned_abs();
    let budget = p.disruption_budget.map_or(0, |budget| budget.max_unavailable);
    let ceilings = [
        ("clusters", p.clusters, 1000, "clusters of one run"),
        (
            "podsPerCluster",
            p.pods_per_cluster,
            PODS_PER_CLUSTER_MAX,
            "the Pods Kubernetes supports in one cluster",
        ),
        ("density", p.density, PODS_PER_NODE_MAX, "the Pods that node-creator lets a Node hold"),
        ("disruptionBudget.maxUnavailable", budget, int32, "what Kubernetes can count"),
        ("fill.stepReplicas", p.fill.step_replicas, int32, "what Kubernetes can count"),
        ("controlPlane.apiserverGogc", p.control_plane.apiserver_gogc, int32, "what the Go runtime takes"),
        ("controlPlane.kcmBurst", p.control_plane.kcm_burst, int32, "what kube-controller-manager takes"),
        (
            "controlPlane.kcmConcurrentSyncs",
            p.control_plane.kcm_concurrent_syncs,
            int32,
            "what \
            kube-controller-manager takes",
        ),
    ];
    for (key, value, max, what) in ceilings {
        if value > max {
            problems.push(Problem::new(key, format!("is {value}, beyond {max} ({what})")));
        }
    }
    for (section, machines) in [
        ("inventory.idlePerShape", &p.inventory.idle_per_shape),
        ("inventory.configuredPerShape", &p.inventory.configured_per_shape),
    ] {
        for (shape, n) in machines.iter().filter(|(_, n)| **n > MACHINES_PER_SHAPE_MAX) {
            let message = format!("is {n}, beyond {MACHINES_PER_SHAPE_MAX} (machines of one shape)");
            problems.push(Problem::new(&format!("{section}.{shape}"), message));
        }
    }
}

fn numbers(p: &Profile, problems: &mut Vec<Problem>) {
    let at_least_one = [
        ("clusters", p.clusters),
        ("podsPerCluster", p.pods_per_cluster),
        ("density", p.density),
        ("fill.windowPods", p.fill.window_pods),
        ("fill.stepReplicas", p.fill.step_replicas),
        ("operator.qps", p.operator.qps),
        ("operator.burst", p.operator.burst),
        ("operator.ackConcurrency", p.operator.ack_concurrency),
        ("shard.executeConcurrency", p.shard.execute_concurrency),
        ("unschedulablePodController.qps", p.unschedulable_pod_controller.qps),
        ("unschedulablePodController.burst", p.unschedulable_pod_controller.burst),
        ("unschedulablePodController.concurrency", p.unschedulable_pod_controller.concurrency),
        ("nodeCreator.qps", p.node_creator.qps),
        ("nodeCreator.burst", p.node_creator.burst),
        ("nodeCreator.concurrency", p.node_creator.concurrency),
        ("loadDriver.qps", p.load_driver.qps),
        ("loadDriver.burst", p.load_driver.burst),
        ("loadDriver.concurrency", p.load_driver.concurrency),
        ("controlPlane.apiserverGogc", p.control_plane.apiserver_gogc),
        ("controlPlane.apiserverGomemlimitMib", p.control_plane.gomemlimit_mib()),
        ("controlPlane.kcmQps", p.control_plane.kcm_qps),
        ("controlPlane.kcmBurst", p.control_plane.kcm_burst),
        ("controlPlane.kcmConcurrentSyncs", p.control_plane.kcm_concurrent_syncs),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            problems.push(Problem::new(key, "is 0, but must be at least 1"));
        }
    }
    let not_instant = [
        ("phases.rampBudget", p.phases.ramp_budget),
        ("operator.rollupInterval", p.operator.rollup_interval),
        ("shard.cycleInterval", p.shard.cycle_interval),
    ];
    for (key, span) in not_instant {
        if span.0.is_zero() {
            problems.push(Problem::new(key, "is 0s, but must be longer"));
        }
    }
    if p.workloads == super::Workloads::Bare && p.demand_wave.is_some() {
        problems.push(Problem::new(
            "demandWave",
            "needs `workloads: controller-managed`; bare Pods have no replicas to scale",
        ));
    }
}

fn fractions(p: &Profile, problems: &mut Vec<Problem>) {
    let unit = [
        (
            "churnPerMinute",
            Some(p.churn_per_minute),
            " (a share of the target per minute, not a number of Pods)",
        ),
        ("inventory.configuredFraction", Some(p.inventory.configured_fraction), ""),
        ("shard.reclaimCapFraction", p.shard.reclaim_cap_fraction, ""),
        ("shard.createFailureRate", Some(p.shard.create_failure_rate), ""),
        ("shard.configureFailureRate", Some(p.shard.configure_failure_rate), ""),
        ("slo.boundRatioMin", p.slo.bound_ratio_min, ""),
    ];
    for (key, value, note) in unit {
        if let Some(v) = value.filter(|v| !(0.0..=1.0).contains(v)) {
            problems.push(Problem::new(key, format!("is {v}, but must be within 0 and 1{note}")));
        }
    }
    let multiples = [
        ("inventory.headroomFraction", p.inventory.headroom_fraction),
        ("inventory.speculativeFraction", p.inventory.speculative_fraction),
    ];
    for (key, v) in multiples {
        if !(0.0..=100.0).contains(&v) {
            problems
                .push(Problem::new(key, format!("is {v}, but must be within 0 and 100 (0.1 = 10 % more)")));
        }
    }
    let seconds = [
        ("slo.unboundSecondsMax", p.slo.unbound_seconds_max),
        ("slo.bindingLatencySecondsP99", p.slo.binding_latency_seconds_p99),
        ("slo.shardCycleSecondsP99", p.slo.shard_cycle_seconds_p99),
        ("slo.operatorRollupSecondsP99", p.slo.operator_rollup_seconds_p99),
        ("slo.operatorAckSecondsP99", p.slo.operator_ack_seconds_p99),
    ];
    for (key, value) in seconds {
        if let Some(v) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
            problems.push(Problem::new(key, format!("is {v}, but must be above 0 seconds")));
        }
    }
}

fn archetypes(p: &Profile, catalog: &Catalog, problems: &mut Vec<Problem>) {
    let known = || catalog.archetypes.keys().map(String::as_str);
    for (section, names) in [
        ("podsPerArchetype", p.pods_per_archetype.keys().collect::<Vec<_>>()),
        ("inventory.idlePerShape", p.inventory.idle_per_shape.keys().collect()),
        ("inventory.configuredPerShape", p.inventory.configured_per_shape.keys().collect()),
    ] {
        for name in names.into_iter().filter(|n| !catalog.archetypes.contains_key(*n)) {
            let what = format!("archetype of catalog {}", catalog.name);
            problems.push(Problem::new(&format!("{section}.{name}"), keys::unknown(&what, known(), name)));
        }
    }
    if p.pods_per_archetype.is_empty() {
        if !catalog.archetypes.values().any(|a| a.weight > 0.0) {
            problems.push(Problem::new(
                "podsPerArchetype",
                format!("is missing, and catalog {} has no weights to derive it from", catalog.name),
            ));
        }
        return;
    }
    let sum: u64 = p.pods_per_archetype.values().map(|n| u64::from(*n)).sum();
    if sum != u64::from(p.pods_per_cluster) {
        problems.push(Problem::new(
            "podsPerArchetype",
            format!("adds up to {sum}, but podsPerCluster is {}; change one of them", p.pods_per_cluster),
        ));
    }
}

/// Checks that the scheduler configuration exists and has a scheduler for every Pod.
fn schedulers(p: &Profile, catalog: &Catalog, fixtures: &Path, problems: &mut Vec<Problem>) {
    let mut refuse = |message: String| problems.push(Problem::new("harness.schedulerConfig", message));
    let (file, overlay) = (&p.harness.scheduler_config, &p.harness.scheduler_config_overlay);
    let config = match scheduler_config::effective(Path::new(file), overlay, fixtures) {
        Ok(config) => config,
        Err(error) => return refuse(error.to_string()),
    };
    let known = scheduler_config::names(&config);
    for (name, archetype) in &catalog.archetypes {
        let is_used = match p.pods_per_archetype.is_empty() {
            true => archetype.weight > 0.0,
            false => p.pods_per_archetype.get(name).is_some_and(|pods| *pods > 0),
        };
        if let Some(wanted) = archetype.scheduler_name.as_deref().filter(|n| is_used && !known.contains(n)) {
            refuse(format!(
                "has no scheduler {wanted}, which Pods of {name} ask for, but {}; add it to \
                 harness.schedulerConfigOverlay.profiles",
                known.join(", ")
            ));
        }
    }
}

fn wave(p: &Profile, catalog: &Catalog, problems: &mut Vec<Problem>) {
    let Some(wave) = &p.demand_wave else { return };
    let Some(archetype) = catalog.archetypes.get(&wave.archetype) else {
        let known = catalog.archetypes.keys().map(String::as_str);
        let message =
            keys::unknown(&format!("archetype of catalog {}", catalog.name), known, &wave.archetype);
        return problems.push(Problem::new("demandWave.archetype", message));
    };
    if archetype.gang.is_some() {
        problems.push(Problem::new("demandWave.archetype", "is a gang, whose size is fixed"));
    }
    if wave.replicas == 0 {
        problems.push(Problem::new("demandWave.replicas", "is 0; leave demandWave out instead"));
    }
    if wave.period.0.is_zero() {
        problems.push(Problem::new("demandWave.period", "is 0s, but must be longer"));
    }
    // With weights, an archetype has fewer Pods than its cluster.
    let base = match p.pods_per_archetype.is_empty() {
        true => Some(&p.pods_per_cluster),
        false => p.pods_per_archetype.get(&wave.archetype),
    };
    if let Some(base) = base
        && wave.replicas >= *base
    {
        let message = format!("is {}, but {} has only {base} Pods to swing", wave.replicas, wave.archetype);
        problems.push(Problem::new("demandWave.replicas", message));
    }
}

/// Returns the problems of a ranges file.
pub fn ranges(r: &Ranges) -> Vec<Problem> {
    let everywhere = r.metrics.iter().map(|(name, range)| (format!("metrics.{name}"), range));
    let of_classes = r.machine_classes.iter().flat_map(|(class, own)| {
        own.iter().map(move |(name, range)| (format!("machineClasses.{class}.{name}"), range))
    });
    let mut problems = Vec::new();
    for (key, range) in everywhere.chain(of_classes) {
        match (range.min, range.max) {
            (None, None) => problems.push(Problem::new(&key, "has neither min nor max")),
            (Some(min), Some(max)) if min > max => {
                problems.push(Problem::new(&key, format!("has min {min} above max {max}")));
            }
            _ => {}
        }
        if range.calibrated.trim().is_empty() {
            problems.push(Problem::new(
                &key,
                "does not say how it was calibrated; write `placeholder` if it was not",
            ));
        }
    }
    problems
}
