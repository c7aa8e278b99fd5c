//! A run from its first event to its verdict.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::observe::speed::Meter;
use crate::observe::{Observer, sampler};
use crate::scenario::autoscaler::Autoscaler;
use crate::scenario::failure::Failure;
use crate::scenario::fleet::Fleet;
use crate::scenario::held::{self, Holds};
use crate::scenario::progress::Progress;
use crate::scenario::recorder::Recorder;
use crate::scenario::sampling::{self, Sampler, Scraper};
use crate::scenario::{collect, prepare};
use crate::view::{Facts, Front, View};
use harness_model::plan::{Plan, memory};
use harness_model::profile::Loaded;
use harness_model::provider::ProviderName;
use harness_model::record::event::End;
use harness_model::record::{Event, Phase, RunDir, Tally};
use harness_planes::spec::Lease;
use harness_supervisor::Client;

/// What to run, and where.
pub struct Options<'a> {
    /// Profile, catalog and ranges.
    pub loaded: &'a Loaded,
    /// The plan derived from them.
    pub plan: &'a Plan,
    /// The run directory; created if needed.
    pub dir: &'a RunDir,
    /// The supervisor's control socket.
    pub supervisor: &'a Path,
    /// Directory of the project's binaries.
    pub bin_dir: &'a Path,
    /// The autoscaler, if it is not the reference.
    pub autoscaler: Option<&'a Autoscaler>,
    /// Directory of the control-plane binaries, for the record.
    pub tools_dir: &'a Path,
    /// How the run is shown.
    pub front: &'a Front,
    /// Cancelled by Ctrl-C.
    pub cancel: CancellationToken,
}

/// A run in progress.
pub struct Run<'a> {
    pub(super) options: &'a Options<'a>,
    /// Memory limit of each apiserver, in MiB.
    pub(super) apiserver_gomemlimit_mib: u32,
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) progress: Progress,
    pub(super) sampler: Sampler,
    pub(super) scraper: Scraper,
    /// The control planes, once they exist; the sampler identifies this run's processes by it.
    pub(super) lease: Arc<OnceLock<Lease>>,
    /// Whether the clusters are still ours.
    pub(super) holds: Holds,
    pub(super) observer: Option<Observer>,
    pub(super) fleet: Option<Fleet>,
    /// The task that asks the load-drivers, and the channel through which it ends the run.
    pub(super) load_watch: JoinSet<()>,
    pub(super) load_failed: mpsc::UnboundedSender<Failure>,
}

/// Runs a profile and writes its run directory. Whatever happens after the first event, what was observed is written
/// and the control planes are released.
///
/// # Errors
/// [`Failure`]: the run did not complete. The run directory can still be judged, unless this happened before the first
/// event.
pub async fn run(options: &Options<'_>) -> Result<(), Failure> {
    let client = Client::connect(options.supervisor).await?;
    let status = client.status().await?;
    if let Some(why) = prepare::refused(&options.plan.profile, status.provider) {
        return Err(Failure::Usage(why));
    }
    if let Some(why) = &status.not_batch {
        tracing::warn!(
            why,
            "programs run without the scheduling class SCHED_BATCH; do not compare with runs that have it"
        );
    }
    let apiserver_gomemlimit_mib =
        memory::apiserver_limit_mib(&options.plan.profile, sampler::host().available_mib);
    let made = prepare::Made {
        provider: status.provider,
        autoscaler: options.autoscaler,
        sched_batch: status.not_batch.is_none(),
        apiserver_gomemlimit_mib,
    };
    prepare::write(options.dir, options.loaded, options.plan, options.tools_dir, &made)
        .map_err(|e| Failure::Environment(format!("{e:#}")))?;
    let (view, inbox) = View::new(Facts::of(options.plan, &options.dir.run_id()), options.front);
    let recorder = Recorder::start(options.dir, view)?;
    let progress = Progress::start(recorder.clone(), options.front, inbox);
    recorder.record(Event::RunStarted {
        run_id: options.dir.run_id(),
        profile: options.plan.profile.name.clone(),
        seed: options.plan.profile.seed,
        wall_unix_us: recorder.clock().wall_start_us(),
    });
    // This comes first, while no part of the run is working yet.
    let meter = Meter::start(recorder.clock());
    if let Err(error) = meter.quiet().await {
        recorder.note(format!("the host's speed is not measured, and no figure is normalised: {error}"));
    }
    let mut tasks = JoinSet::new();
    let (dead_sender, mut dead) = mpsc::unbounded_channel();
    let lease = Arc::new(OnceLock::new());
    let sampled =
        sampling::Sampled { client: client.clone(), supervisor_pid: status.pid, lease: lease.clone(), meter };
    let holds = Holds::new(client.clone(), lease.clone(), recorder.clone());
    if status.provider == ProviderName::Existing {
        holds.watch(&mut tasks, dead_sender.clone());
    }
    let sampler = sampling::sample(&mut tasks, options.dir, &recorder, sampled, dead_sender)?;
    let scraper = sampling::scrape(&mut tasks, options.dir, &recorder, options.cancel.clone())?;
    let (load_failed, mut load_failures) = mpsc::unbounded_channel();
    let mut run = Run {
        options,
        apiserver_gomemlimit_mib,
        client,
        recorder,
        progress,
        sampler,
        scraper,
        lease,
        holds,
        observer: None,
        fleet: None,
        load_watch: JoinSet::new(),
        load_failed,
    };
    let tally = run.recorder.tally().clone();
    let outcome = tokio::select! {
        outcome = run.all_phases() => outcome,
        // Nothing that happens afterwards can make the run valid again.
        () = tally.spoiled() => Err(evidence_lost(&tally, options.dir)),
        () = options.cancel.cancelled() => Err(Failure::Interrupted),
        Some(obituary) = dead.recv() => Err(Failure::Broken(obituary)),
        Some(failure) = load_failures.recv() => Err(failure),
    };
    run.finish(&outcome, &mut tasks).await;
    outcome
}

impl Run<'_> {
    async fn finish(&mut self, outcome: &Result<(), Failure>, tasks: &mut JoinSet<()>) {
        if matches!(outcome, Err(Failure::Interrupted)) {
            self.recorder.view().write(|board| board.interrupted());
        }
        // From here on, we cause what happens to the load.
        self.load_watch.abort_all();
        self.begin(Phase::Collect, 0);
        if let Some(observer) = &mut self.observer {
            if !matches!(outcome, Err(Failure::Interrupted)) {
                collect::accounts(observer, self.fleet.as_ref(), &self.recorder).await;
            }
            observer.stop();
            collect::ledgers(observer, self.options.dir, self.recorder.tally());
        }
        // From here on, processes end because we stop them.
        tasks.shutdown().await;
        self.holds.account().await;
        self.recorder.drain().await;
        self.end(Phase::Collect);
        self.begin(Phase::Release, 0);
        if let Some(lease) = self.lease.get() {
            match held::shown(self.options.dir, self.client.release(&lease.id)).await {
                Ok(released) => {
                    self.count_foreign_files(lease);
                    let left = released.left.into_iter();
                    left.for_each(|left| self.recorder.record(Event::LeftBehind(left)));
                }
                Err(error) => {
                    self.recorder.note(format!("the control planes could not be released: {error}"));
                }
            }
        }
        self.end(Phase::Release);
        let (end, reason) = match outcome {
            Ok(()) => (End::Completed, None),
            Err(failure) => (failure.end(), Some(failure.to_string())),
        };
        self.recorder.end(end, reason);
        self.progress.end();
    }

    /// Counts the lines of files whose programs have ended.
    fn count_foreign_files(&self, lease: &Lease) {
        let clusters = lease.clusters.iter().map(|cluster| cluster.name.as_str());
        if let Err(error) = collect::foreign_files(clusters, self.options.dir, self.recorder.tally()) {
            self.recorder.note(format!("not counted: {error}"));
        }
    }
}

fn evidence_lost(tally: &Tally, dir: &RunDir) -> Failure {
    let loss = tally.loss().unwrap_or_default();
    let place = dir.root().display();
    Failure::Broken(format!(
        "evidence was lost: {loss}\n    make room where {place} is, or choose another place with --run-dir-root"
    ))
}
