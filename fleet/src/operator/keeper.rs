//! Upkeep of the UpcomingNodes: one object per machine of this cluster, written by one worker at a time.
//!
//! The operator is the only writer of these objects, so what it wrote last is what is there: no cache that
//! may be stale stands between a frame and the decision (upstream's does). An object that someone else
//! deleted answers 404, and is forgotten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use api::UpcomingNode;
use api::names;
use api::session::NodeStateUpdate;
use api::upcoming_node::{UpcomingNodePhase as Phase, UpcomingNodeStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use metrics::{counter, gauge, histogram};
use serde_json::json;

use crate::operator::objects;
use crate::operator::phase::{Pending, phase_of};
use component::apiserver;
use component::queue::Queue;

/// Machines that are written for at once; upstream's semaphore.
const WORKERS: usize = 32;
const DURATION: &str = "bigfleet_operator_node_state_update_duration_seconds";
const WRITES: &str = "bigfleet_operator_upcoming_node_writes_total";
const IN_FLIGHT: &str = "bigfleet_operator_dispatch_inflight";

/// The keeper; shared by the session and the drains.
pub struct Keeper {
    client: Client,
    machines: Mutex<HashMap<String, Arc<Slot>>>,
    /// Machine by Node name, where the two differ.
    by_node: Mutex<HashMap<String, String>>,
    queue: Queue<String>,
}

#[derive(Default)]
struct Slot {
    pending: Mutex<(Pending, Option<Instant>)>,
    /// While a drain owns the object, frames about the machine are old news: the drain decides how it ends.
    draining: AtomicBool,
    /// The object as last written; held while writing.
    object: tokio::sync::Mutex<Option<UpcomingNode>>,
}

/// A drain that a former process began.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfinished {
    /// The machine.
    pub machine: String,
    /// Its Node.
    pub node: String,
    /// The instruction.
    pub instruction: String,
    /// When the drain must have ended.
    pub deadline: SystemTime,
}

impl Keeper {
    /// Reads what is there.
    ///
    /// # Errors
    /// When the UpcomingNodes cannot be listed.
    pub async fn load(client: Client) -> Result<(Arc<Self>, Vec<Unfinished>), kube::Error> {
        let keeper = Self {
            client: client.clone(),
            machines: Mutex::default(),
            by_node: Mutex::default(),
            queue: Queue::default(),
        };
        let mut unfinished = Vec::new();
        for object in Api::<UpcomingNode>::all(client).list(&ListParams::default()).await? {
            let Some(machine) = object.metadata.name.as_deref().and_then(names::machine_id) else { continue };
            let machine = machine.to_owned();
            let node = objects::node_name(&object).unwrap_or(&machine).to_owned();
            if let Some((instruction, deadline)) = objects::unfinished_drain(&object) {
                unfinished.push(Unfinished {
                    machine: machine.clone(),
                    node: node.clone(),
                    instruction,
                    deadline,
                });
            }
            lock(&keeper.by_node).insert(node, machine.clone());
            *keeper.slot(&machine).object.lock().await = Some(object);
        }
        Ok((Arc::new(keeper), unfinished))
    }

    /// Starts the workers.
    pub fn start(self: &Arc<Self>) {
        for _ in 0..WORKERS {
            let keeper = self.clone();
            tokio::spawn(async move {
                loop {
                    keeper.work_once().await;
                }
            });
        }
    }

    /// Takes in a frame about a machine.
    pub fn frame(&self, frame: NodeStateUpdate) {
        let machine = frame.machine_id.clone();
        if !frame.node_name.is_empty() {
            lock(&self.by_node).insert(frame.node_name.clone(), machine.clone());
        }
        let slot = self.slot(&machine);
        {
            let mut pending = lock(&slot.pending);
            pending.0.absorb(frame);
            pending.1.get_or_insert_with(Instant::now);
        }
        self.queue.push(machine);
    }

    /// The machine behind a Node; upstream's shard names the machine itself.
    pub fn machine_of(&self, node: &str) -> String {
        lock(&self.by_node).get(node).cloned().unwrap_or_else(|| node.to_owned())
    }

    /// From now on a drain owns the machine's object.
    pub fn own(&self, machine: &str) {
        self.slot(machine).draining.store(true, Ordering::SeqCst);
    }

    /// The drain is over. Frames that came meanwhile spoke of the life that ended.
    pub fn disown(&self, machine: &str) {
        let slot = self.slot(machine);
        *lock(&slot.pending) = Default::default();
        slot.draining.store(false, Ordering::SeqCst);
    }

    /// Writes down that the machine is being drained and until when, then sets the phase Draining.
    ///
    /// # Errors
    /// When a write failed; writing again is harmless.
    pub async fn mark_draining(
        &self,
        machine: &str,
        instruction: &str,
        deadline: SystemTime,
    ) -> Result<(), kube::Error> {
        let slot = self.slot(machine);
        let mut object = slot.object.lock().await;
        if object.is_none() {
            return Ok(());
        }
        let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX).to_string();
        let annotations = json!({ names::DRAIN_DEADLINE: deadline, names::DRAIN_INSTRUCTION: instruction });
        let patch = json!({"metadata": {"annotations": annotations}});
        let name = names::upcoming_node_name(machine);
        let result = apiserver::patch::<UpcomingNode>(&self.client, None, &name, &patch).await;
        if counted("spec_update", result, &mut object)? {
            return self.write_phase(machine, &mut object, Phase::Draining, None).await;
        }
        Ok(())
    }

    /// Sets the phase of a machine's object, if there is one.
    ///
    /// # Errors
    /// When the write failed.
    pub async fn mark(&self, machine: &str, phase: Phase, error: Option<&str>) -> Result<(), kube::Error> {
        let slot = self.slot(machine);
        let mut object = slot.object.lock().await;
        self.write_phase(machine, &mut object, phase, error).await
    }

    /// The phase of a machine's object as last written.
    pub async fn phase(&self, machine: &str) -> Option<Phase> {
        self.slot(machine).object.lock().await.as_ref().and_then(objects::phase)
    }

    /// Deletes a machine's object, if there is one.
    ///
    /// # Errors
    /// When the deletion failed.
    pub async fn delete(&self, machine: &str) -> Result<(), kube::Error> {
        let slot = self.slot(machine);
        let mut object = slot.object.lock().await;
        self.delete_object(machine, &mut object).await
    }

    async fn work_once(&self) {
        let machine = self.queue.take().await;
        let slot = self.slot(&machine);
        gauge!(IN_FLIGHT).increment(1.0);
        let mut object = slot.object.lock().await;
        let (pending, since) = std::mem::take(&mut *lock(&slot.pending));
        let outcome = if slot.draining.load(Ordering::SeqCst) {
            Ok(())
        } else {
            self.carry_out(&machine, &mut object, &pending).await
        };
        drop(object);
        gauge!(IN_FLIGHT).decrement(1.0);
        match outcome {
            Ok(()) => {
                if let (Some(frame), Some(since)) = (&pending.newest, since) {
                    let phase = format!("{:?}", phase_of(frame.state()));
                    histogram!(DURATION, "phase" => phase).record(since.elapsed().as_secs_f64());
                }
                self.queue.done(&machine);
            }
            Err(error) => {
                tracing::warn!(machine, %error, "UpcomingNode not written; retrying");
                {
                    let mut now = lock(&slot.pending);
                    now.0.put_back(pending);
                    now.1 = since.or(now.1);
                }
                self.queue.retry(machine, apiserver::retry_after(&error));
            }
        }
    }

    async fn carry_out(
        &self,
        machine: &str,
        object: &mut Option<UpcomingNode>,
        pending: &Pending,
    ) -> Result<(), kube::Error> {
        let plan =
            pending.plan(object.as_ref().map(|known| objects::phase(known).unwrap_or(Phase::Provisioning)));
        if plan.delete {
            self.delete_object(machine, object).await?;
        }
        let (Some(phase), Some(frame)) = (plan.apply, &pending.newest) else { return Ok(()) };
        self.write_spec(machine, object, frame).await?;
        let status = objects::status(frame, phase, object.as_ref().and_then(|known| known.status.as_ref()));
        self.write_status(machine, object, status).await
    }

    async fn write_spec(
        &self,
        machine: &str,
        object: &mut Option<UpcomingNode>,
        frame: &NodeStateUpdate,
    ) -> Result<(), kube::Error> {
        let wanted = objects::spec(frame);
        let name = names::upcoming_node_name(machine);
        let Some(known) = object else {
            let fresh = UpcomingNode::new(&name, wanted.clone());
            match apiserver::create(&self.client, &fresh).await {
                // Someone made it before us, so what it holds is not known: write all of it.
                Err(error) if apiserver::code(&error) == Some(409) => {
                    count_write("create", "conflict");
                    let patch = json!({"spec": wanted});
                    let result = apiserver::patch::<UpcomingNode>(&self.client, None, &name, &patch).await;
                    count_write("spec_update", if result.is_ok() { "success" } else { "error" });
                    result?;
                }
                Err(error) => {
                    count_write("create", "error");
                    return Err(error);
                }
                Ok(()) => count_write("create", "success"),
            }
            *object = Some(fresh);
            return Ok(());
        };
        // A frame without resources says nothing about the machine, only about its state.
        if frame.amounts().next().is_none() || known.spec == wanted {
            return Ok(());
        }
        let patch = objects::spec_patch(&known.spec, &wanted);
        let result = apiserver::patch::<UpcomingNode>(&self.client, None, &name, &patch).await;
        if counted("spec_update", result, object)?
            && let Some(known) = object
        {
            known.spec = wanted;
        }
        Ok(())
    }

    async fn write_phase(
        &self,
        machine: &str,
        object: &mut Option<UpcomingNode>,
        phase: Phase,
        error: Option<&str>,
    ) -> Result<(), kube::Error> {
        let Some(known) = object.as_ref() else { return Ok(()) };
        let status = UpcomingNodeStatus {
            phase,
            last_error: error.map(str::to_owned),
            ..objects::status_or_new(known.status.as_ref())
        };
        self.write_status(machine, object, status).await
    }

    async fn write_status(
        &self,
        machine: &str,
        object: &mut Option<UpcomingNode>,
        status: UpcomingNodeStatus,
    ) -> Result<(), kube::Error> {
        let Some(known) = object.as_ref() else { return Ok(()) };
        if known.status.as_ref() == Some(&status) {
            count_write("status_update", "noop");
            return Ok(());
        }
        let mut patch = json!({ "status": status });
        if status.last_error.is_none() && known.status.as_ref().is_some_and(|s| s.last_error.is_some()) {
            patch["status"]["lastError"] = serde_json::Value::Null;
        }
        let name = names::upcoming_node_name(machine);
        let result = apiserver::patch_status::<UpcomingNode>(&self.client, None, &name, &patch).await;
        if counted("status_update", result, object)?
            && let Some(known) = object
        {
            known.status = Some(status);
        }
        Ok(())
    }

    async fn delete_object(
        &self,
        machine: &str,
        object: &mut Option<UpcomingNode>,
    ) -> Result<(), kube::Error> {
        if object.is_none() {
            return Ok(());
        }
        let api = Api::<UpcomingNode>::all(self.client.clone());
        let name = names::upcoming_node_name(machine);
        let result = api.delete(&name, &DeleteParams::default()).await.map(drop);
        counted("delete", result, object)?;
        *object = None;
        Ok(())
    }

    fn slot(&self, machine: &str) -> Arc<Slot> {
        let mut machines = lock(&self.machines);
        match machines.get(machine) {
            Some(slot) => slot.clone(),
            None => machines.entry(machine.to_owned()).or_default().clone(),
        }
    }
}

/// Counts a write. `Ok(false)`: the object is gone, and is forgotten.
fn counted(
    op: &'static str,
    result: Result<(), kube::Error>,
    object: &mut Option<UpcomingNode>,
) -> Result<bool, kube::Error> {
    match result {
        Ok(()) => {
            count_write(op, "success");
            Ok(true)
        }
        Err(error) if apiserver::is_gone(&error) => {
            count_write(op, "noop");
            *object = None;
            Ok(false)
        }
        Err(error) => {
            count_write(op, if apiserver::code(&error) == Some(409) { "conflict" } else { "error" });
            Err(error)
        }
    }
}

fn count_write(op: &'static str, outcome: &'static str) {
    counter!(WRITES, "op" => op, "outcome" => outcome).increment(1);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("the keeper's mutexes must not be poisoned")
}
