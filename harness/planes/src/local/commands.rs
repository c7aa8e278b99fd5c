//! Command lines of the control-plane components. Pure: paths, ports and settings in, plans out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::access::Servers;
use crate::certs::Pair;
use crate::flags::{common, environment};
use crate::kwok;
use crate::spec::ClusterSpec;
use harness_model::components::{APISERVER, ETCD, KCM, KWOK, SCHEDULER};
use harness_processes::{CLIENT_NICE, ProcessSpec};

/// The ports of one control plane, on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct PlanePorts {
    /// kube-apiserver.
    pub apiserver: u16,
    /// kube-controller-manager.
    pub kcm: u16,
    /// kube-scheduler.
    pub scheduler: u16,
}

impl PlanePorts {
    /// Returns the addresses at which clients find the servers.
    pub(crate) fn servers(&self) -> Servers {
        Servers::on("127.0.0.1", [self.apiserver, self.kcm, self.scheduler])
    }
}

/// Everything that the command lines of one control plane refer to.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Directory of the binaries.
    pub tools: PathBuf,
    /// Scratch directory of this control plane.
    pub dir: PathBuf,
    /// Directory of the log files.
    pub logs: PathBuf,
    /// kube-apiserver's audit policy.
    pub audit_policy: PathBuf,
    /// Ports.
    pub ports: PlanePorts,
    /// The authority that all client certificates are checked against.
    pub ca_cert: PathBuf,
    /// Serving certificate of all components.
    pub serving: Pair,
    /// Key pair for service account tokens.
    pub service_account: Pair,
    /// Kubeconfigs of the components, by component name.
    pub kubeconfigs: BTreeMap<String, PathBuf>,
}

impl Layout {
    /// Returns the addresses at which clients find the servers.
    pub(crate) fn servers(&self) -> Servers {
        self.ports.servers()
    }

    /// Returns etcd's data directory.
    pub fn etcd_data(&self) -> PathBuf {
        self.dir.join("etcd")
    }

    /// Returns etcd's client socket.
    pub fn etcd_socket(&self) -> PathBuf {
        self.dir.join("etcd.sock")
    }

    fn process(&self, name: &str, args: Vec<String>, spec: &ClusterSpec) -> ProcessSpec {
        let mut argv = vec![text(&self.tools.join(name))];
        argv.extend(args);
        argv.extend(common(name, spec).into_iter().map(|(name, value)| format!("--{name}={value}")));
        argv.extend(spec.extra_flags.get(name).into_iter().flatten().cloned());
        ProcessSpec {
            argv,
            env: environment(name, spec).into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            // kwok stands for as many kubelets as there are Nodes: if it lags, Pods do not end and drains fail. With
            // kwok ahead of the apiserver, and a longer history of events, the fill took half as long again.
            nice: if [ETCD, APISERVER, KWOK].contains(&name) { 0 } else { CLIENT_NICE },
            log_file: self.logs.join(format!("{name}.log")),
            may_finish: false,
            ready_file: None,
        }
    }

    /// Plans etcd: one member, on unix sockets that other users cannot reach.
    pub fn etcd(&self, spec: &ClusterSpec) -> ProcessSpec {
        let client = format!("unix://{}", self.etcd_socket().display());
        let peer = format!("unix://{}", self.dir.join("peer.sock").display());
        let args = flags(&[
            ("name", "e2e"),
            ("data-dir", &text(&self.etcd_data())),
            ("listen-client-urls", &client),
            ("advertise-client-urls", &client),
            ("listen-peer-urls", &peer),
            ("initial-advertise-peer-urls", &peer),
            ("initial-cluster", &format!("e2e={peer}")),
        ]);
        self.process(ETCD, args, spec)
    }

    /// Plans kube-apiserver: TLS on loopback, and RBAC.
    pub fn apiserver(&self, spec: &ClusterSpec) -> ProcessSpec {
        let args = flags(&[
            ("etcd-servers", &format!("unix://{}", self.etcd_socket().display())),
            ("bind-address", "127.0.0.1"),
            ("advertise-address", "127.0.0.1"),
            ("secure-port", &self.ports.apiserver.to_string()),
            ("permit-port-sharing", "true"),
            ("tls-cert-file", &text(&self.serving.cert)),
            ("tls-private-key-file", &text(&self.serving.key)),
            ("client-ca-file", &text(&self.ca_cert)),
            ("authorization-mode", "RBAC"),
            ("anonymous-auth", "false"),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            ("service-account-key-file", &text(&self.service_account.cert)),
            ("service-account-signing-key-file", &text(&self.service_account.key)),
            ("service-cluster-ip-range", "10.0.0.0/24"),
            // Its check refuses loopback addresses, and nothing uses the `kubernetes` Service.
            ("endpoint-reconciler-type", "none"),
            ("audit-policy-file", &text(&self.audit_policy)),
            ("audit-log-path", &text(&self.logs.join("audit.log"))),
        ]);
        self.process(APISERVER, args, spec)
    }

    /// Plans kube-controller-manager.
    pub fn kcm(&self, spec: &ClusterSpec) -> ProcessSpec {
        let mut args = self.delegated(KCM, self.ports.kcm);
        args.extend(flags(&[
            ("service-account-private-key-file", &text(&self.service_account.key)),
            ("root-ca-file", &text(&self.ca_cert)),
            ("kubeconfig", &text(&self.kubeconfigs[KCM])),
        ]));
        self.process(KCM, args, spec)
    }

    /// Plans kube-scheduler with a rendered configuration.
    pub fn scheduler(&self, spec: &ClusterSpec, config: &Path) -> ProcessSpec {
        let mut args = self.delegated(SCHEDULER, self.ports.scheduler);
        args.extend(flags(&[("config", &text(config))]));
        self.process(SCHEDULER, args, spec)
    }

    /// Plans kwok without a server, and therefore without a port.
    pub fn kwok(&self, spec: &ClusterSpec, config: &Path) -> ProcessSpec {
        self.process(KWOK, kwok::flags(config, &self.kubeconfigs[KWOK]).into(), spec)
    }

    /// Returns the serving flags of KCM and scheduler: the apiserver decides who may read from them.
    fn delegated(&self, name: &str, port: u16) -> Vec<String> {
        let kubeconfig = text(&self.kubeconfigs[name]);
        flags(&[
            ("bind-address", "127.0.0.1"),
            ("secure-port", &port.to_string()),
            ("permit-port-sharing", "true"),
            ("tls-cert-file", &text(&self.serving.cert)),
            ("tls-private-key-file", &text(&self.serving.key)),
            ("client-ca-file", &text(&self.ca_cert)),
            ("authentication-kubeconfig", &kubeconfig),
            ("authorization-kubeconfig", &kubeconfig),
            ("authentication-skip-lookup", "true"),
            ("authorization-always-allow-paths", "/healthz,/readyz,/livez,/metrics"),
        ])
    }
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let pair = Pair { cert: "/s/c.crt".into(), key: "/s/c.key".into() };
        let kubeconfigs =
            [KCM, SCHEDULER, KWOK].map(|name| (name.to_owned(), PathBuf::from(format!("/s/{name}")))).into();
        Layout {
            tools: "/t".into(),
            dir: "/s".into(),
            logs: "/l".into(),
            audit_policy: "/s/audit.yaml".into(),
            ports: PlanePorts { apiserver: 1, kcm: 2, scheduler: 3 },
            ca_cert: "/s/ca.crt".into(),
            serving: pair.clone(),
            service_account: pair,
            kubeconfigs,
        }
    }

    #[test]
    fn everything_listens_on_loopback_or_on_a_unix_socket() {
        let (layout, spec) = (layout(), ClusterSpec::named("c"));
        for plan in
            [layout.apiserver(&spec), layout.kcm(&spec), layout.scheduler(&spec, Path::new("/s/k.json"))]
        {
            assert!(plan.argv.contains(&"--bind-address=127.0.0.1".to_owned()), "{:?}", plan.argv);
        }
        let etcd = layout.etcd(&spec).argv;
        assert!(etcd.iter().filter(|a| a.contains("listen-")).all(|a| a.contains("=unix://")), "{etcd:?}");
    }

    #[test]
    fn extra_flags_come_last_and_only_to_their_component() {
        let mut spec = ClusterSpec::named("c");
        spec.extra_flags.insert(APISERVER.to_owned(), vec!["--no-such-flag".to_owned()]);
        assert_eq!(layout().apiserver(&spec).argv.last().unwrap(), "--no-such-flag");
        assert!(!layout().kcm(&spec).argv.iter().any(|a| a == "--no-such-flag"));
    }
}
