//! The phases of a run, one after the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use component::poll::{self, Look};
use futures::future::try_join_all;

use crate::observe::scrape::{self, Endpoint, Target};
use crate::observe::{Counts, Observer};
use crate::scenario::collect;
use crate::scenario::failure::Failure;
use crate::scenario::fleet::{self, Fleet, Places};
use crate::scenario::held;
use crate::scenario::load::{self, Gate};
use crate::scenario::quiet::{self, Still};
use crate::scenario::run::Run;
use crate::scenario::{account, actuation, driver::Driver, prepare};
use harness_model::components::SCHEDULER;
use harness_model::profile::Scheduler;
use harness_model::record::{Event, Phase};
use harness_planes::spec::Lease;
use harness_supervisor::protocol::Verb;

/// How long a number of machines that differs from the plan must stay unchanged to count as quiet.
const MACHINES_UNCHANGED: Duration = Duration::from_secs(45);
/// Time between two checks of the counts.
const POLL: Duration = Duration::from_secs(1);
/// Time between two checks of whether the shard acts.
const RESUME_POLL: Duration = Duration::from_millis(50);
/// How long the shard may take to report that it acts, after the roll-up that ends a pause.
const RESUMED_WITHIN: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// Runs all phases up to and including `quiesce`.
    ///
    /// # Errors
    /// [`Failure`]; what was observed until then stays in `self`.
    pub async fn all_phases(&mut self) -> Result<(), Failure> {
        let lease = self.provision().await?;
        self.start(&lease).await?;
        self.fill().await?;
        self.steady().await?;
        self.let_the_shard_act().await?;
        self.settle().await?;
        self.soak().await?;
        self.quiesce().await
    }

    async fn provision(&mut self) -> Result<Lease, Failure> {
        self.begin(Phase::Provision, 0);
        let plan = self.options.plan;
        let planes = plan.profile.clusters;
        self.progress.say(&format!("starting {planes} control plane{}", if planes == 1 { "" } else { "s" }));
        let spec = prepare::lease_spec(&plan.profile, self.apiserver_gomemlimit_mib);
        let lease = held::shown(self.options.dir, self.client.lease(&spec)).await?;
        let _ = self.lease.set(lease.clone());
        for (cluster, note) in lease.clusters.iter().flat_map(|c| c.notes.iter().map(|note| (&c.name, note)))
        {
            self.progress.say(&format!("{cluster}: {note}"));
            self.recorder.note(format!("{cluster}: {note}"));
        }
        let json = serde_json::to_value(&lease).unwrap_or_default();
        self.options.dir.write_json(&self.options.dir.root().join("lease.json"), &json)?;
        self.end(Phase::Provision);
        Ok(lease)
    }

    async fn start(&mut self, lease: &Lease) -> Result<(), Failure> {
        self.begin(Phase::Start, 0);
        let identity = |name: &str| -> Result<BTreeMap<String, PathBuf>, Failure> {
            let of = |c: &harness_planes::spec::Cluster| {
                let path = c.kubeconfigs.get(name).cloned();
                path.map(|p| (c.name.clone(), p)).ok_or_else(|| {
                    Failure::Environment(format!("the lease of {} has no kubeconfig for {name}", c.name))
                })
            };
            lease.clusters.iter().map(of).collect()
        };
        let watchers = identity("observer")?;
        let observer = Observer::start(&watchers, self.recorder.clock(), self.recorder.queue());
        let observer = observer.await.map_err(Failure::broken)?;
        let mut gates = BTreeMap::new();
        for (cluster, kubeconfig) in identity("admin")? {
            let admin = component::client::connect_unlimited(&kubeconfig).await.map_err(Failure::broken)?;
            let rights = account::node_creator_rights(&admin, &cluster).await.map_err(Failure::broken)?;
            rights.into_iter().for_each(|event| self.recorder.record(event));
            let gate = Gate::before_the_autoscaler(admin).await.context("listing what may refuse load");
            gates.insert(cluster, gate.map_err(Failure::broken)?);
        }
        self.observer = Some(observer);
        self.add_control_plane_targets(lease).await?;
        let status = self.client.status().await?;
        let places = Places {
            bin_dir: self.options.bin_dir,
            autoscaler: self.options.autoscaler,
            dir: self.options.dir,
            // A supervisor may serve several runs, one after the other or at once.
            scratch: status.scratch.join(&lease.id).join("scenario"),
        };
        let profile = &self.options.plan.profile;
        let fleet = fleet::start(&self.client, lease, profile, &places, &self.scraper).await?;
        let (recorder, failed) = (self.recorder.clone(), self.load_failed.clone());
        self.load_watch.spawn(load::watch(fleet.drivers.clone(), gates, recorder, failed));
        self.fleet = Some(fleet);
        self.end(Phase::Start);
        Ok(())
    }

    async fn add_control_plane_targets(&self, lease: &Lease) -> Result<(), Failure> {
        for cluster in &lease.clusters {
            for component in ["kube-apiserver", "kube-scheduler", "kube-controller-manager"] {
                let Some(kubeconfig) = cluster.metrics_kubeconfigs.get(component) else { continue };
                let client =
                    component::client::connect_unlimited(kubeconfig).await.map_err(Failure::broken)?;
                self.scraper.add(Target::new(component, Some(&cluster.name), Endpoint::Kube(client)));
            }
        }
        Ok(())
    }

    /// Samples and scrapes everything, as is done at the beginning and the end of phases.
    async fn boundary(&self) {
        self.sampler.boundary().await;
        self.scraper.boundary().await;
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let profile = &self.options.plan.profile;
        let (target, budget) = (profile.total_pods(), profile.phases.ramp_budget.0);
        self.boundary().await;
        self.begin(Phase::Fill, target);
        // Otherwise the scheduler packs Pods that should be bound evenly. While held back, it answers no scrape.
        self.turn_schedulers(Verb::Pause).await?;
        let filled = self.until_filled(target, budget).await;
        self.turn_schedulers(Verb::Continue).await?;
        self.boundary().await;
        filled?;
        self.end(Phase::Fill);
        Ok(())
    }

    async fn until_filled(&mut self, target: u64, budget: Duration) -> Result<(), Failure> {
        // A driver may answer at once or only when it is done: the observer decides when the fill is over.
        let drivers: Vec<Driver> = self.fleet()?.drivers.clone();
        let mut fills = tokio::task::JoinSet::new();
        drivers.into_iter().for_each(|driver| drop(fills.spawn(async move { driver.fill().await })));
        let started = Instant::now();
        loop {
            let observer = self.observer.as_ref().ok_or_else(not_started)?;
            let counts = self.progress.update(observer, "");
            if [counts.live, counts.bound, counts.running].into_iter().all(|n| n == target) {
                return Ok(());
            }
            if started.elapsed() >= budget {
                return Err(self.fill_missed(counts, target, budget));
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                Some(done) = fills.join_next() => {
                    done.context("a fill was cancelled").and_then(|r| r).map_err(Failure::broken)?;
                }
            }
        }
    }

    /// Holds the schedulers back, or lets them continue, if load-driver binds the fill.
    async fn turn_schedulers(&self, verb: Verb) -> Result<(), Failure> {
        let profile = &self.options.plan.profile;
        if !profile.pre_bind || profile.harness.scheduler != Scheduler::KubeScheduler {
            return Ok(());
        }
        let lease = self.lease.get().ok_or_else(not_started)?;
        for cluster in &lease.clusters {
            self.client.component(&lease.id, Some(&cluster.name), SCHEDULER, verb).await?;
        }
        Ok(())
    }

    /// Lifts the pause that the shard was started in, and waits until it acts.
    async fn let_the_shard_act(&mut self) -> Result<(), Failure> {
        let profile = &self.options.plan.profile;
        if !profile.shard.paused_until_filled {
            return Ok(());
        }
        let url = format!("{}/actuation", self.fleet()?.shard_http);
        scrape::post(&format!("{url}/resume")).await.map_err(Failure::broken)?;
        let ceiling = profile.operator.rollup_interval.0 + RESUMED_WITHIN;
        poll::until("the shard to act (it begins with the next roll-up)", RESUME_POLL, ceiling, || async {
            match scrape::get(&url).await {
                Ok(answer) => actuation::look(&answer),
                Err(error) => Look::NotYet(format!("{error:#}")),
            }
        })
        .await
        .map_err(|error| Failure::broken(error.into()))?;
        self.recorder.record(Event::ActuationResumed);
        Ok(())
    }

    fn fill_missed(&self, counts: Counts, target: u64, budget: Duration) -> Failure {
        let reasons = self.observer.as_ref().map(collect::unbound_reasons).unwrap_or_default();
        let reasons: Vec<String> =
            reasons.iter().take(5).map(|(reason, n)| format!("\n    {n} Pods: {reason}")).collect();
        Failure::GoalMissed(format!(
            "after the ramp budget of {} s, {} of {target} Pods were created, {} bound, {} running{}",
            budget.as_secs(),
            counts.created,
            counts.bound,
            counts.running,
            reasons.concat()
        ))
    }

    async fn steady(&mut self) -> Result<(), Failure> {
        let still = Still { machines: self.planned_machines(), machines_unchanged: None };
        let ceiling = self.options.plan.profile.phases.settle.0;
        self.quiet(Phase::Steady, still, ceiling).await
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        let unchanged = Some(MACHINES_UNCHANGED);
        let still = Still { machines: self.planned_machines(), machines_unchanged: unchanged };
        let ceiling = self.options.plan.profile.phases.settle.0;
        self.quiet(Phase::Settle, still, ceiling).await
    }

    async fn soak(&mut self) -> Result<(), Failure> {
        let profile = &self.options.plan.profile;
        let (target, length) = (profile.total_pods(), profile.phases.soak.0);
        self.boundary().await;
        self.begin(Phase::Soak, target);
        let drivers = self.fleet()?.drivers.clone();
        try_join_all(drivers.iter().map(Driver::soak)).await.map_err(Failure::broken)?;
        let started = Instant::now();
        while started.elapsed() < length {
            let left = length.saturating_sub(started.elapsed());
            self.progress.update(self.observer.as_ref().ok_or_else(not_started)?, "");
            tokio::time::sleep(left.min(POLL)).await;
        }
        try_join_all(drivers.iter().map(Driver::stop)).await.map_err(Failure::broken)?;
        self.boundary().await;
        self.end(Phase::Soak);
        Ok(())
    }

    async fn quiesce(&mut self) -> Result<(), Failure> {
        let unchanged = Some(MACHINES_UNCHANGED);
        let still = Still { machines: self.planned_machines(), machines_unchanged: unchanged };
        let ceiling = self.options.plan.profile.phases.quiesce_ceiling();
        self.quiet(Phase::Quiesce, still, ceiling).await?;
        self.boundary().await;
        Ok(())
    }

    async fn quiet(&mut self, phase: Phase, still: Still, ceiling: Duration) -> Result<(), Failure> {
        self.begin(phase, self.options.plan.profile.total_pods());
        let observer = self.observer.as_ref().ok_or_else(not_started)?;
        let bare = &self.fleet.as_ref().ok_or_else(not_started)?.bare[..];
        let waited = quiet::wait(observer, bare, &self.recorder, &mut self.progress, phase, still, ceiling);
        waited.await.map_err(Failure::broken)?;
        self.end(phase);
        Ok(())
    }

    fn planned_machines(&self) -> u64 {
        self.options.plan.clusters.iter().map(|c| u64::from(c.machines)).sum()
    }

    fn fleet(&self) -> Result<&Fleet, Failure> {
        self.fleet.as_ref().ok_or_else(not_started)
    }

    /// Marks the beginning of a phase.
    pub fn begin(&mut self, phase: Phase, target: u64) {
        self.recorder.record(Event::PhaseStarted { phase });
        self.progress.phase(phase, target);
    }

    /// Marks the end of a phase.
    pub fn end(&mut self, phase: Phase) {
        self.recorder.record(Event::PhaseEnded { phase });
    }
}

fn not_started() -> Failure {
    Failure::Broken("the phase `start` must come first".into())
}
