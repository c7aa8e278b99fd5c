//! Proves that a control plane works, however it was created: every component is verified by use (`verify`), all at
//! once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use component::client::connect_unlimited;
use futures::future::{try_join, try_join4};
use kube::Client;
use serde_json::{Value, json};

use super::spec::ClusterSpec;
use super::steps::Steps;
use super::{Error, verify};
use harness_model::components::{KCM, KWOK, SCHEDULER};

/// Clients of one control plane's three servers, with the `admin` identity; `None` for those that cannot be reached.
pub(super) struct Clients {
    pub apiserver: Client,
    pub kcm: Option<Client>,
    pub scheduler: Option<Client>,
}

impl Clients {
    /// Connects with the kubeconfigs in the control plane's scratch directory.
    pub(super) async fn connect(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            apiserver: connect(&dir.join("admin.kubeconfig")).await?,
            kcm: Some(connect(&component_kubeconfig(dir, KCM)).await?),
            scheduler: Some(connect(&component_kubeconfig(dir, SCHEDULER)).await?),
        })
    }
}

/// The result of a proof.
pub(super) struct Proven {
    /// Settings read back, by component.
    pub read_back: BTreeMap<String, Value>,
    /// Deviations from what was requested that are reported and not refused.
    pub notes: Vec<String>,
}

/// Whose control plane it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Ours: it runs as requested, or there is a fault.
    Ours,
    /// An existing cluster: limits of KCM are reported as they are, and only what the work needs is required.
    Theirs,
}

/// Reports the state of a component to code that waits for it.
pub(super) trait Fate {
    /// Describes how the component of that name ended; `None` while it runs.
    fn ended(&self, component: &str) -> Option<String>;
    /// Adds the end of the component's log to the error, if there is one.
    fn explain(&self, component: &str, error: Error) -> Error;
}

/// What has to be proven, and what it is proven with.
pub(super) struct Proof<'a, F> {
    pub spec: &'a ClusterSpec,
    pub clients: &'a Clients,
    /// Scratch directory of the control plane, with the kubeconfigs.
    pub dir: &'a Path,
    pub fixtures: &'a Path,
    /// The configuration that the scheduler was started with, or should run with; `None` if there is no scheduler.
    pub scheduler: Option<&'a Value>,
    pub whose: Whose,
    pub fate: &'a F,
}

impl<F: Fate> Proof<'_, F> {
    /// Verifies everything except the apiserver, which already answers.
    pub(super) async fn all(&self, steps: &Steps) -> Result<Proven, Error> {
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
        let (kcm, notes) = kcm.map_or_else(Default::default, |(settings, notes)| (Some(settings), notes));
        let read_back = [(KCM, kcm), (SCHEDULER, scheduler)];
        let read_back = read_back.into_iter().filter_map(|(name, found)| Some((name.to_owned(), found?)));
        Ok(Proven { read_back: read_back.collect(), notes })
    }

    async fn told<T>(
        &self,
        component: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        work.await.map_err(|error| self.fate.explain(component, error))
    }

    async fn kcm(&self) -> Result<Option<(Value, Vec<String>)>, Error> {
        let Some(client) = &self.clients.kcm else { return Ok(None) };
        verify::healthy(KCM, client, "/healthz", || self.fate.ended(KCM)).await?;
        let mut asked = asked_of_kcm(self.spec);
        if self.whose == Whose::Theirs {
            // Additional controllers do no harm, and a single instance is the leader whether or not it is elected.
            asked.remove("/Generic/Controllers");
            asked.remove("/Generic/LeaderElection/leaderElect");
            verify::kcm_controllers(client, &self.spec.controllers).await?;
        }
        let (settings, wrong) = verify::kcm_configuration(client, &asked).await?;
        match self.whose {
            Whose::Ours if !wrong.is_empty() => Err(Error::Environment(format!(
                "kube-controller-manager runs with other settings: {}",
                wrong.join("; ")
            ))),
            _ => Ok(Some((settings, wrong.iter().map(|wrong| format!("{KCM}: {wrong}")).collect()))),
        }
    }

    async fn scheduler(&self) -> Result<Option<Value>, Error> {
        let (Some(asked), Some(client)) = (self.scheduler, &self.clients.scheduler) else { return Ok(None) };
        verify::healthy(SCHEDULER, client, "/readyz", || self.fate.ended(SCHEDULER)).await?;
        let mut asked = asked.clone();
        if self.whose == Whose::Theirs
            && let Some(settings) = asked.as_object_mut()
        {
            // kubeadm enables leader election with a flag that takes precedence over the file; a single scheduler acts
            // either way.
            settings.remove("leaderElection");
        }
        verify::scheduler_configuration(client, &asked).await.map(Some)
    }
}

/// Checks rights as the apiserver sees them: bootstrap roles for KCM, our roles for the node-creator.
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

/// Returns the settings that were requested of KCM, by path in its `/configz`.
fn asked_of_kcm(spec: &ClusterSpec) -> BTreeMap<&'static str, Value> {
    let limits = &spec.control_plane;
    let syncs = json!(limits.kcm_concurrent_syncs);
    BTreeMap::from([
        ("/Generic/ClientConnection/qps", json!(limits.kcm_qps)),
        ("/Generic/ClientConnection/burst", json!(limits.kcm_burst)),
        ("/Generic/LeaderElection/leaderElect", json!(false)),
        ("/Generic/Controllers", json!(spec.controllers)),
        ("/DeploymentController/ConcurrentDeploymentSyncs", syncs.clone()),
        ("/ReplicaSetController/ConcurrentRSSyncs", syncs.clone()),
        ("/StatefulSetController/ConcurrentStatefulSetSyncs", syncs.clone()),
        ("/GarbageCollectorController/ConcurrentGCSyncs", syncs.clone()),
        ("/NamespaceController/ConcurrentNamespaceSyncs", syncs),
    ])
}

/// Returns the kubeconfig and path for the health check of a component; `None` for components without a check.
pub(super) fn health_of(component: &str, dir: &Path) -> Option<(PathBuf, &'static str)> {
    use harness_model::components::APISERVER;
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

/// Returns the path of the kubeconfig whose server is that component, with the `admin` identity.
pub(super) fn component_kubeconfig(dir: &Path, component: &str) -> PathBuf {
    dir.join(format!("admin@{component}.kubeconfig"))
}
