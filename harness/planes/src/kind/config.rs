//! The configuration of kind and kubeadm. Pure: settings in, documents out.
//!
//! Sources: kind docs, "Configuration"; kubeadm API v1beta4. A list in a patch replaces kind's list.

use std::path::Path;

use serde_json::{Value, json};

use crate::flags::{Flag, common, environment};
use crate::spec::ClusterSpec;
use harness_model::components::{APISERVER, ETCD, KCM, KWOK, SCHEDULER};

/// Directory of our files in the node, copied from [`MOUNT`] when it boots.
pub(super) const HOME: &str = "/etc/e2e";
/// Where the node's files are mounted; everything below `root` there is copied over `/` when the node boots.
pub(super) const MOUNT: &str = "/e2e";
/// Directory of the apiserver's audit log.
pub(super) const AUDIT_DIR: &str = "/var/log/e2e";
/// Ports on which KCM and scheduler listen in the node (their defaults).
pub(super) const KCM_PORT: u16 = 10257;
/// See [`KCM_PORT`].
pub(super) const SCHEDULER_PORT: u16 = 10259;
/// Port on which kind makes the apiserver listen in the node.
pub(super) const APISERVER_PORT: u16 = 6443;
/// The taint that keeps Pods off the real Node.
const TAINT: &str = "e2e-control-plane";

/// Returns kind's configuration of a cluster whose files are in `files` on the host.
pub(super) fn kind(spec: &ClusterSpec, files: &Path, etcd_tag: &str) -> Value {
    let patches = [cluster(spec, etcd_tag), init(), kubelet()].map(|patch| patch.to_string());
    json!({
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {
            // Our Pods never really run, and the real ones use the node's network.
            "disableDefaultCNI": true,
            "kubeProxyMode": "none",
            "ipFamily": "ipv4",
            // The subnet of the pre-seeded etcd data.
            "serviceSubnet": "10.0.0.0/24",
            "apiServerAddress": "127.0.0.1",
            // The engine chooses the port: kind would guess one and occasionally lose it to another cluster.
            "apiServerPort": -1,
        },
        "nodes": [{
            "role": "control-plane",
            "extraMounts": [{"hostPath": files, "containerPath": MOUNT, "readOnly": true}],
            "kubeadmConfigPatches": patches,
        }],
    })
}

fn cluster(spec: &ClusterSpec, etcd_tag: &str) -> Value {
    let home = volume("e2e", HOME, true, "Directory");
    json!({
        "kind": "ClusterConfiguration",
        // Generating RSA keys takes longer than everything else that kubeadm does.
        "encryptionAlgorithm": "ECDSA-P256",
        "dns": {"disabled": true},
        "proxy": {"disabled": true},
        "etcd": {"local": {
            "imageTag": etcd_tag,
            "extraArgs": args(ETCD, spec, Vec::new()),
            "extraEnvs": envs(ETCD, spec),
        }},
        "apiServer": {
            "extraArgs": args(APISERVER, spec, vec![
                ("audit-policy-file", format!("{HOME}/audit-policy.yaml")),
                ("audit-log-path", format!("{AUDIT_DIR}/audit.log")),
            ]),
            "extraEnvs": envs(APISERVER, spec),
            "extraVolumes": [home, volume("e2e-audit", AUDIT_DIR, false, "DirectoryOrCreate")],
        },
        "controllerManager": {
            "extraArgs": args(KCM, spec, serving()),
            "extraEnvs": envs(KCM, spec),
            "extraVolumes": [home],
        },
        "scheduler": {
            "extraArgs": args(SCHEDULER, spec, {
                let mut flags = serving();
                flags.push(("config", format!("{HOME}/scheduler.json")));
                // kubeadm sets this flag as well; it is given again because with --config the file is meant to count.
                flags.push(("leader-elect", "false".to_owned()));
                flags
            }),
            "extraEnvs": envs(SCHEDULER, spec),
            "extraVolumes": [home],
        },
    })
}

/// Returns a volume that mounts a directory of the node at the same path in the Pod.
fn volume(name: &str, path: &str, read_only: bool, kind: &str) -> Value {
    json!({
        "name": name,
        "hostPath": path,
        "mountPath": path,
        "readOnly": read_only,
        "pathType": kind,
    })
}

/// Returns the flags that make a component reachable from the host, with a certificate that the clients trust.
fn serving() -> Vec<Flag> {
    vec![
        ("bind-address", "0.0.0.0".to_owned()),
        ("tls-cert-file", format!("{HOME}/server.crt")),
        ("tls-private-key-file", format!("{HOME}/server.key")),
        ("authorization-always-allow-paths", "/healthz,/readyz,/livez,/metrics".to_owned()),
    ]
}

fn args(component: &str, spec: &ClusterSpec, own: Vec<Flag>) -> Value {
    let pair = |name: &str, value: &str| json!({"name": name, "value": value});
    let known = common(component, spec).into_iter().chain(own).map(|(name, value)| pair(name, &value));
    let extra = spec.extra_flags.get(component).into_iter().flatten().map(|flag| {
        let (name, value) = flag.split_once('=').unwrap_or((flag, "true"));
        pair(name.trim_start_matches('-'), value)
    });
    known.chain(extra).collect()
}

fn envs(component: &str, spec: &ClusterSpec) -> Value {
    environment(component, spec)
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

/// Reserves the real Node for the control plane. kind removes kubeadm's taint from a single node, so ours is needed as
/// well.
fn init() -> Value {
    let taint = |key: &str| json!({"key": key, "effect": "NoSchedule"});
    json!({
        "kind": "InitConfiguration",
        "nodeRegistration": {"taints": [taint("node-role.kubernetes.io/control-plane"), taint(TAINT)]},
        "patches": {"directory": format!("{HOME}/patches")},
        // Instead of four minutes; as with local components, only a fault takes this long.
        "timeouts": {"kubeletHealthCheck": "90s", "controlPlaneComponentHealthCheck": "90s"},
    })
}

fn kubelet() -> Value {
    json!({
        "kind": "KubeletConfiguration",
        // The node has no systemd.
        "cgroupDriver": "cgroupfs",
        // From 1.35 on, kubelet refuses cgroup v1 without this setting; it does not matter with v2.
        "failCgroupV1": false,
        // A log is read as a whole, at the end, so it must not be rotated.
        "containerLogMaxSize": "1Gi",
    })
}

/// Returns kubeadm's patches of its static Pods, by file name. They have no probes: a paused component must not be
/// mistaken for a dead one, and only kubelet decides when it starts again.
pub(super) fn pod_patches() -> Vec<(String, Value)> {
    let patch = |component: &str| {
        let probes =
            json!({"name": component, "livenessProbe": null, "startupProbe": null, "readinessProbe": null});
        (format!("{component}+strategic.json"), json!({"spec": {"containers": [probes]}}))
    };
    [ETCD, APISERVER, KCM, SCHEDULER].map(patch).into()
}

/// Returns kwok as a static Pod, at the same priority as the apiserver: it stands for as many kubelets as there are
/// Nodes.
pub(super) fn kwok_pod(spec: &ClusterSpec, image: &str) -> Value {
    let home = json!({"name": "e2e", "mountPath": HOME, "readOnly": true});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": KWOK, "namespace": "kube-system", "labels": {"component": KWOK}},
        "spec": {
            "hostNetwork": true,
            "priorityClassName": "system-node-critical",
            "containers": [{
                "name": KWOK,
                "image": image,
                "imagePullPolicy": "Never",
                "command": [KWOK],
                "args": [
                    format!("--config={HOME}/kwok.yaml"),
                    format!("--kubeconfig={HOME}/kwok.kubeconfig"),
                    "--v=WARN",
                ],
                "env": envs(KWOK, spec),
                "resources": {"requests": {"cpu": "250m"}},
                "volumeMounts": [home],
            }],
            "volumes": [{"name": "e2e", "hostPath": {"path": HOME, "type": "Directory"}}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(spec: &ClusterSpec, kind_of: &str) -> Value {
        let config = kind(spec, Path::new("/files"), "3.7.3-0");
        let patches = config["nodes"][0]["kubeadmConfigPatches"].as_array().unwrap();
        let all = patches.iter().map(|text| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap());
        all.into_iter().find(|patch| patch["kind"] == kind_of).unwrap()
    }

    fn value<'a>(patch: &'a Value, at: &str, name: &str) -> &'a str {
        let args = patch.pointer(at).and_then(Value::as_array).unwrap();
        args.iter().rfind(|arg| arg["name"] == name).and_then(|arg| arg["value"].as_str()).unwrap()
    }

    #[test]
    fn the_limits_are_those_of_the_spec() {
        let mut spec = ClusterSpec::named("c");
        spec.control_plane.kcm_qps = 77;
        spec.controllers = vec!["deployment-controller".to_owned()];
        let patch = patch(&spec, "ClusterConfiguration");
        assert_eq!(value(&patch, "/controllerManager/extraArgs", "kube-api-qps"), "77");
        assert_eq!(value(&patch, "/controllerManager/extraArgs", "controllers"), "deployment-controller");
        assert_eq!(value(&patch, "/etcd/local/extraArgs", "unsafe-no-fsync"), "true");
        assert_eq!(value(&patch, "/apiServer/extraEnvs", "GOMEMLIMIT"), "2048MiB");
    }

    #[test]
    fn extra_flags_come_last() {
        let mut spec = ClusterSpec::named("c");
        spec.extra_flags.insert(APISERVER.to_owned(), vec!["--max-requests-inflight=5".to_owned()]);
        let patch = patch(&spec, "ClusterConfiguration");
        assert_eq!(value(&patch, "/apiServer/extraArgs", "max-requests-inflight"), "5");
    }

    #[test]
    fn the_only_port_on_the_host_is_on_loopback() {
        let config = kind(&ClusterSpec::named("c"), Path::new("/files"), "3.7.3-0");
        assert_eq!(config["networking"]["apiServerAddress"], "127.0.0.1");
        assert!(config["nodes"][0].get("extraPortMappings").is_none());
    }
}
