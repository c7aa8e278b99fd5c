//! The load that clusters are compared by: first Nodes, then one Deployment, until the last Pod is Running.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::place::Place;

/// Pods of the Deployment.
pub const PODS: u32 = 10_000;
/// Nodes that the Pods run on.
pub const NODES: u32 = 100;
/// Pods that a Node has room for: ten percent more than it will get, so that no Pod has to wait for the last place.
pub const PODS_PER_NODE: u32 = 110;
/// Name of the Deployment.
const NAME: &str = "bench";
/// Time for the Nodes to become Ready.
const NODES_TIMEOUT: Duration = Duration::from_secs(180);
/// Time for the Pods to run.
const PODS_TIMEOUT: Duration = Duration::from_secs(1200);

/// A cluster in a place, and how to reach it.
pub struct Cluster<'a> {
    /// The place of the cluster.
    pub place: &'a Place,
    /// The kubectl program.
    pub kubectl: &'a Path,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
}

/// The result of the load on a cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Pods per second, from the creation of the Deployment until the last Pod runs.
    pub pods_per_s: f64,
    /// CPU time of all components in that period, per Pod, in milliseconds.
    pub cpu_ms_per_pod: f64,
}

impl Cluster<'_> {
    /// Puts the load on the cluster, once. The cluster cannot be used again.
    ///
    /// # Errors
    /// When the Nodes or Pods do not reach the expected state in time, or kubectl fails.
    pub fn measure(&self) -> anyhow::Result<Measured> {
        let nodes = self.manifest("nodes.json", &nodes())?;
        let deployment = self.manifest("deployment.json", &deployment())?;
        self.create(&nodes)?;
        self.wait_for_nodes()?;
        let (started, cpu_ms) = (Instant::now(), self.place.cpu_ms());
        self.create(&deployment)?;
        self.wait_for_pods()?;
        let took_s = started.elapsed().as_secs_f64();
        let cpu_ms = self.place.cpu_ms() - cpu_ms;
        let running =
            self.kubectl(["get", "pods", "--field-selector=status.phase=Running", "--output=name"])?;
        let running = running.lines().count();
        ensure!(
            running == PODS as usize,
            "the Deployment counts {PODS} Pods ready, but {running} are Running"
        );
        Ok(Measured { pods_per_s: f64::from(PODS) / took_s, cpu_ms_per_pod: cpu_ms / f64::from(PODS) })
    }

    fn manifest(&self, name: &str, content: &Value) -> anyhow::Result<PathBuf> {
        let path = self.place.path().join(name);
        fs::write(&path, content.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn create(&self, manifest: &Path) -> anyhow::Result<()> {
        // The manifest is not validated against the schema first, because fetching the schema would be part of the
        // measurement.
        let args = ["create", "--validate=false", "--filename"].map(OsStr::new);
        self.kubectl(args.into_iter().chain([manifest.as_os_str()])).map(drop)
    }

    /// Waits until the Nodes are Ready and no longer have the taint that a new Node has until the node-lifecycle
    /// controller has seen that.
    fn wait_for_nodes(&self) -> anyhow::Result<()> {
        let timeout = format!("--timeout={}s", NODES_TIMEOUT.as_secs());
        self.kubectl(["wait", "--for=condition=Ready", "nodes", "--all", &timeout])?;
        let deadline = Instant::now() + NODES_TIMEOUT;
        loop {
            let taints = self.kubectl(["get", "nodes", "--output=jsonpath={.items[*].spec.taints}"])?;
            if taints.trim().is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "Nodes are still tainted after {NODES_TIMEOUT:?}: {taints}");
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Watches the Deployment, which costs one event for each of its statuses. A Pod that runs is ready at once.
    fn wait_for_pods(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PODS_TIMEOUT;
        let timeout = format!("--request-timeout={}s", PODS_TIMEOUT.as_secs());
        let output = r#"--output=jsonpath={.status.readyReplicas}{"\n"}"#;
        let mut ready = 0;
        while Instant::now() < deadline {
            let mut command = self.command(["get", "deployment", NAME, "--watch", &timeout, output]);
            let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start kubectl")?;
            let lines = BufReader::new(child.stdout.take().context("kubectl has no stdout")?).lines();
            for line in lines {
                // The field is empty until it is set.
                ready = line.context("cannot read from kubectl")?.trim().parse().unwrap_or(ready);
                if ready >= PODS {
                    break;
                }
            }
            let _ = child.kill();
            child.wait().context("cannot wait for kubectl")?;
            if ready >= PODS {
                return Ok(());
            }
            // A starved apiserver ends watches. The next one starts with the current state.
            thread::sleep(Duration::from_millis(200));
        }
        bail!("{ready} of {PODS} Pods run after {} s", PODS_TIMEOUT.as_secs())
    }

    /// Runs a kubectl command and returns its output.
    fn kubectl<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> anyhow::Result<String> {
        let mut command = self.command(args);
        let output = command.output().context("cannot start kubectl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?} failed: {}", complaint.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.kubectl);
        // kubectl's discovery cache belongs in the place, too.
        command.env_clear().env("HOME", self.place.path()).env("NO_PROXY", "*");
        command.env("KUBECONFIG", &self.kubeconfig).env("E2E_RUN_ID", self.place.run_id());
        command.args(args).stdin(Stdio::null());
        command
    }
}

fn nodes() -> Value {
    let resources = json!({ "cpu": "32", "memory": "128Gi", "pods": PODS_PER_NODE.to_string() });
    let node = |n: u32| {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": format!("{NAME}-{n:03}"),
                // The kwok of our control planes recognises its Nodes by this; kwokctl's takes all Nodes.
                "annotations": { "kwok.x-k8s.io/node": "fake" },
            },
            "status": { "capacity": resources, "allocatable": resources },
        })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": (0..NODES).map(node).collect::<Vec<_>>() })
}

/// Returns a Deployment like those of the load-driver, with Pods that any of the Nodes may take.
fn deployment() -> Value {
    let resources = json!({ "cpu": "100m", "memory": "128Mi" });
    let labels = json!({ "app": NAME });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": NAME },
        "spec": {
            "replicas": PODS,
            "revisionHistoryLimit": 0,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "workload",
                        "image": "registry.k8s.io/pause:3.10",
                        "resources": { "requests": resources, "limits": resources },
                    }],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_have_room_for_all_pods() {
        let nodes = nodes();
        let room =
            |node: &Value| node["status"]["allocatable"]["pods"].as_str().unwrap().parse::<u32>().unwrap();
        let room: u32 = nodes["items"].as_array().unwrap().iter().map(room).sum();
        assert!(room > PODS, "{room}");
        assert_eq!(deployment()["spec"]["replicas"], PODS);
    }
}
