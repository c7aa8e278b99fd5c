//! Whatever holds a run back is named, even if it takes no CPU: a slow scheduler, a starved load-driver, a kwok that
//! does not play its Nodes. Every scale test has to answer it: whose speed was measured?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use component::poll::{self, Look};
use harness_analysis::judge;
use harness_model::components::{KWOK, SCHEDULER};
use harness_model::record::{Phase, RunDir};
use harness_model::summary::{Summary, Verdict};
use harness_supervisor::Client as Supervisor;
use harness_supervisor::protocol::Verb;
use libtest_mimic::Arguments;
use suites::scenarios::{Places, Scenario, run};

const TICK: Duration = Duration::from_millis(50);
/// Time for control planes to start.
const CEILING: Duration = Duration::from_secs(90);

fn main() -> std::process::ExitCode {
    let trials = vec![
        suites::trial("scheduler_at_5_qps::is_named_with_its_limit", || suites::block_on(slow_scheduler())),
        suites::trial("starved_load_driver::makes_a_run_invalid", || suites::block_on(starved_driver())),
        suites::trial("paused_kwok::is_no_fault_of_the_autoscaler", || suites::block_on(paused_kwok())),
        suites::trial("nothing_wrong::nobody_is_named", || suites::block_on(nothing_wrong())),
    ];
    suites::run(&Arguments::from_args(), trials)
}

async fn slow_scheduler() -> anyhow::Result<()> {
    let overlay = "harness.schedulerConfigOverlay={clientConnection: {qps: 5, burst: 5}}";
    let (summary, _) = play("slow-scheduler", &[overlay]).await?;
    let held = summary.held_back.iter().find(|h| h.phase == Phase::Fill && h.component == SCHEDULER);
    ensure!(held.is_some(), "kube-scheduler is not named for the fill: {:?}", summary.held_back);
    Ok(())
}

async fn starved_driver() -> anyhow::Result<()> {
    let (summary, _) = play("starved-driver", &["loadDriver.qps=1", "loadDriver.burst=1"]).await?;
    ensure!(summary.verdict == Verdict::Invalid, "{:?}: {}", summary.verdict, summary.reason);
    ensure!(summary.reason.starts_with("driver_kept_pace: load-driver"), "{}", summary.reason);
    Ok(())
}

/// kwok is paused as soon as the control plane exists: Nodes appear and Pods are bound, but none of them runs.
async fn paused_kwok() -> anyhow::Result<()> {
    let pause = async {
        let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
        let supervisor = &supervisor;
        let lease = poll::until("the control plane to be ready", TICK, CEILING, || async move {
            match supervisor.status().await.map(|status| status.leases) {
                Ok(leases) => match leases.into_iter().next() {
                    Some(lease) => Look::Ready(lease),
                    None => Look::NotYet("no lease".to_owned()),
                },
                Err(error) => Look::NotYet(error.to_string()),
            }
        });
        let lease = lease.await?;
        let cluster = lease.clusters.first().context("a lease without clusters")?;
        supervisor.component(&lease.id, Some(&cluster.name), KWOK, Verb::Pause).await?;
        anyhow::Ok(())
    };
    // Longer than a bound Pod may take to run.
    let (played, paused) = futures::join!(play("paused-kwok", &["phases.rampBudget=80s"]), pause);
    paused?;
    let (summary, ended) = played?;
    ensure!(
        ended.is_err() && summary.verdict == Verdict::Invalid,
        "{:?}: {}",
        summary.verdict,
        summary.reason
    );
    ensure!(summary.reason.starts_with("kubelets_kept_up: kwok did not keep up"), "{}", summary.reason);
    let held: Vec<&str> = summary.held_back.iter().map(|h| h.component.as_str()).collect();
    ensure!(held == [KWOK], "not kwok alone is named: {:?}", summary.held_back);
    Ok(())
}

async fn nothing_wrong() -> anyhow::Result<()> {
    let (summary, ended) = play("nothing-wrong", &[]).await?;
    ended?;
    ensure!(summary.held_back.is_empty(), "named without a reason: {:?}", summary.held_back);
    Ok(())
}

/// Runs the smallest profile. Returns its summary, and how it ended.
async fn play(name: &str, overrides: &[&str]) -> anyhow::Result<(Summary, anyhow::Result<PathBuf>)> {
    let places = Places::from_setup()?;
    let status = Supervisor::connect(&places.supervisor).await?.status().await?;
    let dir = status.run_dir.join("bottlenecks");
    let scenario = Scenario {
        name: name.to_owned(),
        profile: "smoke".to_owned(),
        overrides: overrides.iter().map(|o| (*o).to_owned()).collect(),
    };
    let ended = run(&dir, &scenario, &places).await;
    let dir = RunDir::new(dir.join(name));
    let summary = judge::judge(&dir).with_context(|| format!("judging {}", dir.root().display()))?;
    Ok((summary, ended))
}
