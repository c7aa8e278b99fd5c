//! Names of the components of a control plane, as in log files, verbs and metrics.

/// The store.
pub const ETCD: &str = "etcd";
/// The API.
pub const APISERVER: &str = "kube-apiserver";
/// The controllers.
pub const KCM: &str = "kube-controller-manager";
/// The scheduler.
pub const SCHEDULER: &str = "kube-scheduler";
/// The simulator of the kubelets of fake Nodes.
pub const KWOK: &str = "kwok";

/// All of them.
pub const ALL: [&str; 5] = [ETCD, APISERVER, KCM, SCHEDULER, KWOK];
