//! What a run should have done: the judge's extract of profile, plan and ranges.

use std::collections::BTreeMap;

use api::quantity::Amount;

use crate::judge::Error;
use harness_model::plan::{Plan, machines_whole};
use harness_model::profile::{Ranges, Scheduler, Slo};
use harness_model::record::RunDir;
use harness_model::summary::{Bound, machine};

/// What is expected of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// Name of the profile.
    pub profile: String,
    /// Seed of everything random.
    pub seed: u64,
    /// sha256 of the plan.
    pub plan_digest: String,
    /// Names of the clusters, in order.
    pub clusters: Vec<String>,
    /// Pods of each cluster.
    pub pods_per_cluster: u64,
    /// Machines by Need.
    pub needs: Vec<ExpectedNeed>,
    /// What binds Pods.
    pub scheduler: Scheduler,
    /// Resources that a Pod of each workload object takes on a Node, including the Pod itself.
    pub requests: BTreeMap<String, Amounts>,
    /// Whether Pods are churned during the soak.
    pub has_churn: bool,
    /// Whether demand swings during the soak.
    pub has_wave: bool,
    /// Seconds that a deleted Pod stays Terminating, as set by the profile.
    pub pod_termination_s: u64,
    /// Metrics that must be judged according to the profile; empty if it does not say.
    pub listed: Vec<String>,
    /// Objectives by metric.
    pub slos: BTreeMap<String, Bound>,
    /// Ranges by metric, as they apply to this machine.
    pub ranges: BTreeMap<String, Bound>,
    /// The machine's class; `None` if it was not recorded.
    pub machine_class: Option<String>,
    /// Whether the control planes were existing clusters, whose processes cannot be sampled.
    pub theirs: bool,
    /// Whether ranges were calibrated on machines of that class. If not, the ranges are those for every machine, which
    /// are wide.
    pub is_calibrated: bool,
    /// Ranges that hold at reference speed, each with the version of the host speed index that it is normalised by.
    pub normalised_ranges: BTreeMap<String, u32>,
}

/// Amounts by resource name, in thousandths of the resource's unit.
pub type Amounts = BTreeMap<String, i128>;

/// Returns the amounts of quantities. A text that is not a quantity is left out, and so not measured.
pub fn amounts<'a>(quantities: impl IntoIterator<Item = (&'a String, &'a String)>) -> Amounts {
    let amount =
        |(name, text): (&String, &String)| Some((name.clone(), text.parse::<Amount>().ok()?.milli()));
    quantities.into_iter().filter_map(amount).collect()
}

/// What one archetype needs in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedNeed {
    /// Cluster.
    pub cluster: String,
    /// Archetype.
    pub archetype: String,
    /// Pods.
    pub pods: u64,
    /// Pods that one machine holds.
    pub density: u64,
    /// Machines that the plan predicts, with each Need of the archetype rounded up on its own. The fewest, if the
    /// profile says that its counts are not exact.
    pub machines: u64,
    /// The most machines that the plan predicts.
    pub machines_most: u64,
    /// Fewest machines that hold the Pods, whatever they ask for other than resources.
    pub lower_bound: u64,
}

impl Expect {
    /// Reads the plan and the ranges of a run, and the machine that it ran on.
    ///
    /// # Errors
    /// When the plan is missing, or one of the three cannot be understood. Missing ranges are not an error here: the
    /// metrics that they should have gated fail.
    pub fn load(dir: &RunDir) -> Result<Self, Error> {
        let plan: Plan = dir.read_json(&dir.plan())?;
        let ranges = match std::fs::read_to_string(dir.ranges()) {
            Ok(text) => serde_saphyr::from_str(&text)
                .map_err(|e| Error::Expectation(format!("{}: {e}", dir.ranges().display())))?,
            Err(_) => Ranges::default(),
        };
        let host: Option<serde_json::Value> =
            if dir.host().exists() { Some(dir.read_json(&dir.host())?) } else { None };
        let theirs = host.as_ref().is_some_and(machine::is_beside_foreign_clusters);
        Ok(Self { theirs, ..Self::of(&plan, &ranges, host.as_ref().and_then(machine::class)) })
    }

    /// Returns what a plan and its ranges expect on a machine of that class.
    pub fn of(plan: &Plan, ranges: &Ranges, machine_class: Option<String>) -> Self {
        let profile = &plan.profile;
        let class = machine_class.as_deref();
        let ranges_here = ranges.on(class);
        Self {
            profile: profile.name.clone(),
            seed: profile.seed,
            plan_digest: plan.digest(),
            clusters: plan.clusters.iter().map(|c| c.name.clone()).collect(),
            pods_per_cluster: u64::from(profile.pods_per_cluster),
            needs: needs(plan),
            scheduler: profile.harness.scheduler,
            requests: requests(plan),
            has_churn: profile.churn_per_minute > 0.0,
            has_wave: profile.demand_wave.is_some(),
            pod_termination_s: profile.control_plane.pod_termination.0.as_secs(),
            listed: ranges.gates.clone(),
            slos: slos(&profile.slo),
            normalised_ranges: ranges_here
                .iter()
                .filter_map(|(name, range)| Some((name.clone(), range.index_version?)))
                .collect(),
            ranges: ranges_here
                .into_iter()
                .map(|(name, range)| (name, Bound { min: range.min, max: range.max }))
                .collect(),
            theirs: false,
            is_calibrated: ranges.is_calibrated_on(class),
            machine_class,
        }
    }

    /// Returns why a metric does not apply to this run; `None` if it applies.
    pub fn inapplicable(&self, metric: &str) -> Option<&'static str> {
        match metric {
            "failed_attempts_per_pod" if self.scheduler == Scheduler::PodShim => {
                Some("pod-shim binds the Pods, and no kube-scheduler runs whose attempts could be counted")
            }
            "cpu_ms_per_pod" | "harness_and_fleet_cpu_share" | "memory_mib_max" if self.theirs => {
                Some("the control planes are not processes of this run, and what they used was not measured")
            }
            _ => None,
        }
    }

    /// Returns the Pods over all clusters.
    pub fn total_pods(&self) -> u64 {
        self.pods_per_cluster * self.clusters.len() as u64
    }
}

/// Returns the machines by cluster and archetype; gangs and spread parts of one archetype are added up.
fn needs(plan: &Plan) -> Vec<ExpectedNeed> {
    let mut needs: BTreeMap<(&str, &str), (ExpectedNeed, f64)> = BTreeMap::new();
    for cluster in &plan.clusters {
        for need in &cluster.needs {
            let archetype = &plan.catalog.archetypes[&need.archetype];
            let (expected, exact) = needs.entry((&cluster.name, &need.archetype)).or_insert_with(|| {
                let expected = ExpectedNeed {
                    cluster: cluster.name.clone(),
                    archetype: need.archetype.clone(),
                    density: u64::from(archetype.pods_per_machine(plan.profile.density)),
                    ..ExpectedNeed::default()
                };
                (expected, 0.0)
            });
            expected.pods += u64::from(need.pods);
            let (fewest, most) = need.machines_quiet(&plan.profile, &plan.catalog);
            expected.machines += u64::from(fewest);
            expected.machines_most += u64::from(most);
            *exact += need.machines_exact;
        }
    }
    let rounded = |(need, exact): (ExpectedNeed, f64)| ExpectedNeed {
        lower_bound: u64::from(machines_whole(exact)),
        ..need
    };
    needs.into_values().map(rounded).collect()
}

fn requests(plan: &Plan) -> BTreeMap<String, Amounts> {
    let of = |w: &harness_model::plan::Workload| {
        let mut requests = amounts(&plan.catalog.archetypes[&w.archetype].sizes[w.size].requests);
        requests.insert("pods".to_owned(), 1000);
        (w.name.clone(), requests)
    };
    plan.clusters.iter().flat_map(|c| &c.workloads).map(of).collect()
}

/// Returns the profile's objectives by the metric that each bounds.
fn slos(slo: &Slo) -> BTreeMap<String, Bound> {
    let all = [
        ("bound_ratio", slo.bound_ratio_min.map(Bound::min)),
        ("unbound_pods_end", slo.unbound_pods_end_max.map(|n| Bound::max(f64::from(n)))),
        ("unbound_s_max", slo.unbound_seconds_max.map(Bound::max)),
        ("bind_latency_soak_s_p99", slo.binding_latency_seconds_p99.map(Bound::max)),
        ("shard_cycle_s_p99", slo.shard_cycle_seconds_p99.map(Bound::max)),
        ("operator_rollup_s_p99", slo.operator_rollup_seconds_p99.map(Bound::max)),
        ("operator_ack_s_p99", slo.operator_ack_seconds_p99.map(Bound::max)),
        ("shortfalls_max", slo.shortfalls_max.map(|n| Bound::max(f64::from(n)))),
        ("new_capacity_samples", slo.new_capacity_samples_min.map(|n| Bound::min(f64::from(n)))),
    ];
    all.into_iter().filter_map(|(metric, bound)| Some((metric.to_owned(), bound?))).collect()
}
