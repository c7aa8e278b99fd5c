//! What load-driver is doing, and how that is started, stopped and told.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::churn::{self, Stream};
use super::cluster::{Cluster, Refused};
use super::control::Request;
use super::events::Events;
use super::{bare, fill, metrics, prebind, wave};
use harness_model::plan::{ClusterPlan, Workload};
use harness_model::profile::Workloads;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request makes no sense now, or at all.
    #[error("{0}")]
    Usage(String),
    /// The apiserver refused.
    #[error(transparent)]
    Apiserver(#[from] Refused),
}

impl Refusal {
    /// As in the supervisor's protocol.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Apiserver(_) => "internal",
        }
    }
}

/// How far the fill is.
#[derive(Clone, Debug, Default, PartialEq)]
enum Filling {
    #[default]
    NotStarted,
    Running,
    Done {
        seconds: f64,
    },
    Failed(String),
}

/// A stream of deletions under way, or over.
struct Progress {
    name: String,
    planned: usize,
    digest: String,
    done: Arc<AtomicU32>,
}

/// Load on one cluster.
pub struct Driver {
    cluster: Arc<Cluster>,
    plan: ClusterPlan,
    /// Which of the plan's clusters.
    index: usize,
    events: Events,
    filling: Mutex<Filling>,
    streams: Mutex<Vec<Progress>>,
    /// Churn and waves, with what stops them.
    running: Mutex<(CancellationToken, Vec<JoinHandle<()>>)>,
}

impl Driver {
    /// A driver that does nothing yet.
    pub fn new(cluster: Arc<Cluster>, plan: ClusterPlan, index: usize, events: Events) -> Self {
        Self {
            cluster,
            plan,
            index,
            events,
            filling: Mutex::default(),
            streams: Mutex::default(),
            running: Mutex::new((CancellationToken::new(), Vec::new())),
        }
    }

    /// Carries out a request; the answer is the content of `ok`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn handle(self: &Arc<Self>, request: Request) -> Result<Value, Refusal> {
        match request {
            Request::Fill {} => self.fill()?,
            Request::Soak { seconds } => {
                let profile = &self.cluster.plan.profile;
                let length = seconds.map_or(profile.phases.soak.0, Duration::from_secs);
                let streams = churn::streams(&self.cluster.plan, &self.plan, length);
                self.events.record("soak_started", json!({"seconds": length.as_secs_f64()}));
                self.churn(streams);
                if profile.demand_wave.is_some() {
                    self.wave(length)?;
                }
            }
            Request::Churn { per_minute, seconds } => self.churn_at(per_minute, seconds)?,
            Request::Wave { seconds } => self.wave(Duration::from_secs(seconds))?,
            Request::Burst { pods } => {
                let name = format!("burst/{}", self.plan.name);
                let all = self.plan.workloads.iter().collect();
                let seed = self.cluster.plan.profile.seed;
                self.churn(vec![Stream::new(&name, seed, all, pods, Duration::ZERO, false)]);
            }
            Request::Scale { workload, replicas } => {
                let found = self.plan.workloads.iter().find(|w| w.name == workload);
                let unknown = || Refusal::Usage(format!("{} has no workload {workload}", self.plan.name));
                self.cluster.set_replicas(found.ok_or_else(unknown)?, replicas).await?;
                self.events.record("scaled", json!({"workload": workload, "replicas": replicas}));
            }
            Request::Stop {} => self.stop().await,
            Request::Status {} => {}
        }
        Ok(self.status())
    }

    fn fill(self: &Arc<Self>) -> Result<(), Refusal> {
        {
            let mut filling = lock(&self.filling);
            match &*filling {
                Filling::NotStarted | Filling::Failed(_) => *filling = Filling::Running,
                Filling::Running => return Err(Refusal::Usage("the fill is running already".into())),
                Filling::Done { .. } => return Err(Refusal::Usage("the fill is done already".into())),
            }
        }
        self.events.record("fill_started", json!({"target": self.plan.pods}));
        let driver = self.clone();
        self.spawn("fill", async move { driver.fill_to_the_end().await });
        let profile = &self.cluster.plan.profile;
        if profile.pre_bind {
            let driver = self.clone();
            self.spawn("bind", async move { prebind::run(&driver.cluster, &driver.plan).await });
        }
        if profile.workloads == Workloads::Bare && profile.load_driver.bare_top_up {
            let driver = self.clone();
            self.spawn("make up for lost Pods", async move {
                bare::top_up(&driver.cluster, &driver.plan).await;
            });
        }
        Ok(())
    }

    async fn fill_to_the_end(&self) {
        let start = Instant::now();
        let profile = &self.cluster.plan.profile;
        let end = match fill::run(&self.cluster, &self.plan, &profile.fill).await {
            Ok(()) => {
                metrics::steady();
                Filling::Done { seconds: start.elapsed().as_secs_f64() }
            }
            Err(refused) => {
                self.cluster.report(&refused);
                Filling::Failed(refused.to_string())
            }
        };
        match &end {
            Filling::Failed(reason) => self.events.record("fill_failed", json!({"reason": reason})),
            _ => self.events.record("fill_done", json!({"counts": self.cluster.world.totals()})),
        }
        *lock(&self.filling) = end;
    }

    fn churn_at(self: &Arc<Self>, per_minute: f64, seconds: u64) -> Result<(), Refusal> {
        if !(0.0..=1.0).contains(&per_minute) {
            return Err(Refusal::Usage(format!(
                "per_minute is {per_minute}, but must be within 0 and 1 (a share of the target)"
            )));
        }
        let count = (f64::from(self.plan.pods) * per_minute * seconds as f64 / 60.0).round() as u32;
        let profile = &self.cluster.plan.profile;
        let all = self.plan.workloads.iter().collect();
        let name = format!("churn/{}", self.plan.name);
        let length = Duration::from_secs(seconds);
        let poisson = profile.load_driver.poisson_jitter;
        self.churn(vec![Stream::new(&name, profile.seed, all, count, length, poisson)]);
        Ok(())
    }

    fn churn(self: &Arc<Self>, streams: Vec<Stream>) {
        let start = Instant::now();
        for stream in streams {
            let (done, digest) = (Arc::new(AtomicU32::new(0)), stream.digest());
            let planned = stream.picks.len();
            let facts = json!({"stream": stream.name, "planned": planned, "digest": digest});
            self.events.record("churn_started", facts);
            lock(&self.streams).push(Progress { name: stream.name, planned, digest, done: done.clone() });
            let stop = lock(&self.running).0.clone();
            self.start("churn", churn::run(self.cluster.clone(), stream.picks, start, done, stop));
        }
    }

    fn wave(self: &Arc<Self>, length: Duration) -> Result<(), Refusal> {
        let plan = &self.cluster.plan;
        let wave = plan.profile.demand_wave.clone();
        let wave = wave.ok_or_else(|| Refusal::Usage("the profile has no demandWave".into()))?;
        let swings = wave::swings(&wave, self.index, plan.clusters.len(), length);
        let facts = json!({"archetype": wave.archetype, "swings": swings.len(), "replicas": wave.replicas});
        self.events.record("wave_started", facts);
        let (driver, stop, start) = (self.clone(), lock(&self.running).0.clone(), Instant::now());
        self.start("swing demand", async move {
            wave::run(&driver.cluster, &driver.plan, &wave, &swings, start, &stop).await;
        });
        Ok(())
    }

    fn start(&self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.spawn(what, work);
        lock(&self.running).1.push(task);
    }

    /// Starts a task whose panic is load that is not made.
    fn spawn(&self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let cluster = self.cluster.clone();
        tokio::spawn(async move {
            if let Err(error) = tokio::spawn(work).await {
                cluster.failures.add(what, error.to_string());
            }
        })
    }

    /// Stops churn and waves, waits for what has begun, and brings every object back to the plan's replicas.
    async fn stop(&self) {
        let (token, tasks) =
            std::mem::replace(&mut *lock(&self.running), (CancellationToken::new(), Vec::new()));
        token.cancel();
        for task in tasks {
            // What went wrong in it is among the failures.
            let _ = task.await;
        }
        if *lock(&self.filling) != Filling::Running {
            let all: Vec<&Workload> = self.plan.workloads.iter().collect();
            wave::set_all(&self.cluster, all, |w| w.replicas).await;
        }
        self.events.record("stopped", self.status());
    }

    fn status(&self) -> Value {
        let filling = lock(&self.filling).clone();
        let (phase, fill_seconds, error) = match filling {
            Filling::NotStarted => ("idle", None, None),
            Filling::Running => ("filling", None, None),
            Filling::Failed(reason) => ("failed", None, Some(reason)),
            Filling::Done { seconds } => {
                let busy = lock(&self.running).1.iter().any(|task| !task.is_finished());
                (if busy { "soaking" } else { "filled" }, Some(seconds), None)
            }
        };
        let streams: Vec<Value> = lock(&self.streams)
            .iter()
            .map(|p| {
                let done = p.done.load(Ordering::Relaxed);
                json!({"stream": p.name, "planned": p.planned, "done": done, "digest": p.digest})
            })
            .collect();
        json!({
            "cluster": self.plan.name,
            "phase": phase,
            "target": self.plan.pods,
            "counts": self.cluster.world.totals(),
            "fill_seconds": fill_seconds,
            "error": error,
            "streams": streams,
            "failures": self.cluster.failures.all(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("the driver's mutex must not be poisoned")
}
