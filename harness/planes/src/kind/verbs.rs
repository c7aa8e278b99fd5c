//! Actions on a component in a node. kubelet restarts what ends, so the manifest is removed first.

use std::time::Duration;

use component::poll::{self, Look};

use super::{COMPONENTS, Kind, Node, TICK};
use crate::proof::{connect, health_of};
use crate::{Error, verify};
use harness_processes::Key;
use harness_processes::{ProcessInfo, ProcessState, Verb};

/// How long a component may take to end before SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(10);

impl Kind {
    /// Acts on a process in a node.
    ///
    /// # Errors
    /// When it is in the wrong state, or the engine fails.
    pub(crate) async fn act(&self, key: &Key, verb: Verb) -> Result<ProcessInfo, Error> {
        if !COMPONENTS.contains(&key.name.as_str()) {
            let known = COMPONENTS.join(", ");
            return Err(Error::Usage(format!("{key} cannot be acted on; known are {known}")));
        }
        let node = self.node(key)?;
        match verb {
            Verb::Pause => self.signal(&node, key, "STOP", ProcessState::Paused).await?,
            Verb::Continue => self.signal(&node, key, "CONT", ProcessState::Running).await?,
            Verb::Kill => self.end(&node, key, "KILL").await?,
            Verb::Stop => self.end(&node, key, "TERM").await?,
            Verb::Start => self.start_again(&node, key).await?,
            Verb::Restart => {
                if self.processes.running(key).is_ok() {
                    self.end(&node, key, "TERM").await?;
                }
                self.start_again(&node, key).await?;
            }
        }
        self.processes.info(key).ok_or_else(|| Error::Internal(format!("{key} vanished")))
    }

    async fn signal(&self, node: &Node, key: &Key, signal: &str, state: ProcessState) -> Result<(), Error> {
        let found = self.processes.running(key)?;
        let script = format!("kill -{signal} {}", found.pid_in_node);
        self.docker.sh(&node.container, &script).await?;
        self.processes.asked(key, state);
        Ok(())
    }

    async fn end(&self, node: &Node, key: &Key, signal: &str) -> Result<(), Error> {
        let found = self.processes.running(key)?;
        self.processes.asked(key, ProcessState::Exited);
        self.hold(node, &key.name).await?;
        // A paused process does not see SIGTERM.
        let script = format!("kill -{signal} {pid}; kill -CONT {pid}; true", pid = found.pid_in_node);
        self.docker.sh(&node.container, &script).await?;
        if self.has_ended_within(key, STOP_GRACE).await {
            return Ok(());
        }
        self.docker.sh(&node.container, &format!("kill -KILL {}; true", found.pid_in_node)).await?;
        if self.has_ended_within(key, STOP_GRACE).await {
            return Ok(());
        }
        Err(Error::Environment(format!("{key} did not end within {} s of SIGKILL", STOP_GRACE.as_secs())))
    }

    async fn has_ended_within(&self, key: &Key, ceiling: Duration) -> bool {
        let look = || async {
            if self.processes.has_ended(key) { Look::Ready(()) } else { Look::NotYet("it runs".to_owned()) }
        };
        poll::until("the process to end", TICK, ceiling, look).await.is_ok()
    }

    async fn start_again(&self, node: &Node, key: &Key) -> Result<(), Error> {
        if self.processes.running(key).is_ok() {
            return Err(Error::Usage(format!("{key} is running already")));
        }
        self.give_back(node, &key.name).await?;
        self.note(key, node).await?;
        let dir = self.local.places.scratch.join(&key.lease).join(key.cluster.as_deref().unwrap_or_default());
        let Some((kubeconfig, path)) = health_of(&key.name, &dir) else { return Ok(()) };
        verify::healthy(&key.name, &connect(&kubeconfig).await?, path, || None).await
    }

    /// Removes a static Pod's manifest, so that kubelet does not restart it.
    pub(super) async fn hold(&self, node: &Node, component: &str) -> Result<(), Error> {
        let script =
            format!("mkdir -p /etc/e2e/held && mv /etc/kubernetes/manifests/{component}.yaml /etc/e2e/held/");
        self.docker.sh(&node.container, &script).await.map(drop)
    }

    async fn give_back(&self, node: &Node, component: &str) -> Result<(), Error> {
        let script = format!("mv /etc/e2e/held/{component}.yaml /etc/kubernetes/manifests/");
        self.docker.sh(&node.container, &script).await.map(drop)
    }
}
