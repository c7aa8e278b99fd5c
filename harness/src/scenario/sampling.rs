//! The two background tasks of a run: sampling processes every 2 s, scraping metrics every 5 s.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::observe::sampler::{self, Watched};
use crate::observe::scrape::{Endpoint, Target};
use crate::observe::speed::Meter;
use crate::scenario::failure::Failure;
use crate::scenario::recorder::Recorder;
use crate::view::View;
use harness_model::record::{Event, RunDir, Sample, Scrape};
use harness_planes::spec::Lease;
use harness_supervisor::Client;
use harness_supervisor::protocol::{ProcessInfo, ProcessState};

/// Time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// Time between two scrapes.
const SCRAPE_EVERY: Duration = Duration::from_secs(5);

/// A handle on the scraping task.
#[derive(Clone)]
pub struct Scraper(mpsc::UnboundedSender<Request>);

enum Request {
    Add(Target),
    Boundary(oneshot::Sender<()>),
}

impl Scraper {
    /// Creates a handle that accepts targets and never scrapes them.
    pub fn idle() -> Self {
        Self(mpsc::unbounded_channel().0)
    }

    /// Adds a target.
    pub fn add(&self, target: Target) {
        let _ = self.0.send(Request::Add(target));
    }

    /// Scrapes everything now, including the control planes, and waits for it: phases begin and end with this.
    pub async fn boundary(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.send(Request::Boundary(done)).is_ok() {
            let _ = wait.await;
        }
    }
}

/// A handle on the sampling task.
#[derive(Clone)]
pub struct Sampler(mpsc::UnboundedSender<oneshot::Sender<()>>);

impl Sampler {
    /// Samples now, out of turn, and waits for it: phases begin and end with this. Without it, the first sample of a
    /// control plane fell into the fill, and its start-up CPU was counted as part of the fill (on kind, 10 s per
    /// cluster).
    pub async fn boundary(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.send(done).is_ok() {
            let _ = wait.await;
        }
    }
}

/// What is sampled: the processes of one lease (a supervisor may serve several runs at once), the supervisor, and this
/// process.
pub struct Sampled {
    /// The supervisor.
    pub client: Client,
    /// Its process id.
    pub supervisor_pid: u32,
    /// The lease, once there is one.
    pub lease: Arc<OnceLock<Lease>>,
    /// Measures how fast the host is.
    pub meter: Meter,
}

/// Starts sampling. Components that end unasked are recorded and reported to `dead`.
///
/// # Errors
/// When the file cannot be created.
pub fn sample(
    tasks: &mut JoinSet<()>,
    dir: &RunDir,
    recorder: &Recorder,
    sampled: Sampled,
    dead: mpsc::UnboundedSender<String>,
) -> Result<Sampler, Failure> {
    let Sampled { client, supervisor_pid, lease, meter } = sampled;
    let mut writer = recorder.tally().create(&dir.processes())?;
    let recorder = recorder.clone();
    let (sender, mut requests) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    tasks.spawn(async move {
        let mut reported = BTreeSet::new();
        let mut due = Instant::now();
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (late, done) = tokio::select! {
                _ = ticks.tick() => {
                    let late = due.elapsed();
                    due = Instant::now() + SAMPLE_EVERY;
                    (late, None)
                }
                Some(done) = requests.recv() => (Duration::ZERO, Some(done)),
            };
            let Ok(mut processes) = client.processes().await else {
                // The supervisor is gone: this process is about to end as well.
                let _ = dead.send("the supervisor no longer answers".into());
                return;
            };
            processes.retain(|p| lease.get().is_some_and(|lease| lease.id == p.lease));
            report_dead(&processes, &mut reported, &recorder, &dead);
            let sample = take(&recorder, &processes, supervisor_pid, late, &meter);
            writer.write(&sample);
            recorder.view().write(|board| board.sampled(&sample));
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
    });
    Ok(Sampler(sender))
}

fn take(
    recorder: &Recorder,
    processes: &[ProcessInfo],
    supervisor_pid: u32,
    late: Duration,
    meter: &Meter,
) -> Sample {
    let ours = |name: &str, pid| Watched { name: name.into(), cluster: None, pid };
    let mut watched = vec![ours("e2e-scenario", std::process::id()), ours("e2e-supervisor", supervisor_pid)];
    watched.extend(processes.iter().filter(|p| p.state != ProcessState::Exited).map(|p| Watched {
        name: p.name.clone(),
        cluster: p.cluster.clone(),
        pid: p.pid,
    }));
    Sample {
        at_us: recorder.clock().now_us(),
        late_ms: u64::try_from(late.as_millis()).unwrap_or(u64::MAX),
        wall_skew_ms: recorder.clock().wall_skew_ms(),
        host: sampler::host(),
        processes: sampler::processes(&watched),
        host_speed: meter.taken(),
    }
}

fn report_dead(
    processes: &[ProcessInfo],
    reported: &mut BTreeSet<(String, Option<String>, u32)>,
    recorder: &Recorder,
    dead: &mpsc::UnboundedSender<String>,
) {
    for process in processes.iter().filter(|p| p.unasked && p.state == ProcessState::Exited) {
        if !reported.insert((process.name.clone(), process.cluster.clone(), process.pid)) {
            continue;
        }
        recorder.record(Event::ProcessEnded {
            name: process.name.clone(),
            cluster: process.cluster.clone(),
            exit_code: process.exit_code,
            signal: process.signal,
            log_tail: process.last_log_lines.clone(),
        });
        let _ = dead.send(obituary(process));
    }
}

fn obituary(process: &ProcessInfo) -> String {
    let whose = process.cluster.as_ref().map_or_else(String::new, |c| format!(" of {c}"));
    let how = match (process.exit_code, process.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".into(),
    };
    let lines: Vec<String> = process.last_log_lines.iter().map(|line| format!("\n    {line}")).collect();
    format!(
        "{}{whose} ended with {how}; its last log lines ({}):{}",
        process.name,
        process.log_file.display(),
        lines.concat()
    )
}

/// Starts scraping.
///
/// # Errors
/// When the file cannot be created.
pub fn scrape(
    tasks: &mut JoinSet<()>,
    dir: &RunDir,
    recorder: &Recorder,
    stop: CancellationToken,
) -> Result<Scraper, Failure> {
    let mut writer = recorder.tally().create(&dir.metrics())?;
    let recorder = recorder.clone();
    let (sender, mut requests) = mpsc::unbounded_channel();
    tasks.spawn(async move {
        let mut targets: Vec<Target> = Vec::new();
        let mut ticks = tokio::time::interval(SCRAPE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut done = None;
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                request = requests.recv() => match request {
                    Some(Request::Add(target)) => {
                        targets.push(target);
                        continue;
                    }
                    Some(Request::Boundary(waiting)) => done = Some(waiting),
                    None => return,
                },
            }
            let now_us = recorder.clock().now_us();
            let everything = done.is_some();
            let chosen = targets.iter_mut().filter(|t| everything || matches!(t.endpoint, Endpoint::Http(_)));
            let scrapes = chosen.map(|target| async move { (target.scrape(now_us).await, target) });
            for (scrape, target) in futures::future::join_all(scrapes).await {
                writer.write(&scrape);
                if scrape.error.is_none() {
                    show(recorder.view(), &scrape, target);
                }
            }
            if let Some(waiting) = done {
                let _ = waiting.send(());
            }
        }
    });
    Ok(Scraper(sender))
}

fn show(view: &View, scrape: &Scrape, target: &Target) {
    view.write(|board| {
        board.scraped(scrape.at_us, &target.name, target.cluster.as_deref(), target.series());
    });
}
