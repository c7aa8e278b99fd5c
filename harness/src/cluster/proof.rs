//! The proof that a control plane works, however it was made: every component is verified by use (`verify`),
//! all at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use component::client::connect_unlimited;
use futures::future::{try_join, try_join4};
use kube::Client;
use serde_json::{Value, json};

use super::components::{KCM, KWOK, SCHEDULER};
use super::spec::ClusterSpec;
use super::steps::Steps;
use super::{Error, verify};

/// Clients of one control plane's three servers, with the `admin` identity.
pub(super) struct Clients {
    pub apiserver: Client,
    pub kcm: Client,
    pub scheduler: Client,
}

impl Clients {
    /// From the kubeconfigs in the control plane's scratch directory.
    pub(super) async fn connect(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            apiserver: connect(&dir.join("admin.kubeconfig")).await?,
            kcm: connect(&component_kubeconfig(dir, KCM)).await?,
            scheduler: connect(&component_kubeconfig(dir, SCHEDULER)).await?,
        })
    }
}

/// How a component fares, for whoever waits for it.
pub(super) trait Fate {
    /// How the component of that name ended, in words; none while it runs.
    fn ended(&self, component: &str) -> Option<String>;
    /// The error with the end of the component's log, if there is one.
    fn explain(&self, component: &str, error: Error) -> Error;
}

/// What is to be proven, and with what.
pub(super) struct Proof<'a, F> {
    pub spec: &'a ClusterSpec,
    pub clients: &'a Clients,
    /// Scratch directory of the control plane, with the kubeconfigs.
    pub dir: &'a Path,
    pub fixtures: &'a Path,
    /// What the scheduler was started with; none if there is none.
    pub scheduler: Option<&'a Value>,
    pub fate: &'a F,
}

impl<F: Fate> Proof<'_, F> {
    /// Verifies everything but the apiserver, which answers already; answers the settings read back, by component.
    pub(super) async fn all(&self, steps: &Steps) -> Result<BTreeMap<String, Value>, Error> {
        let kcm = self.told(KCM, steps.time(KCM, self.kcm()));
        let kwok = verify::kwok_plays_nodes(&self.clients.apiserver, || self.fate.ended(KWOK));
        let kwok = self.told(KWOK, steps.time("kwok probe Node", kwok));
        let collected = verify::orphans_are_collected(&self.clients.apiserver, || self.fate.ended(KCM));
        let collected = self.told(KCM, steps.time("garbage collector probe", collected));
        let scheduler = self.told(SCHEDULER, steps.time(SCHEDULER, self.scheduler()));
        let rights = steps.time("rights", check_rights(self.dir, self.fixtures));
        let work = try_join4(kcm, kwok, collected, scheduler);
        let ((kcm, (), collected, scheduler), ()) = try_join(work, rights).await?;
        if !collected {
            tracing::warn!(cluster = self.spec.name, "no CapacityRequest kind: the collector was not probed");
        }
        let mut read_back = BTreeMap::from([(KCM.to_owned(), kcm)]);
        read_back.extend(scheduler.map(|settings| (SCHEDULER.to_owned(), settings)));
        Ok(read_back)
    }

    async fn told<T>(
        &self,
        component: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        work.await.map_err(|error| self.fate.explain(component, error))
    }

    async fn kcm(&self) -> Result<Value, Error> {
        verify::healthy(KCM, &self.clients.kcm, "/healthz", || self.fate.ended(KCM)).await?;
        verify::kcm_configuration(&self.clients.kcm, &asked_of_kcm(self.spec)).await
    }

    async fn scheduler(&self) -> Result<Option<Value>, Error> {
        let Some(asked) = self.scheduler else { return Ok(None) };
        let client = &self.clients.scheduler;
        verify::healthy(SCHEDULER, client, "/readyz", || self.fate.ended(SCHEDULER)).await?;
        verify::scheduler_configuration(client, asked).await.map(Some)
    }
}

/// Rights as the apiserver sees them: bootstrap roles for KCM, ours for the node-creator.
async fn check_rights(dir: &Path, fixtures: &Path) -> Result<(), Error> {
    let kcm = connect(&dir.join(format!("{KCM}.kubeconfig"))).await?;
    verify::has_right(KCM, &kcm, "list", "", "pods").await?;
    if !fixtures.join("rbac/node-creator.yaml").is_file() {
        return Ok(());
    }
    let node_creator = connect(&dir.join("node-creator.kubeconfig")).await?;
    verify::has_right("node-creator", &node_creator, "create", "", "nodes").await?;
    if verify::may(&node_creator, "list", "", "pods").await? {
        let message = "node-creator may list Pods; fixtures/rbac must not allow it";
        return Err(Error::Environment(message.to_owned()));
    }
    Ok(())
}

/// What was asked of KCM, by path in its `/configz`.
fn asked_of_kcm(spec: &ClusterSpec) -> BTreeMap<&'static str, Value> {
    let tuning = &spec.control_plane_tuning;
    let syncs = json!(tuning.kcm_concurrent_syncs);
    BTreeMap::from([
        ("/Generic/ClientConnection/qps", json!(tuning.kcm_qps)),
        ("/Generic/ClientConnection/burst", json!(tuning.kcm_burst)),
        ("/Generic/LeaderElection/leaderElect", json!(false)),
        ("/Generic/Controllers", json!(spec.controllers)),
        ("/DeploymentController/ConcurrentDeploymentSyncs", syncs.clone()),
        ("/ReplicaSetController/ConcurrentRSSyncs", syncs.clone()),
        ("/StatefulSetController/ConcurrentStatefulSetSyncs", syncs.clone()),
        ("/GarbageCollectorController/ConcurrentGCSyncs", syncs.clone()),
        ("/NamespaceController/ConcurrentNamespaceSyncs", syncs),
    ])
}

/// The server of a component that is asked whether it is healthy, as kubeconfig and path; none for the others.
pub(super) fn health_of(component: &str, dir: &Path) -> Option<(PathBuf, &'static str)> {
    use super::components::APISERVER;
    match component {
        APISERVER => Some((dir.join("admin.kubeconfig"), "/readyz")),
        KCM => Some((component_kubeconfig(dir, KCM), "/healthz")),
        SCHEDULER => Some((component_kubeconfig(dir, SCHEDULER), "/readyz")),
        _ => None,
    }
}

pub(super) async fn connect(kubeconfig: &Path) -> Result<Client, Error> {
    connect_unlimited(kubeconfig).await.map_err(|e| Error::Internal(format!("{e:#}")))
}

/// The kubeconfig whose server is that component, with the `admin` identity.
pub(super) fn component_kubeconfig(dir: &Path, component: &str) -> PathBuf {
    dir.join(format!("admin@{component}.kubeconfig"))
}
