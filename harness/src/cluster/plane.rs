//! The start of one control plane, step by step, each step timed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use component::client::connect_unlimited;
use component::poll::{self, Look};
use futures::future::{try_join, try_join4};
use kube::Client;
use serde_json::{Value, json};

use super::certs::{Authority, write_kubeconfig};
use super::commands::{APISERVER, ETCD, KCM, KWOK, Layout, PlanePorts, SCHEDULER};
use super::spec::{Cluster, ClusterSpec, IDENTITIES, Step};
use super::{Error, Provider, io, kwok, scheduler, seed, verify};
use crate::supervisor::process::{Key, Plan};

/// Who lists and watches Pods, and for how long: a client that lists anew, again and again, costs more than any other.
const AUDIT_POLICY: &str = include_str!("../../../fixtures/controlplane/audit-policy.yaml");

/// Measures the steps of a start.
struct Steps {
    start: Instant,
    done: Mutex<Vec<Step>>,
}

impl Steps {
    fn new() -> Self {
        Self { start: Instant::now(), done: Mutex::default() }
    }

    async fn time<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let result = work.await;
        self.done.lock().expect("the list of steps must not be poisoned").push(Step {
            name: name.to_owned(),
            start_ms: millis(begin - self.start),
            duration_ms: millis(begin.elapsed()),
        });
        result
    }

    fn finish(self) -> Vec<Step> {
        let mut steps = self.done.into_inner().expect("the list of steps must not be poisoned");
        steps.sort_by_key(|step| step.start_ms);
        let total = millis(self.start.elapsed());
        steps.push(Step { name: "total".to_owned(), start_ms: 0, duration_ms: total });
        steps
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Clients of one control plane's three servers, with the `admin` identity.
struct Clients {
    apiserver: Client,
    kcm: Client,
    scheduler: Client,
}

impl Provider {
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
        let clients = Clients {
            apiserver,
            kcm: connect(&component_kubeconfig(&dir, KCM)).await?,
            scheduler: connect(&component_kubeconfig(&dir, SCHEDULER)).await?,
        };
        let read_back = self.start_others(lease, spec, &layout, &clients, &steps).await?;
        let steps = steps.finish();
        tracing::info!(cluster = spec.name, steps = ?brief(&steps), "control plane verified ready");
        Ok(describe(spec, &layout, read_back, steps))
    }

    /// Certificates, kubeconfigs, ports and a copy of the seed.
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

    /// KCM, scheduler and kwok at once, each verified on its own.
    async fn start_others(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        layout: &Layout,
        clients: &Clients,
        steps: &Steps,
    ) -> Result<BTreeMap<String, Value>, Error> {
        let kwok_config = self.kwok_configuration(spec, &layout.dir)?;
        let kcm = self.launch(lease, spec, KCM, layout.kcm(spec))?;
        let kwok = self.launch(lease, spec, KWOK, layout.kwok(spec, &kwok_config))?;
        let kcm_ready = steps.time(KCM, self.verify_kcm(&kcm, spec, clients));
        let kwok_ready = async {
            let ready = verify::kwok_plays_nodes(&clients.apiserver, || self.table.ended(&kwok));
            self.with_tail(&kwok, steps.time("kwok probe Node", ready).await)
        };
        let gc_ready = async {
            let ready = verify::orphans_are_collected(&clients.apiserver, || self.table.ended(&kcm));
            self.with_tail(&kcm, steps.time("garbage collector probe", ready).await)
        };
        let scheduler_ready =
            steps.time(SCHEDULER, self.start_scheduler(lease, spec, layout, &clients.scheduler));
        let rights = steps.time("rights", self.check_rights(&layout.dir));
        let work = try_join4(kcm_ready, kwok_ready, gc_ready, scheduler_ready);
        let ((kcm_settings, (), collected, scheduler_settings), ()) = try_join(work, rights).await?;
        let mut read_back = BTreeMap::from([(KCM.to_owned(), kcm_settings)]);
        read_back.extend(scheduler_settings.map(|settings| (SCHEDULER.to_owned(), settings)));
        if !collected {
            tracing::warn!(cluster = spec.name, "no CapacityRequest kind: the collector was not probed");
        }
        Ok(read_back)
    }

    fn kwok_configuration(&self, spec: &ClusterSpec, dir: &Path) -> Result<PathBuf, Error> {
        let ours = self.places.fixtures.join("kwok/kwok.yaml");
        let termination_ms = spec.control_plane_tuning.pod_termination_ms;
        if termination_ms == 0 {
            return Ok(ours);
        }
        let text = std::fs::read_to_string(&ours).map_err(io("reading", &ours))?;
        let text = kwok::with_pod_termination(&text, termination_ms)
            .map_err(|reason| Error::Environment(format!("{}: {reason}", ours.display())))?;
        let path = dir.join("kwok.yaml");
        std::fs::write(&path, text).map_err(io("writing", &path))?;
        Ok(path)
    }

    fn launch(&self, lease: &str, spec: &ClusterSpec, name: &str, plan: Plan) -> Result<Key, Error> {
        let key = Key::of_cluster(lease, &spec.name, name);
        self.table.start(&key, plan)?;
        Ok(key)
    }

    async fn verify_kcm(&self, key: &Key, spec: &ClusterSpec, clients: &Clients) -> Result<Value, Error> {
        let verified = async {
            verify::healthy(KCM, &clients.kcm, "/healthz", || self.table.ended(key)).await?;
            verify::kcm_configuration(&clients.kcm, &asked_of_kcm(spec)).await
        };
        self.with_tail(key, verified.await)
    }

    async fn start_scheduler(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        layout: &Layout,
        client: &Client,
    ) -> Result<Option<Value>, Error> {
        if !spec.run_scheduler {
            return Ok(None);
        }
        let config = scheduler::render(&self.scheduler_configuration(spec)?, &layout.kubeconfigs[SCHEDULER]);
        let path = layout.dir.join("scheduler.json");
        std::fs::write(&path, config.to_string()).map_err(io("writing", &path))?;
        let key = self.launch(lease, spec, SCHEDULER, layout.scheduler(spec, &path))?;
        let verified = async {
            verify::healthy(SCHEDULER, client, "/readyz", || self.table.ended(&key)).await?;
            verify::scheduler_configuration(client, &config).await
        };
        self.with_tail(&key, verified.await).map(Some)
    }

    /// Rights as the apiserver sees them: bootstrap roles for KCM, ours for the node-creator.
    async fn check_rights(&self, dir: &Path) -> Result<(), Error> {
        let kcm = connect(&dir.join(format!("{KCM}.kubeconfig"))).await?;
        verify::has_right(KCM, &kcm, "list", "", "pods").await?;
        if !self.places.fixtures.join("rbac/node-creator.yaml").is_file() {
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

    /// Waits until a restarted control-plane component is healthy again; nothing to wait for with others.
    pub(crate) async fn healthy_again(&self, key: &Key) -> Result<(), Error> {
        let Some(cluster) = &key.cluster else { return Ok(()) };
        let dir = self.places.scratch.join(&key.lease).join(cluster);
        let (kubeconfig, path) = match key.name.as_str() {
            APISERVER => (dir.join("admin.kubeconfig"), "/readyz"),
            KCM => (component_kubeconfig(&dir, KCM), "/healthz"),
            SCHEDULER => (component_kubeconfig(&dir, SCHEDULER), "/readyz"),
            _ => return Ok(()),
        };
        let client = connect(&kubeconfig).await?;
        self.with_tail(key, verify::healthy(&key.name, &client, path, || self.table.ended(key)).await)
    }
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

async fn connect(kubeconfig: &Path) -> Result<Client, Error> {
    connect_unlimited(kubeconfig).await.map_err(|e| Error::Internal(format!("{e:#}")))
}

fn component_kubeconfig(dir: &Path, component: &str) -> PathBuf {
    dir.join(format!("admin@{component}.kubeconfig"))
}

fn write_files(tools: PathBuf, dir: PathBuf, logs: PathBuf, ports: PlanePorts) -> Result<Layout, Error> {
    let authority = Authority::new(&dir)?;
    let ca_cert = authority.ca_cert();
    let server = url(ports.apiserver);
    let mut kubeconfigs = BTreeMap::new();
    for identity in IDENTITIES {
        let group = (identity == "admin").then_some("system:masters");
        let pair = authority.client(identity, &format!("e2e:{identity}"), group)?;
        write_kubeconfig(&dir.join(format!("{identity}.kubeconfig")), &server, &ca_cert, &pair)?;
        if identity == "admin" {
            for (name, port) in [(KCM, ports.kcm), (SCHEDULER, ports.scheduler)] {
                write_kubeconfig(&component_kubeconfig(&dir, name), &url(port), &ca_cert, &pair)?;
            }
        }
    }
    let users =
        [(KCM, "system:kube-controller-manager"), (SCHEDULER, "system:kube-scheduler"), (KWOK, "e2e:kwok")];
    for (name, user) in users {
        let path = dir.join(format!("{name}.kubeconfig"));
        write_kubeconfig(&path, &server, &ca_cert, &authority.client(name, user, None)?)?;
        kubeconfigs.insert(name.to_owned(), path);
    }
    let (serving, service_account) = (authority.server()?, authority.service_account()?);
    std::fs::create_dir_all(&logs).map_err(io("making", &logs))?;
    let audit_policy = dir.join("audit-policy.yaml");
    std::fs::write(&audit_policy, AUDIT_POLICY).map_err(io("writing", &audit_policy))?;
    Ok(Layout { tools, dir, logs, audit_policy, ports, ca_cert, serving, service_account, kubeconfigs })
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn brief(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|s| format!("{} {}+{}", s.name, s.start_ms, s.duration_ms)).collect()
}

fn describe(
    spec: &ClusterSpec,
    layout: &Layout,
    read_back: BTreeMap<String, Value>,
    steps: Vec<Step>,
) -> Cluster {
    let mut servers = vec![
        (APISERVER, layout.ports.apiserver, layout.dir.join("admin.kubeconfig")),
        (KCM, layout.ports.kcm, component_kubeconfig(&layout.dir, KCM)),
    ];
    if spec.run_scheduler {
        servers.push((SCHEDULER, layout.ports.scheduler, component_kubeconfig(&layout.dir, SCHEDULER)));
    }
    let kubeconfig = |identity: &str| layout.dir.join(format!("{identity}.kubeconfig"));
    Cluster {
        name: spec.name.clone(),
        server: url(layout.ports.apiserver),
        kubeconfigs: IDENTITIES.map(|identity| (identity.to_owned(), kubeconfig(identity))).into(),
        logs_dir: layout.logs.clone(),
        metrics: servers
            .iter()
            .map(|(name, port, _)| ((*name).to_owned(), format!("{}/metrics", url(*port))))
            .collect(),
        metrics_kubeconfigs: servers.into_iter().map(|(name, _, path)| (name.to_owned(), path)).collect(),
        read_back,
        steps,
    }
}
