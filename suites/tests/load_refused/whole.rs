//! Whole runs whose load stops being created.

use std::time::Duration;

use anyhow::{Context, ensure};
use component::poll::{self, Look};
use harness_analysis::judge::{self, Evidence};
use harness_model::record::event::End;
use harness_model::record::{Event, Phase, RunDir};
use harness_model::summary::{Summary, Verdict};
use harness_planes::spec::Lease;
use harness_supervisor::Client as Supervisor;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::DeleteParams;
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use suites::scenarios::{Places, Scenario, run};

use crate::{NOTICED_WITHIN_S, injected};

const TICK: Duration = Duration::from_millis(50);
/// Time for a start of control planes, or a fill.
const CEILING: Duration = Duration::from_secs(120);

/// A whole run, as far as it got.
struct Played {
    summary: Summary,
    evidence: Evidence,
}

/// The class of all its Pods is deleted before the Pods are created.
pub async fn missing_priority_class() -> anyhow::Result<()> {
    let played = play("missing-priority-class", &[], async |stage: Stage| {
        let lease = stage.lease().await?;
        let classes: Api<PriorityClass> = Api::all(admin(&lease).await?);
        classes.delete("e2e-100", &DeleteParams::default()).await.context("deleting a PriorityClass")?;
        Ok(())
    });
    let Played { summary, evidence } = played.await?;
    ensure!(summary.verdict == Verdict::Invalid, "{:?}: {}", summary.verdict, summary.reason);
    ensure!(summary.verdict.exit_code() == 4 && evidence.end == Some(End::Aborted), "{:?}", evidence.end);
    let words = [
        "load_was_made: kwok-cluster-0: cannot get the Pods of Deployment kwok-cluster-0-tiny-stateless-",
        "no PriorityClass with name e2e-100 was found",
    ];
    ensure!(words.iter().all(|words| summary.reason.contains(words)), "{}", summary.reason);
    let began = at(&evidence, |e| *e == Event::PhaseStarted { phase: Phase::Fill }).context("no fill")?;
    let failed = at(&evidence, |e| matches!(e, Event::LoadFailed(_))).context("no failure is recorded")?;
    let after_s = (failed - began) as f64 / 1e6;
    ensure!(after_s <= NOTICED_WITHIN_S, "noticed {after_s:.1} s after the fill began");
    Ok(())
}

/// A quota that appears once the autoscaler runs refuses the Pods that churn should bring back.
pub async fn quota_in_the_soak() -> anyhow::Result<()> {
    let played = play("quota-of-the-autoscaler", &[], async |stage: Stage| {
        let lease = stage.lease().await?;
        stage.phase(Phase::Soak).await?;
        injected::quota_for_all(&admin(&lease).await?).await
    });
    let Played { summary, evidence } = played.await?;
    ensure!(summary.verdict == Verdict::Fail, "{:?}: {}", summary.verdict, summary.reason);
    for words in ["exceeded quota: few", "ResourceQuota few, which came after the autoscaler was started"] {
        ensure!(summary.reason.contains(words), "{}", summary.reason);
    }
    ensure!(evidence.end == Some(End::GoalMissed), "{:?}", evidence.end);
    Ok(())
}

/// load-driver dies while it declares.
pub async fn killed_in_fill() -> anyhow::Result<()> {
    killed("killed-in-the-fill", Phase::Fill, &["fill.windowPods=20", "fill.stepReplicas=10"]).await
}

/// load-driver dies while it deletes Pods.
pub async fn killed_in_churn() -> anyhow::Result<()> {
    killed("killed-in-churn", Phase::Soak, &[]).await
}

/// load-driver dies while it swings demand, and does nothing else.
pub async fn killed_in_wave() -> anyhow::Result<()> {
    let wave = "demandWave={archetype: tiny-stateless, replicas: 20, period: 10s}";
    killed("killed-in-the-wave", Phase::Soak, &["churnPerMinute=0", wave]).await
}

async fn killed(name: &str, phase: Phase, overrides: &[&str]) -> anyhow::Result<()> {
    let kill = async |stage: Stage| {
        stage.phase(phase).await?;
        let processes = stage.supervisor.processes().await?;
        let driver = processes.iter().find(|p| p.name == "load-driver").context("no load-driver runs")?;
        let pid = i32::try_from(driver.pid).ok().and_then(Pid::from_raw).context("a process without id")?;
        // Not by the supervisor: an end that was requested does not count.
        kill_process(pid, Signal::KILL).context("killing load-driver")
    };
    let Played { summary, evidence } = play(name, overrides, kill).await?;
    ensure!(summary.verdict == Verdict::Invalid, "{:?}: {}", summary.verdict, summary.reason);
    let words = "load_was_made: kwok-cluster-0: load-driver ended with a signal";
    ensure!(summary.reason.starts_with(words), "{}", summary.reason);
    let began = at(&evidence, |e| *e == Event::PhaseStarted { phase }).context("the phase never began")?;
    let ended = at(&evidence, |e| matches!(e, Event::ProcessEnded { .. })).context("no end is recorded")?;
    let after_s = (ended - began) as f64 / 1e6;
    ensure!(after_s <= NOTICED_WITHIN_S, "noticed {after_s:.1} s after the phase began");
    Ok(())
}

/// The handle for disturbing a run.
struct Stage {
    supervisor: Supervisor,
    dir: RunDir,
}

impl Stage {
    /// Waits for the run's control plane.
    async fn lease(&self) -> anyhow::Result<Lease> {
        let supervisor = &self.supervisor;
        let lease = poll::until("the control plane to be ready", TICK, CEILING, || async move {
            match supervisor.status().await.map(|status| status.leases.into_iter().next()) {
                Ok(Some(lease)) => Look::Ready(lease),
                Ok(None) => Look::NotYet("no lease".to_owned()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        });
        Ok(lease.await?)
    }

    /// Waits until a phase begins.
    async fn phase(&self, phase: Phase) -> anyhow::Result<()> {
        let (wanted, events) = (format!("\"phase\":\"{}\"", phase.name()), self.dir.events());
        let (wanted, events) = (&wanted, &events);
        poll::until("the phase to begin", TICK, CEILING, || async move {
            let text = std::fs::read_to_string(events).unwrap_or_default();
            match text.lines().any(|line| line.contains("phase_started") && line.contains(wanted)) {
                true => Look::Ready(()),
                false => Look::NotYet(text.lines().last().unwrap_or_default().to_owned()),
            }
        })
        .await?;
        Ok(())
    }
}

/// Runs the smallest profile together with a disturbance.
async fn play(
    name: &str,
    overrides: &[&str],
    disturb: impl AsyncFnOnce(Stage) -> anyhow::Result<()>,
) -> anyhow::Result<Played> {
    let places = Places::from_setup()?;
    let supervisor = Supervisor::connect(&places.supervisor).await?;
    let root = supervisor.status().await?.run_dir.join("load_refused");
    let dir = RunDir::new(root.join(name));
    let scenario = Scenario {
        name: name.to_owned(),
        profile: "smoke".to_owned(),
        overrides: overrides.iter().map(|o| (*o).to_owned()).collect(),
    };
    let stage = Stage { supervisor, dir: dir.clone() };
    let (ended, disturbed) = futures::join!(run(&root, &scenario, &places), disturb(stage));
    disturbed?;
    ensure!(ended.is_err(), "the run came to its end");
    let place = dir.root().display().to_string();
    let summary = judge::judge(&dir).with_context(|| format!("judging {place}"))?;
    let evidence = Evidence::load(&dir).with_context(|| format!("reading {place}"))?;
    Ok(Played { summary, evidence })
}

async fn admin(lease: &Lease) -> anyhow::Result<Client> {
    let cluster = lease.clusters.first().context("a lease without clusters")?;
    component::client::connect_unlimited(&cluster.kubeconfigs["admin"]).await
}

fn at(evidence: &Evidence, is_it: impl Fn(&Event) -> bool) -> Option<u64> {
    evidence.events.iter().find(|e| is_it(&e.event)).map(|e| e.at_us)
}
