//! The kind provider: control planes that kubeadm creates in containers, with a real kubelet (kind docs, "Quick Start";
//! ADR-0023 step 1).
//!
//! Fixtures, limits, verification and pre-seeded etcd data are the same as for local control planes. Servers are
//! reached at the container's own address, which only this host can reach. Everything in a run is named after its
//! scratch directory (`e2e-<8 hex digits>`), so that the janitor finds it when no other process is left to remove it.

mod config;
mod docker;
mod files;
mod logs;
mod nodes;
mod settings;
mod verbs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use component::poll::{self, Look};
use futures::future::join_all;

use super::access::{Servers, describe, write_kubeconfigs};
use super::local::Local;
use super::proof::{Clients, Fate, Proof, Whose};
use super::spec::{Cluster, ClusterSpec, Lease, LeaseSpec};
use super::steps::{Steps, brief};
use super::{Error, check, verify};
use docker::Docker;
use files::Files;
use harness_model::components::{ALL as COMPONENTS, APISERVER, SCHEDULER};
use harness_processes::IN_ENGINE;
use harness_processes::ProcessInfo;
use harness_processes::{Key, ProcessSpec};
pub use settings::Settings;

/// Other programs that use CPU in a node.
const NODE_PROGRAMS: [&str; 2] = ["kubelet", "containerd"];
/// Longest time for `kind create cluster`; kubeadm itself gives up after four minutes.
const CREATE_CEILING: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_millis(100);

/// A node of this run.
#[derive(Clone, Debug)]
struct Node {
    container: String,
    id: String,
    logs: PathBuf,
}

/// The provider.
pub struct Kind {
    settings: Settings,
    /// Builds the pre-seeded etcd data.
    local: Arc<Local>,
    docker: Docker,
    /// Prefix of the names of everything in this run.
    prefix: String,
    processes: nodes::Processes,
    nodes: Mutex<BTreeMap<(String, String), Node>>,
    /// Held while the run's network is looked up and created: leases may begin at the same time.
    network: tokio::sync::Mutex<()>,
}

impl Kind {
    /// Creates a provider; nothing is started yet.
    pub fn new(settings: Settings, local: Arc<Local>) -> Self {
        let prefix = local.places.scratch.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (docker, processes, nodes) = (Docker, nodes::Processes::default(), Mutex::default());
        Self { settings, local, docker, prefix, processes, nodes, network: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Node>> {
        self.nodes.lock().expect("the list of nodes must not be poisoned")
    }

    /// Starts the clusters of a lease in parallel. After a failure, what was started keeps running: the caller releases
    /// the lease.
    ///
    /// # Errors
    /// When the spec is wrong, the engine or the image is missing, or a cluster did not become ready.
    pub(super) async fn start(&self, id: &str, spec: &LeaseSpec, logs: &Path) -> Result<Lease, Error> {
        check(spec)?;
        for cluster in &spec.clusters {
            // Otherwise kubeadm would wait for a scheduler that cannot start, until it gives up.
            cluster.effective_scheduler_config(&self.local.places.fixtures)?;
        }
        self.check_engine().await?;
        self.ensure_network().await?;
        let seed = self.local.seed().await?;
        let starts = spec.clusters.iter().enumerate().map(|(index, cluster)| {
            let name = format!("{}-{}-{index}", self.prefix, id.trim_start_matches("lease-"));
            self.start_cluster(id, name, cluster, &seed, logs.join(&cluster.name))
        });
        let clusters = join_all(starts).await.into_iter().collect::<Result<Vec<_>, Error>>()?;
        Ok(Lease { id: id.to_owned(), clusters })
    }

    async fn check_engine(&self) -> Result<(), Error> {
        let version = self.docker.run(&["version", "--format", "{{.Server.Version}}"]).await;
        version.map_err(|error| {
            Error::Environment(format!(
                "the container engine does not answer: {error}; `cargo xtask doctor` says more"
            ))
        })?;
        let image = &self.settings.node_image;
        let found = self.docker.run(&["image", "inspect", "--format", "{{.Id}}", image]).await;
        found.map(drop).map_err(|_| {
            Error::Environment(format!(
                "the node image {image} is missing; `cargo xtask node-image` builds it"
            ))
        })
    }

    /// Ensures that the network of this run exists. It has no way out, and is created here because several kinds in
    /// parallel would create several.
    async fn ensure_network(&self) -> Result<(), Error> {
        let _alone = self.network.lock().await;
        let name = self.prefix.as_str();
        if self.docker.run(&["network", "inspect", name]).await.is_ok() {
            return Ok(());
        }
        let mark = self.mark();
        let marked = std::fs::write(&mark, "");
        marked.map_err(|e| Error::Environment(format!("writing {}: {e}", mark.display())))?;
        let no_way_out = "com.docker.network.bridge.enable_ip_masquerade=false";
        self.docker.run(&["network", "create", "--driver=bridge", "--opt", no_way_out, name]).await.map(drop)
    }

    async fn start_cluster(
        &self,
        lease: &str,
        name: String,
        spec: &ClusterSpec,
        seed: &Path,
        logs: PathBuf,
    ) -> Result<Cluster, Error> {
        let container = format!("{name}-control-plane");
        let made = self.make(lease, &name, &container, spec, seed, &logs).await;
        if made.is_err() {
            // The node is about to be removed, and without its logs the failure could not be explained.
            logs::fetch(&self.docker, &container, &logs).await;
        }
        made
    }

    async fn make(
        &self,
        lease: &str,
        name: &str,
        container: &str,
        spec: &ClusterSpec,
        seed: &Path,
        logs: &Path,
    ) -> Result<Cluster, Error> {
        let steps = Steps::new();
        let dir = self.local.places.scratch.join(lease).join(&spec.name);
        let files = steps.time("files", self.write_files(&dir, spec, seed)).await?;
        steps.time("kind create", self.create(lease, name, spec, &files, logs)).await?;
        let format = "{{.Id}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let inspected = self.docker.run(&["inspect", "--format", format, container]).await?;
        let (id, address) = inspected
            .split_once(' ')
            .ok_or_else(|| Error::Environment(format!("{container} has no address: {inspected}")))?;
        let node = Node { container: container.to_owned(), id: id.to_owned(), logs: logs.to_owned() };
        self.lock().insert((lease.to_owned(), spec.name.clone()), node.clone());

        let ports = [config::APISERVER_PORT, config::KCM_PORT, config::SCHEDULER_PORT];
        let servers = Servers::on(address, ports);
        write_kubeconfigs(&dir, &files.authority, &servers)?;
        let clients = Clients::connect(&dir).await?;
        let ready = verify::healthy(APISERVER, &clients.apiserver, "/readyz", || None);
        steps.time(APISERVER, ready).await?;
        steps.time("processes", self.note_processes(lease, spec, &node)).await?;
        let proof = Proof {
            spec,
            clients: &clients,
            dir: &dir,
            fixtures: &self.local.places.fixtures,
            scheduler: spec.run_scheduler.then_some(&files.scheduler),
            whose: Whose::Ours,
            fate: &InNode { kind: self, lease, cluster: &spec.name },
        };
        let proven = proof.all(&steps).await?;
        let steps = steps.finish();
        tracing::info!(cluster = spec.name, name, steps = ?brief(&steps), "kind cluster verified ready");
        Ok(describe(spec, &dir, logs, &servers, proven.read_back, steps))
    }

    async fn write_files(&self, dir: &Path, spec: &ClusterSpec, seed: &Path) -> Result<Files, Error> {
        let (dir, spec, seed) = (dir.to_owned(), spec.clone(), seed.to_owned());
        let fixtures = self.local.places.fixtures.clone();
        let settings = self.settings.clone();
        let work = move || files::write(&dir, &spec, &fixtures, &seed, &settings);
        let written = tokio::task::spawn_blocking(work).await;
        written.map_err(|e| Error::Internal(format!("preparing a kind cluster: {e}")))?
    }

    /// Runs `kind create cluster` as a supervised process.
    async fn create(
        &self,
        lease: &str,
        name: &str,
        spec: &ClusterSpec,
        files: &Files,
        logs: &Path,
    ) -> Result<(), Error> {
        let key = Key::of_cluster(lease, &spec.name, "kind");
        let text = |path: &Path| path.display().to_string();
        let kubeconfig = files.kind_config.with_file_name("kind.kubeconfig");
        let argv = [
            text(&self.settings.kind),
            "create".to_owned(),
            "cluster".to_owned(),
            // Its logs are still needed when it fails; it is removed with the lease.
            "--retain".to_owned(),
            format!("--name={name}"),
            format!("--image={}", self.settings.node_image),
            format!("--config={}", files.kind_config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
        ];
        let mut env = BTreeMap::from([
            // One network per run: networks of others are not touched.
            ("KIND_EXPERIMENTAL_DOCKER_NETWORK".to_owned(), self.prefix.clone()),
            ("KIND_EXPERIMENTAL_PROVIDER".to_owned(), "docker".to_owned()),
        ]);
        env.extend(std::env::var("DOCKER_HOST").ok().map(|host| ("DOCKER_HOST".to_owned(), host)));
        let process = ProcessSpec {
            argv: argv.into(),
            env,
            nice: 0,
            log_file: logs.join("kind.log"),
            may_finish: true,
            ready_file: None,
        };
        self.local.table.start(&key, process)?;
        if !self.local.table.wait(&key, CREATE_CEILING).await {
            self.local.table.kill(&key).await?;
            let waited = CREATE_CEILING.as_secs();
            let tail = self.local.table.tail(&key);
            return Err(Error::Environment(format!("kind created no cluster within {waited} s; {tail}")));
        }
        match self.local.table.info(&key).and_then(|info| info.exit_code) {
            Some(0) => Ok(()),
            code => {
                let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
                let tail = self.local.table.tail(&key);
                Err(Error::Environment(format!(
                    "kind ended with {code} while creating {}; {tail}",
                    spec.name
                )))
            }
        }
    }

    async fn note_processes(&self, lease: &str, spec: &ClusterSpec, node: &Node) -> Result<(), Error> {
        if !spec.run_scheduler {
            // kubeadm waits for a scheduler, which can be removed only after that.
            self.hold(node, SCHEDULER).await?;
        }
        let wanted = COMPONENTS.into_iter().filter(|name| spec.run_scheduler || *name != SCHEDULER);
        for component in wanted.chain(NODE_PROGRAMS) {
            self.note(&Key::of_cluster(lease, &spec.name, component), node).await?;
        }
        Ok(())
    }

    /// Waits for a component's process and registers it.
    async fn note(&self, key: &Key, node: &Node) -> Result<(), Error> {
        let name = key.name.as_str();
        let goal = format!("{key} to run");
        let found = poll::until(&goal, TICK, verify::CEILING, || async {
            match nodes::find(&node.id, name) {
                Some(found) => Look::Ready(found),
                None => Look::NotYet(format!("no process {name} in {}", node.container)),
            }
        });
        let found = found.await.map_err(|e| Error::Environment(e.to_string()))?;
        self.processes.note(key, found, node.logs.join(format!("{name}.log")));
        Ok(())
    }

    fn node(&self, key: &Key) -> Result<Node, Error> {
        let cluster = key.cluster.clone().unwrap_or_default();
        let node = self.lock().get(&(key.lease.clone(), cluster)).cloned();
        node.ok_or_else(|| Error::Usage(format!("{key}: its cluster has no node")))
    }

    /// Whether `key` names a process in a node.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.processes.know(key)
    }

    /// Returns the processes in all nodes.
    pub(super) fn processes(&self) -> Vec<ProcessInfo> {
        self.processes.all()
    }

    /// Copies the logs of the nodes of a lease, or of all leases, to the paths where they are expected.
    pub(super) async fn fetch_logs(&self, lease: Option<&str>) {
        let nodes: Vec<Node> = {
            let all = self.lock();
            let wanted = all.iter().filter(|((of, _), _)| lease.is_none_or(|lease| of == lease));
            wanted.map(|(_, node)| node.clone()).collect()
        };
        join_all(nodes.iter().map(|node| logs::fetch(&self.docker, &node.container, &node.logs))).await;
    }

    /// Removes the containers of a lease, or everything in this run.
    pub(super) async fn release(&self, lease: Option<&str>) {
        self.fetch_logs(lease).await;
        self.processes.forget(lease);
        self.lock().retain(|(of, _), _| lease.is_some_and(|lease| of != lease));
        let removed = match lease {
            Some(id) => {
                self.remove_all(&format!("{}-{}-", self.prefix, id.trim_start_matches("lease-"))).await
            }
            None => self.remove_last().await,
        };
        if let Err(error) = removed {
            tracing::warn!(lease, %error, "something is left in the engine; the janitor will try");
        }
    }

    async fn remove_last(&self) -> Result<(), Error> {
        let mark = self.mark();
        if !mark.exists() {
            return Ok(());
        }
        self.remove_all(&format!("{}-", self.prefix)).await?;
        self.docker.run(&["network", "rm", &self.prefix]).await?;
        std::fs::remove_file(&mark)
            .map_err(|e| Error::Environment(format!("removing {}: {e}", mark.display())))
    }

    /// Returns the path of the file that makes the janitor check the engine.
    fn mark(&self) -> PathBuf {
        self.local.places.scratch.join(IN_ENGINE)
    }

    /// Removes all containers with the prefix. A `docker run` in progress when its kind was killed may still create a
    /// container, so this ends only after two checks in a row have found none.
    async fn remove_all(&self, prefix: &str) -> Result<(), Error> {
        let mut empty = 0;
        while empty < 2 {
            let containers = self.docker.containers(prefix).await?;
            if containers.is_empty() {
                empty += 1;
                tokio::time::sleep(TICK).await;
            } else {
                empty = 0;
                self.docker.remove(&containers).await?;
            }
        }
        Ok(())
    }
}

/// Reports the state of the components of one cluster.
struct InNode<'a> {
    kind: &'a Kind,
    lease: &'a str,
    cluster: &'a str,
}

impl Fate for InNode<'_> {
    fn ended(&self, component: &str) -> Option<String> {
        let key = Key::of_cluster(self.lease, self.cluster, component);
        self.kind.processes.has_ended(&key).then(|| format!("{key} ended"))
    }

    fn explain(&self, component: &str, error: Error) -> Error {
        match error {
            Error::Environment(message) => {
                let logs = self.kind.node(&Key::of_cluster(self.lease, self.cluster, component));
                let logs = logs.map_or_else(|_| "its logs".to_owned(), |n| n.logs.display().to_string());
                Error::Environment(format!("{component} of {}: {message}; see {logs}", self.cluster))
            }
            other => other,
        }
    }
}
