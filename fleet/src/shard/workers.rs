//! Carrying out actions: a fixed number of persistent workers (ADR-0021).

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{gauge, histogram};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::shard::audit::Record;
use crate::shard::state::{Drain, Job, PendingBlob, Shard};
use crate::shard::{frames, metrics as shard_metrics};
use fleet_engine::{Change, Kind};

/// How long an operator may take to answer a bootstrap request.
const BLOB_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts the workers; jobs go into the returned queue, which holds twice as many as run at once.
pub(crate) fn start(shard: &Arc<Shard>) -> mpsc::Sender<Job> {
    let concurrency = usize::from(shard.args.execute_concurrency);
    let (sender, queue) = mpsc::channel(2 * concurrency);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..concurrency {
        let (shard, queue) = (Arc::clone(shard), Arc::clone(&queue));
        tokio::spawn(async move {
            loop {
                let job = queue.lock().await.recv().await;
                let Some(job) = job else { break };
                gauge!("bigfleet_shard_execute_inflight").increment(1.0);
                execute(&shard, job).await;
                gauge!("bigfleet_shard_execute_inflight").decrement(1.0);
            }
        });
    }
    sender
}

async fn execute(shard: &Shard, job: Job) {
    let outcome = match job.action.kind {
        Kind::Bootstrap => bootstrap(shard, &job).await,
        Kind::Provision => provision(shard, &job).await,
        Kind::Reclaim | Kind::Preempt => {
            begin_drain(shard, job).await;
            return;
        }
        Kind::Delete => change(shard, &job, Change::Gone),
    };
    finish(shard, &job, outcome);
}

/// Applies a change; the machine was taken for this job, so a refusal is a bug to be seen in the metrics.
fn change(shard: &Shard, job: &Job, change: Change) -> &'static str {
    match shard.lock().inventory.apply(&job.action.machine, change) {
        Ok(_) => "success",
        Err(error) => {
            tracing::error!(%error, kind = job.action.kind.name(), "illegal change refused");
            "transition_error"
        }
    }
}

/// As [`change`], and tells the cluster.
fn change_and_tell(shard: &Shard, job: &Job, to: Change) -> &'static str {
    let outcome = change(shard, job, to);
    shard.lock().tell(&job.action.cluster, &job.action.machine);
    outcome
}

async fn provision(shard: &Shard, job: &Job) -> &'static str {
    if let Err(error) = shard.provider.create(&job.action.machine).await {
        change(shard, job, Change::Fail { error: error.to_string() });
        return "provider_error";
    }
    let Some(assignment) = job.action.assignment.clone() else { return "missing_profile" };
    let idle = change(shard, job, Change::Free { now_s: shard.now_s() });
    if idle != "success" {
        return idle;
    }
    let bound = change(shard, job, Change::Bind(assignment));
    if bound == "success" { bootstrap(shard, job).await } else { bound }
}

async fn bootstrap(shard: &Shard, job: &Job) -> &'static str {
    let begin = Instant::now();
    let back = || Change::Free { now_s: shard.now_s() };
    let Some(answer) = request_blob(shard, job) else {
        change(shard, job, back());
        return "no_session";
    };
    match tokio::time::timeout(BLOB_TIMEOUT, answer).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => {
            let error = format!("the operator could not render a bootstrap blob: {error}");
            change_and_tell(shard, job, Change::Fail { error });
            return "blob_error";
        }
        // The session ended, or its operator is silent: nothing has reached the provider.
        Ok(Err(_)) => {
            change_and_tell(shard, job, back());
            return "no_session";
        }
        Err(_) => {
            change_and_tell(shard, job, back());
            return "ctx_canceled";
        }
    }
    histogram!("bigfleet_shard_request_bootstrap_seconds").record(begin.elapsed().as_secs_f64());
    if let Err(error) = shard.provider.configure(&job.action.machine).await {
        change_and_tell(shard, job, Change::Fail { error: error.to_string() });
        return "provider_error";
    }
    let outcome = change_and_tell(shard, job, Change::Configured);
    histogram!("bigfleet_shard_configure_phase_seconds").record(begin.elapsed().as_secs_f64());
    note_first_machine(shard, job);
    outcome
}

/// Announces the machine and asks for its blob; `None` without a session.
fn request_blob(shard: &Shard, job: &Job) -> Option<oneshot::Receiver<Result<(), String>>> {
    let mut state = shard.lock();
    let cluster = job.action.cluster.as_str();
    let session = state.sessions.get(cluster)?.id();
    let request_id = format!("{:016x}", state.next_serial());
    let (answer, receiver) = oneshot::channel();
    state.tell(cluster, &job.action.machine);
    if !state.send(cluster, frames::bootstrap_request(&request_id, &job.action)) {
        return None;
    }
    state.blobs.insert(request_id, PendingBlob { session, answer });
    Some(receiver)
}

/// Upstream's provisioning latency: from a fingerprint's first roll-up to its first machine.
fn note_first_machine(shard: &Shard, job: &Job) {
    let Some(assignment) = &job.action.assignment else { return };
    let mut state = shard.lock();
    let since = state
        .demand
        .get_mut(&assignment.cluster)
        .and_then(|demand| demand.waiting_since.get_mut(&assignment.fingerprint))
        .and_then(Option::take);
    if let Some(since) = since {
        histogram!("bigfleet_shard_provisioning_latency_seconds").record(since.elapsed().as_secs_f64());
    }
}

/// Sends the instruction. With `--wait-for-eviction` the operator's answers end the drain (and a new
/// session hears the instruction again), so that the worker is free meanwhile.
async fn begin_drain(shard: &Shard, job: Job) {
    {
        let mut state = shard.lock();
        let id = format!("reclaim-{}-{}", shard.epoch, state.next_serial());
        let cluster = job.action.cluster.clone();
        state.send(&cluster, frames::reclaim_instruction(&id, &job.action));
        state.tell(&cluster, &job.action.machine);
        if shard.args.wait_for_eviction {
            state.drains.insert(id, Drain { job, acks: 0 });
            return;
        }
    }
    let outcome = drain_at_provider(shard, &job).await;
    // Upstream's operator deletes the UpcomingNode on this frame.
    shard.lock().tell(&job.action.cluster, &job.action.machine);
    finish(shard, &job, outcome);
}

/// Ends a drain that the operator has reported on.
pub(crate) async fn end_drain(shard: Arc<Shard>, job: Job, failed: bool) {
    let outcome = if failed {
        let error = "the operator could not drain the Node within its grace".to_owned();
        change_and_tell(&shard, &job, Change::Fail { error });
        "drain_failed"
    } else {
        // The operator has deleted the UpcomingNode already: an Idle frame would make it anew.
        drain_at_provider(&shard, &job).await
    };
    finish(&shard, &job, outcome);
    // What was short of machines need not wait for the ticker.
    shard.wake.notify_one();
}

async fn drain_at_provider(shard: &Shard, job: &Job) -> &'static str {
    if let Err(error) = shard.provider.drain(&job.action.machine).await {
        change(shard, job, Change::Fail { error: error.to_string() });
        return "provider_error";
    }
    let outcome = change(shard, job, Change::Free { now_s: shard.now_s() });
    histogram!("bigfleet_shard_drain_phase_seconds").record(job.started.elapsed().as_secs_f64());
    outcome
}

fn finish(shard: &Shard, job: &Job, outcome: &'static str) {
    shard_metrics::outcome(&job.action, outcome);
    shard.audit.write(&Record::new(&job.action, job.cycle, job.started_unix_nanos, outcome));
    if outcome != "success" {
        tracing::warn!(
            kind = job.action.kind.name(), machine = %job.action.machine, cluster = job.action.cluster,
            outcome, "action did not succeed"
        );
    }
}
