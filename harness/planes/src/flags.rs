//! Flags and environment of a component, whether it runs as a child process or in the node of a kind cluster.

use super::spec::ClusterSpec;
use harness_model::components::{APISERVER, ETCD, KCM};
use harness_model::profile::ControlPlane;

/// `GOGC` of all components except the apiserver, in percent.
const OTHERS_GOGC: u32 = 200;
/// `--max-requests-inflight` of the apiserver.
const MAX_REQUESTS_INFLIGHT: u32 = 2_000;
/// `--max-mutating-requests-inflight` of the apiserver.
const MAX_MUTATING_REQUESTS_INFLIGHT: u32 = 1_000;
/// Memory in MiB that etcd, kube-controller-manager, kube-scheduler and kwok use together under load, for the memory
/// budget.
const OTHERS_MEMORY_MIB: u64 = 900;

/// Returns the memory that one control plane may use, in MiB.
pub(super) fn memory_mib(limits: &ControlPlane) -> u64 {
    u64::from(limits.gomemlimit_mib()) + OTHERS_MEMORY_MIB
}

/// A flag's name, without dashes, and its value.
pub(super) type Flag = (&'static str, String);

fn flag(name: &'static str, value: impl ToString) -> Flag {
    (name, value.to_string())
}

/// Returns the flags of a component: those of a throwaway cluster without kubelets for its Pods, with the limits that
/// the spec asks for.
pub(super) fn common(component: &str, spec: &ClusterSpec) -> Vec<Flag> {
    match component {
        ETCD => etcd(),
        APISERVER => apiserver(),
        KCM => kcm(spec),
        _ => Vec::new(),
    }
}

/// Returns the flags of etcd. Its data are thrown away, so there is no fsync.
fn etcd() -> Vec<Flag> {
    vec![
        flag("unsafe-no-fsync", true),
        flag("quota-backend-bytes", 8_u64 << 30),
        // Ten commits a second write the same pages over and over: the kernel took as much CPU to write them back as
        // etcd itself. Reads see uncommitted data in any case.
        flag("backend-batch-interval", "1s"),
        flag("backend-batch-limit", 20_000),
        flag("log-level", "warn"),
    ]
}

/// Returns the flags of the apiserver: the admission that fits a cluster without kubelets.
fn apiserver() -> Vec<Flag> {
    vec![
        // ServiceAccount: no controller creates the `default` accounts. TaintNodesByCondition: no node-lifecycle
        // controller removes the taint. Priority stays: classes are pre-seeded.
        flag("disable-admission-plugins", "ServiceAccount,TaintNodesByCondition"),
        flag("max-requests-inflight", MAX_REQUESTS_INFLIGHT),
        flag("max-mutating-requests-inflight", MAX_MUTATING_REQUESTS_INFLIGHT),
        // At the default of 100 one HTTP/2 connection with many watches hangs without an error.
        flag("http2-max-streams-per-connection", 1000),
    ]
}

/// Returns the flags of KCM, which runs only the listed controllers.
fn kcm(spec: &ClusterSpec) -> Vec<Flag> {
    let limits = &spec.control_plane;
    let syncs = limits.kcm_concurrent_syncs;
    vec![
        flag("controllers", spec.controllers.join(",")),
        // With RBAC, its own role may not create Pods; the roles of its controllers may.
        flag("use-service-account-credentials", true),
        // Leases get lost under load, and the component then exits.
        flag("leader-elect", false),
        flag("kube-api-qps", limits.kcm_qps),
        flag("kube-api-burst", limits.kcm_burst),
        flag("concurrent-deployment-syncs", syncs),
        flag("concurrent-replicaset-syncs", syncs),
        flag("concurrent-statefulset-syncs", syncs),
        flag("concurrent-gc-syncs", syncs),
        flag("concurrent-namespace-syncs", syncs),
    ]
}

/// Returns the environment of a component: how its garbage collector trades memory for CPU.
pub(super) fn environment(component: &str, spec: &ClusterSpec) -> Vec<Flag> {
    if component == APISERVER {
        let limits = &spec.control_plane;
        return vec![
            flag("GOGC", limits.apiserver_gogc),
            flag("GOMEMLIMIT", format!("{}MiB", limits.gomemlimit_mib())),
        ];
    }
    vec![flag("GOGC", OTHERS_GOGC)]
}
