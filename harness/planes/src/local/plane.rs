//! The start of one control plane, step by step, each step timed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use component::poll::{self, Look};
use kube::Client;
use serde_json::Value;

use super::Local;
use super::commands::{Layout, PlanePorts};
use super::seed;
use crate::access::{describe, write_kubeconfigs};
use crate::certs::Authority;
use crate::proof::{Clients, Fate, Proof, Whose, connect, health_of};
use crate::spec::{Cluster, ClusterSpec};
use crate::steps::{Steps, brief};
use crate::{AUDIT_POLICY, Error, io, kwok, verify};
use harness_model::components::{APISERVER, ETCD, KCM, KWOK, SCHEDULER};
use harness_model::scheduler_config;
use harness_processes::{Key, ProcessSpec};

/// Reports the state of components that are children of the supervisor.
struct Children<'a> {
    local: &'a Local,
    lease: &'a str,
    cluster: &'a str,
}

impl Fate for Children<'_> {
    fn ended(&self, component: &str) -> Option<String> {
        self.local.table.ended(&Key::of_cluster(self.lease, self.cluster, component))
    }

    fn explain(&self, component: &str, error: Error) -> Error {
        let key = Key::of_cluster(self.lease, self.cluster, component);
        self.local.with_tail::<()>(&key, Err(error)).expect_err("must stay an error")
    }
}

impl Local {
    /// Starts one control plane and verifies it.
    pub(super) async fn start_plane(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        seed: &Path,
        logs: PathBuf,
    ) -> Result<Cluster, Error> {
        let steps = Steps::new();
        let dir = self.places.scratch.join(lease).join(&spec.name);
        let layout = steps.time("files", self.prepare(&dir, logs, Some(seed))).await?;
        steps.time(ETCD, self.start_etcd(lease, spec, &layout)).await?;
        let apiserver = connect(&layout.dir.join("admin.kubeconfig")).await?;
        steps.time(APISERVER, self.start_apiserver(lease, spec, &layout, &apiserver)).await?;
        let clients = Clients::connect(&dir).await?;
        let scheduler = self.launch_others(lease, spec, &layout)?;
        let proof = Proof {
            spec,
            clients: &clients,
            dir: &dir,
            fixtures: &self.places.fixtures,
            scheduler: scheduler.as_ref(),
            whose: Whose::Ours,
            fate: &Children { local: self, lease, cluster: &spec.name },
        };
        let proven = proof.all(&steps).await?;
        let steps = steps.finish();
        tracing::info!(cluster = spec.name, steps = ?brief(&steps), "control plane verified ready");
        let servers = layout.servers();
        Ok(describe(spec, &layout.dir, &layout.logs, &servers, proven.read_back, steps))
    }

    /// Writes certificates and kubeconfigs, reserves ports, and copies the seed.
    pub(super) async fn prepare(
        &self,
        dir: &Path,
        logs: PathBuf,
        seed: Option<&Path>,
    ) -> Result<Layout, Error> {
        let ports = PlanePorts {
            apiserver: self.ports.reserve()?,
            kcm: self.ports.reserve()?,
            scheduler: self.ports.reserve()?,
        };
        let (tools, dir, seed) = (self.places.tools.clone(), dir.to_owned(), seed.map(Path::to_owned));
        let work = move || {
            let layout = write_files(tools, dir, logs, ports)?;
            if let Some(seed) = seed {
                seed::copy(&seed, &layout.etcd_data())?;
            }
            Ok(layout)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::Internal(format!("preparing a control plane: {e}")))?
    }

    pub(super) async fn start_etcd(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        layout: &Layout,
    ) -> Result<(), Error> {
        let key = Key::of_cluster(lease, &spec.name, ETCD);
        self.table.start(&key, layout.etcd(spec))?;
        let socket = &layout.etcd_socket();
        let (table, key) = (&self.table, &key);
        let waited = poll::until(
            "etcd to accept connections",
            Duration::from_millis(10),
            verify::CEILING,
            || async move {
                if let Some(how) = table.ended(key) {
                    return Look::Never(how);
                }
                match tokio::net::UnixStream::connect(socket).await {
                    Ok(_) => Look::Ready(()),
                    Err(error) => Look::NotYet(error.to_string()),
                }
            },
        );
        self.with_tail(key, waited.await.map_err(|e| Error::Environment(e.to_string())))
    }

    pub(super) async fn start_apiserver(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        layout: &Layout,
        client: &Client,
    ) -> Result<(), Error> {
        let key = Key::of_cluster(lease, &spec.name, APISERVER);
        self.table.start(&key, layout.apiserver(spec))?;
        let ready = verify::healthy(APISERVER, client, "/readyz", || self.table.ended(&key)).await;
        self.with_tail(&key, ready)
    }

    /// Starts KCM, scheduler and kwok at once. Returns the configuration that the scheduler was started with, if it
    /// was.
    fn launch_others(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        layout: &Layout,
    ) -> Result<Option<Value>, Error> {
        let kwok_config = kwok::configuration(spec, &self.places.fixtures, &layout.dir, None)?;
        let launch = |name: &str, process: ProcessSpec| {
            self.table.start(&Key::of_cluster(lease, &spec.name, name), process)
        };
        launch(KCM, layout.kcm(spec))?;
        launch(KWOK, layout.kwok(spec, &kwok_config))?;
        if !spec.run_scheduler {
            return Ok(None);
        }
        let config = spec.effective_scheduler_config(&self.places.fixtures)?;
        let config = scheduler_config::render(&config, &layout.kubeconfigs[SCHEDULER]);
        let path = layout.dir.join("scheduler.json");
        std::fs::write(&path, config.to_string()).map_err(io("writing", &path))?;
        launch(SCHEDULER, layout.scheduler(spec, &path))?;
        Ok(Some(config))
    }

    /// Waits until a restarted control-plane component is healthy again; does not wait for others.
    pub(crate) async fn healthy_again(&self, key: &Key) -> Result<(), Error> {
        let Some(cluster) = &key.cluster else { return Ok(()) };
        let dir = self.places.scratch.join(&key.lease).join(cluster);
        let Some((kubeconfig, path)) = health_of(&key.name, &dir) else { return Ok(()) };
        let client = connect(&kubeconfig).await?;
        self.with_tail(key, verify::healthy(&key.name, &client, path, || self.table.ended(key)).await)
    }
}

fn write_files(tools: PathBuf, dir: PathBuf, logs: PathBuf, ports: PlanePorts) -> Result<Layout, Error> {
    let authority = Authority::new(&dir)?;
    let kubeconfigs = write_kubeconfigs(&dir, &authority, &ports.servers())?;
    let (serving, service_account) = (authority.server()?, authority.service_account()?);
    let ca_cert = authority.ca_cert();
    std::fs::create_dir_all(&logs).map_err(io("creating", &logs))?;
    let audit_policy = dir.join("audit-policy.yaml");
    std::fs::write(&audit_policy, AUDIT_POLICY).map_err(io("writing", &audit_policy))?;
    Ok(Layout { tools, dir, logs, audit_policy, ports, ca_cert, serving, service_account, kubeconfigs })
}
