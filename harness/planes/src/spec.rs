//! What a caller requests of a control plane, and what it gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use harness_model::profile::ControlPlane;
use harness_model::scheduler_config;
use harness_processes::Error;

/// The identities that every control plane has client certificates for. `admin` is in `system:masters`;
/// the others are users `e2e:<identity>` whose rights `fixtures/rbac` grants.
pub const IDENTITIES: [&str; 7] = [
    "admin",
    "observer",
    "load-driver",
    "node-creator",
    "pod-shim",
    "unschedulable-pod-controller",
    "operator",
];

/// The controllers that a workload of Deployments and StatefulSets needs (ADR-0038), and no others.
pub const CONTROLLERS: [&str; 5] = [
    "garbage-collector-controller",
    "namespace-controller",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
];

/// The controller that computes what a PodDisruptionBudget allows: without it, every eviction under one is refused.
pub const DISRUPTION_CONTROLLER: &str = "disruption-controller";

/// The contents of a lease, as requested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseSpec {
    /// The control planes, started in parallel.
    pub clusters: Vec<ClusterSpec>,
}

impl LeaseSpec {
    /// Requests `count` control planes with defaults, named `kwok-cluster-0` and so on.
    pub fn of(count: usize) -> Self {
        Self { clusters: (0..count).map(|n| ClusterSpec::named(&format!("kwok-cluster-{n}"))).collect() }
    }
}

/// One control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Its name, unique within the lease: letters, digits and `-`.
    pub name: String,
    /// Scheduler configuration: a path, or the name of a file in `fixtures/scheduler`.
    #[serde(default = "default_scheduler_config")]
    pub scheduler_config: PathBuf,
    /// Overlay of that configuration: sections are merged key by key, lists of named entries by name; null removes a
    /// key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scheduler_config_overlay: BTreeMap<String, Value>,
    /// kube-controller-manager's `--controllers`.
    #[serde(default = "default_controllers")]
    pub controllers: Vec<String>,
    /// Limits and garbage collector settings; the default is that of a profile without any.
    #[serde(default)]
    pub control_plane: ControlPlane,
    /// Whether to run kube-scheduler; false when the pod-shim binds.
    #[serde(default = "yes")]
    pub run_scheduler: bool,
    /// Flags added at the end of a component's command line, by component name.
    #[serde(default)]
    pub extra_flags: BTreeMap<String, Vec<String>>,
}

impl ClusterSpec {
    /// Returns the configuration that is requested for the scheduler.
    ///
    /// # Errors
    /// Same as [`scheduler_config::effective`].
    pub fn effective_scheduler_config(&self, fixtures: &Path) -> Result<Value, Error> {
        let effective =
            scheduler_config::effective(&self.scheduler_config, &self.scheduler_config_overlay, fixtures);
        effective.map_err(|error| match error {
            scheduler_config::Error::Usage(message) => Error::Usage(message),
            unreadable @ scheduler_config::Error::Read { .. } => Error::Environment(unreadable.to_string()),
        })
    }

    /// Requests a control plane with defaults.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scheduler_config: default_scheduler_config(),
            scheduler_config_overlay: BTreeMap::new(),
            controllers: default_controllers(),
            control_plane: ControlPlane::default(),
            run_scheduler: true,
            extra_flags: BTreeMap::new(),
        }
    }
}

fn default_scheduler_config() -> PathBuf {
    PathBuf::from("most-allocated.yaml")
}

fn default_controllers() -> Vec<String> {
    CONTROLLERS.map(str::to_owned).to_vec()
}

fn yes() -> bool {
    true
}

/// Leased control planes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Names the lease in later requests.
    pub id: String,
    /// In the order of the spec.
    pub clusters: Vec<Cluster>,
}

impl Lease {
    /// Returns the cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.name == name)
    }
}

/// One control plane, verified ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Name from the spec.
    pub name: String,
    /// `https://HOST:PORT` of kube-apiserver.
    pub server: String,
    /// Kubeconfig by identity ([`IDENTITIES`]).
    pub kubeconfigs: BTreeMap<String, PathBuf>,
    /// Directory of the components' log files (`<component>.log`).
    pub logs_dir: PathBuf,
    /// `/metrics` by component. All are TLS with the cluster's CA; see `metrics_kubeconfigs`.
    pub metrics: BTreeMap<String, String>,
    /// Kubeconfig whose server is that component, for scraping it with the `admin` identity.
    pub metrics_kubeconfigs: BTreeMap<String, PathBuf>,
    /// Settings read back from `/configz` of the running components.
    pub read_back: BTreeMap<String, Value>,
    /// For control planes that are not ours: what could not be verified, or differs from what was requested without
    /// being a reason to refuse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The steps of the start.
    pub steps: Vec<Step>,
}

/// One step of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was done.
    pub name: String,
    /// Milliseconds from the beginning of the start to the beginning of the step.
    pub start_ms: u64,
    /// Its duration in milliseconds.
    pub duration_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough() {
        let spec: LeaseSpec = serde_json::from_str(r#"{"clusters":[{"name":"kwok-cluster-0"}]}"#).unwrap();
        assert_eq!(spec, LeaseSpec::of(1));
    }

    #[test]
    fn what_no_profile_made_runs_under_the_limits_of_a_profile() {
        let profile: ControlPlane = serde_json::from_str("{}").unwrap();
        assert_eq!(ClusterSpec::named("a").control_plane, profile);
        assert_eq!(profile.gomemlimit_mib(), 2048);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<LeaseSpec>(r#"{"clusters":[{"name":"a","contrllers":[]}]}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("contrllers"), "{error}");
    }
}
