//! A cluster as a user has it: with the user's own objects in it, and none of ours.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use component::poll::{self, Look};
use harness_model::components::KWOK;
use harness_model::profile::fixtures_dir;
use harness_planes::Choice;
use harness_planes::spec::LeaseSpec;
use harness_supervisor::protocol::Verb;
use harness_supervisor::starter;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt, discovery};
use serde_json::json;
use suites::world::World;

use crate::everything::{self, Everything};

pub const TICK: Duration = Duration::from_millis(200);
pub const CEILING: Duration = Duration::from_secs(60);
/// Time after the end of a run by which nothing of it may be left in the cluster.
pub const LEFT_BY: Duration = Duration::from_secs(30);
/// The user's own namespace.
pub const THEIRS: &str = "bystander";

/// The cluster, which ends with this value.
pub struct ByHand {
    /// The owner's kubeconfig.
    pub kubeconfig: PathBuf,
    /// A client that uses it.
    pub client: Client,
    /// One of the owner's Nodes.
    pub node: String,
    /// Everything that was there at first.
    pub before: Everything,
    /// Holds the lease of a local control plane.
    local: Option<World>,
    _kind: Option<KindCluster>,
    _dir: tempfile::TempDir,
}

impl ByHand {
    /// Creates the cluster, and puts the user's own objects into it.
    pub async fn new(label: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let kubeconfig = dir.path().join("owner.kubeconfig");
        let (local, kind) = match Choice::from_env()? {
            Choice::Kind(settings) => {
                let made = KindCluster::create(&settings.kind, &settings.node_image, label, dir.path())?;
                (None, Some(made))
            }
            _ => (Some(local(label, &kubeconfig).await?), None),
        };
        let client = component::client::connect_unlimited(&kubeconfig).await?;
        poll::until("the cluster to answer", TICK, CEILING, || async {
            match client.apiserver_version().await {
                Ok(_) => Look::Ready(()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        })
        .await?;
        if local.is_some() {
            take_ours_away(&client).await?;
        } else {
            kubelet_has_told(&client).await?;
        }
        let node = node(&client).await?;
        bystanders(&client).await?;
        let before = everything::at_rest(&client).await?;
        Ok(Self { kubeconfig, client, node, before, local, _kind: kind, _dir: dir })
    }

    /// Returns a supervisor that uses this cluster.
    pub async fn world(&self, label: &str) -> anyhow::Result<World> {
        World::of_existing(label, std::slice::from_ref(&self.kubeconfig)).await
    }

    /// Runs `e2e-supervisor adopt --kubeconfig FILE ARGS`, without a terminal.
    pub fn adopt(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.adopt_with(args, &[])
    }

    /// The same, with these environment variables.
    pub fn adopt_with(&self, args: &[&str], vars: &[(&str, &str)]) -> anyhow::Result<Output> {
        let program = starter::bin_dir()?.join("e2e-supervisor");
        let mut command = Command::new(program);
        command.arg("adopt").arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        command.envs(vars.iter().copied());
        command.stdin(std::process::Stdio::null()).output().context("starting e2e-supervisor")
    }

    /// Adds the label.
    pub fn let_in(&self) -> anyhow::Result<()> {
        succeeded(&self.adopt(&["--yes"])?)
    }

    /// Removes the label, and checks that everything is as it was at first, except for what expires on its own.
    pub async fn ends_as_it_began(self) -> anyhow::Result<()> {
        succeeded(&self.adopt(&["--release"])?)?;
        everything::becomes(&self.client, &self.before, LEFT_BY).await?;
        match self.local {
            Some(world) => world.end().await,
            None => Ok(()),
        }
    }
}

/// Checks that a program exited with 0; otherwise fails with its stderr.
pub fn succeeded(output: &Output) -> anyhow::Result<()> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Creates one of our own control planes, with kwok stopped.
async fn local(label: &str, kubeconfig: &Path) -> anyhow::Result<World> {
    let world = World::new(&format!("{label}-theirs"), None, None).await?;
    let lease = world.client.lease(&LeaseSpec::of(1)).await?;
    let cluster = &lease.clusters[0];
    world.client.component(&lease.id, Some(&cluster.name), KWOK, Verb::Stop).await?;
    std::fs::copy(&cluster.kubeconfigs["admin"], kubeconfig)?;
    Ok(world)
}

/// Removes the objects that our control planes have from the start.
async fn take_ours_away(client: &Client) -> anyhow::Result<()> {
    for dir in ["crds", "rbac", "seed", "kwok"] {
        for entry in std::fs::read_dir(fixtures_dir().join(dir))? {
            let path = entry?.path();
            // This is not an object but kwok's configuration.
            if path.ends_with("kwok/kwok.yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            for object in serde_saphyr::from_multiple::<DynamicObject>(&text)? {
                delete(client, &object).await.with_context(|| format!("{}", path.display()))?;
            }
        }
    }
    Ok(())
}

async fn delete(client: &Client, object: &DynamicObject) -> anyhow::Result<()> {
    let types = object.types.as_ref().context("no kind")?;
    let (resource, _) = discovery::pinned_kind(client, &GroupVersionKind::try_from(types)?).await?;
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let name = object.name_any();
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => drop(other?),
    }
    poll::until("it to be gone", TICK, CEILING, || async {
        match api.get_metadata_opt(&name).await {
            Ok(None) => Look::Ready(()),
            other => Look::NotYet(format!("{:?}", other.map(|found| found.is_some()))),
        }
    })
    .await?;
    Ok(())
}

/// Creates the user's own objects, some of which look a little like ours.
async fn bystanders(client: &Client) -> anyhow::Result<()> {
    let labels = json!({"app": "theirs", "scaletest.bigfleet/state": "steady"});
    create(client, "v1", "Namespace", None, json!({"metadata": {"name": THEIRS, "labels": labels}})).await?;
    let data = json!({"metadata": {"name": "settings", "labels": labels}, "data": {"key": "value"}});
    create(client, "v1", "ConfigMap", Some(THEIRS), data.clone()).await?;
    // In the namespace of the load.
    create(client, "v1", "ConfigMap", Some("default"), data).await?;
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}});
    let deployment = json!({"metadata": {"name": "web", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "theirs"}}, "template": template}});
    create(client, "apps/v1", "Deployment", Some(THEIRS), deployment.clone()).await?;
    create(client, "apps/v1", "Deployment", Some("default"), deployment).await?;
    let class = json!({"metadata": {"name": "e2e-theirs"}, "value": 7});
    create(client, "scheduling.k8s.io/v1", "PriorityClass", None, class).await?;
    let sets: Api<ReplicaSet> = Api::all(client.clone());
    poll::until("the cluster to have seen both Deployments", TICK, CEILING, || async {
        match sets.list_metadata(&ListParams::default()).await {
            Ok(list) if list.items.len() == 2 => Look::Ready(()),
            other => Look::NotYet(format!("{:?}", other.map(|list| list.items.len()))),
        }
    })
    .await?;
    Ok(())
}

/// Marks one of the user's own Nodes: a real one if there is one.
async fn node(client: &Client) -> anyhow::Result<String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let marks = json!({"labels": {"node-role.kubernetes.io/control-plane": "", "disk": "ssd"}, "annotations": {"theirs": "yes"}});
    if let Some(real) = nodes.list(&ListParams::default()).await?.items.first() {
        let patch = Patch::Merge(json!({"metadata": marks}));
        nodes.patch(&real.name_any(), &PatchParams::default(), &patch).await?;
        return Ok(real.name_any());
    }
    let mut node =
        json!({"metadata": marks, "spec": {"taints": [{"key": "theirs", "effect": "NoSchedule"}]}});
    node["metadata"]["name"] = json!("theirs");
    create(client, "v1", "Node", None, node).await?;
    Ok("theirs".to_owned())
}

/// Creates an object of any kind.
pub async fn create(
    client: &Client,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
    mut object: serde_json::Value,
) -> anyhow::Result<()> {
    let gvk: GroupVersionKind = match version.split_once('/') {
        Some((group, version)) => GroupVersionKind::gvk(group, version, kind),
        None => GroupVersionKind::gvk("", version, kind),
    };
    let (resource, _) = discovery::pinned_kind(client, &gvk).await?;
    (object["apiVersion"], object["kind"]) = (json!(version), json!(kind));
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let created = api.create(&PostParams::default(), &serde_json::from_value(object)?).await;
    created.map(drop).with_context(|| format!("creating a {kind}"))
}

/// Waits for what a kubelet creates some seconds after its cluster answers: its lease, and a Pod for each static one.
async fn kubelet_has_told(client: &Client) -> anyhow::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let (leases, pods) = (&leases, &pods);
    let (all, of_control_plane) = (ListParams::default(), ListParams::default().labels("tier=control-plane"));
    let (all, of_control_plane) = (&all, &of_control_plane);
    poll::until("kubelet to tell of its static Pods", TICK, CEILING, || async move {
        match (leases.list_metadata(all).await, pods.list_metadata(of_control_plane).await) {
            (Ok(leases), Ok(pods)) if !leases.items.is_empty() && pods.items.len() == 4 => Look::Ready(()),
            (leases, pods) => Look::NotYet(format!(
                "leases {:?}, Pods {:?}",
                leases.map(|l| l.items.len()),
                pods.map(|p| p.items.len())
            )),
        }
    })
    .await?;
    Ok(())
}

/// A kind cluster, which is removed when dropped.
struct KindCluster {
    kind: PathBuf,
    name: String,
}

impl KindCluster {
    /// Runs `kind create cluster`, as docs/existing.md says.
    fn create(kind: &Path, image: &str, label: &str, dir: &Path) -> anyhow::Result<Self> {
        let page = include_str!("../../../docs/existing.md");
        let config = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let config = config.context("docs/existing.md has no configuration")?;
        let etcd = std::env::var("E2E_NODE_ETCD_TAG").context("E2E_NODE_ETCD_TAG is not set")?;
        // Otherwise kubeadm would wait for an image that the node does not have, until it gives up.
        ensure!(
            config.contains(&format!("imageTag: {etcd}")),
            "docs/existing.md names another etcd than {etcd}"
        );
        let config = config.replace("/path/to", &dir.display().to_string());
        std::fs::write(dir.join("kind.yaml"), config)?;
        let scheduler = std::fs::read_to_string(fixtures_dir().join("scheduler/most-allocated.yaml"))?;
        let client = "clientConnection:\n  kubeconfig: /etc/kubernetes/scheduler.conf";
        std::fs::write(dir.join("scheduler.yaml"), scheduler.replace("clientConnection:", client))?;
        let name: String = label.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let cluster = Self { kind: kind.to_owned(), name: format!("byhand-{name}-{}", std::process::id()) };
        let mut command = Command::new(kind);
        command.args(["create", "cluster", "--wait=0s", "--image", image, "--name", &cluster.name]);
        command.arg("--config").arg(dir.join("kind.yaml"));
        command.arg("--kubeconfig").arg(dir.join("owner.kubeconfig"));
        let mut child: Child = command.stdout(std::io::stderr()).spawn().context("starting kind")?;
        let status = child.wait()?;
        if !status.success() {
            bail!("kind made no cluster: {status}");
        }
        Ok(cluster)
    }
}

impl Drop for KindCluster {
    fn drop(&mut self) {
        // Also if the claim fails, because nothing must stay. It does not use the user's kubeconfig.
        let mut command = Command::new(&self.kind);
        command.args(["delete", "cluster", "--name", &self.name, "--kubeconfig", "/dev/null"]);
        let _ = command.stdout(std::io::stderr()).status();
    }
}
