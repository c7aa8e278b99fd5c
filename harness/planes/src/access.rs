//! Access to a control plane: a kubeconfig for each identity and component, and its description in a lease.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Error;
use super::certs::{Authority, write_kubeconfig};
use super::proof::component_kubeconfig;
use super::spec::{Cluster, ClusterSpec, IDENTITIES, Step};
use harness_model::components::{APISERVER, KCM, KWOK, SCHEDULER};

/// Components that are clients of the apiserver, and the users that they authenticate as.
pub(super) const COMPONENT_USERS: [(&str, &str); 3] =
    [(KCM, "system:kube-controller-manager"), (SCHEDULER, "system:kube-scheduler"), (KWOK, KWOK_USER)];

/// The user that `fixtures/kwok/rbac.yaml` grants rights to.
pub(super) const KWOK_USER: &str = "e2e:kwok";

/// The name that all serving certificates have in common.
pub(super) const SERVER_NAME: &str = "kubernetes";

/// The servers of a control plane, as clients address them (`https://HOST:PORT`).
pub(super) struct Servers {
    pub apiserver: String,
    /// None if it cannot be reached.
    pub kcm: Option<String>,
    /// None if it cannot be reached.
    pub scheduler: Option<String>,
}

impl Servers {
    /// Returns the URLs of the three servers on one host.
    pub(super) fn on(host: &str, [apiserver, kcm, scheduler]: [u16; 3]) -> Self {
        let url = |port| format!("https://{host}:{port}");
        Self { apiserver: url(apiserver), kcm: Some(url(kcm)), scheduler: Some(url(scheduler)) }
    }
}

/// Writes the kubeconfigs of all identities and components into `dir`, with certificates of the authority. Returns
/// those of the components.
pub(super) fn write_kubeconfigs(
    dir: &Path,
    authority: &Authority,
    servers: &Servers,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let ca_cert = authority.ca_cert();
    for identity in IDENTITIES {
        let group = (identity == "admin").then_some("system:masters");
        let pair = authority.client(identity, &format!("e2e:{identity}"), group)?;
        let path = dir.join(format!("{identity}.kubeconfig"));
        write_kubeconfig(&path, &servers.apiserver, &ca_cert, &pair)?;
        if identity == "admin" {
            for (name, server) in [(KCM, &servers.kcm), (SCHEDULER, &servers.scheduler)] {
                let Some(server) = server else { continue };
                write_kubeconfig(&component_kubeconfig(dir, name), server, &ca_cert, &pair)?;
            }
        }
    }
    let mut kubeconfigs = BTreeMap::new();
    for (name, user) in COMPONENT_USERS {
        let path = dir.join(format!("{name}.kubeconfig"));
        write_kubeconfig(&path, &servers.apiserver, &ca_cert, &authority.client(name, user, None)?)?;
        kubeconfigs.insert(name.to_owned(), path);
    }
    Ok(kubeconfigs)
}

/// Describes a control plane that is ready, as the lease reports it.
pub(super) fn describe(
    spec: &ClusterSpec,
    dir: &Path,
    logs: &Path,
    servers: &Servers,
    read_back: BTreeMap<String, Value>,
    steps: Vec<Step>,
) -> Cluster {
    let mut asked = vec![(APISERVER, &servers.apiserver, dir.join("admin.kubeconfig"))];
    asked.extend(servers.kcm.iter().map(|server| (KCM, server, component_kubeconfig(dir, KCM))));
    if spec.run_scheduler {
        let scheduler = servers.scheduler.iter();
        asked.extend(scheduler.map(|server| (SCHEDULER, server, component_kubeconfig(dir, SCHEDULER))));
    }
    let kubeconfig = |identity: &str| dir.join(format!("{identity}.kubeconfig"));
    Cluster {
        name: spec.name.clone(),
        server: servers.apiserver.clone(),
        kubeconfigs: IDENTITIES.map(|identity| (identity.to_owned(), kubeconfig(identity))).into(),
        logs_dir: logs.to_owned(),
        metrics: asked
            .iter()
            .map(|(name, server, _)| ((*name).to_owned(), format!("{server}/metrics")))
            .collect(),
        metrics_kubeconfigs: asked.into_iter().map(|(name, _, path)| (name.to_owned(), path)).collect(),
        read_back,
        notes: Vec::new(),
        steps,
    }
}
