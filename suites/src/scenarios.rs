//! Whole runs of the chain for the claims of one suite: played once, judged, read by every trial.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::future::join_all;
use harness::profile::{self, fixtures_dir};
use harness::record::RunDir;
use harness::scenario::{self, Options};
use harness::summary::markdown;
use harness::supervisor::Client as Supervisor;
use harness::{judge, plan};

use crate::shared;

/// The programs that a scenario starts.
const PROGRAMS: [&str; 5] =
    ["shard", "operator", "unschedulable-pod-controller", "node-creator", "load-driver"];

/// A scenario: a profile with overrides.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Names its run directory.
    pub name: String,
    /// Profile.
    pub profile: String,
    /// `key=value`, as after `--set`.
    pub overrides: Vec<String>,
}

/// Run directories by scenario, or why there is none.
pub type Runs = BTreeMap<String, Result<PathBuf, String>>;

/// The runs of all these scenarios, made at once (they wait more than they work) by the first trial that asks
/// for any of `group`, each in a directory of its name in that of the nextest run.
///
/// # Errors
/// When the setup script's environment is missing. How each run ended is in the answer.
pub fn runs(group: &str, scenarios: &[Scenario]) -> anyhow::Result<Runs> {
    let places = Places {
        supervisor: crate::supervisor_socket()?,
        bins: crate::bin_dir()?,
        tools: crate::tools_dir()?,
    };
    let programs: Vec<PathBuf> = PROGRAMS.iter().map(|name| places.bins.join(name)).collect();
    shared::once(group, &programs, || run_all(group, scenarios, &places))
}

fn run_all(group: &str, scenarios: &[Scenario], places: &Places) -> anyhow::Result<Runs> {
    // As e2e-scenario: one thread folds and samples, one talks.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("building a runtime")?;
    let runs = runtime.block_on(async {
        let status = Supervisor::connect(&places.supervisor).await?.status().await?;
        let dir = status.run_dir.join(group);
        anyhow::Ok(join_all(scenarios.iter().map(|scenario| run(&dir, scenario, places))).await)
    });
    runtime.shutdown_background();
    let named = scenarios.iter().map(|s| s.name.clone()).zip(runs?);
    Ok(named.map(|(name, run)| (name, run.map_err(|error| format!("{error:#}")))).collect())
}

struct Places {
    supervisor: PathBuf,
    bins: PathBuf,
    tools: PathBuf,
}

async fn run(dir: &Path, scenario: &Scenario, places: &Places) -> anyhow::Result<PathBuf> {
    let dir = RunDir::new(dir.join(&scenario.name));
    let loaded = profile::load(&fixtures_dir(), &scenario.profile, &scenario.overrides)?;
    let plan = plan::derive(&loaded)?;
    let options = Options {
        loaded: &loaded,
        plan: &plan,
        dir: &dir,
        supervisor: &places.supervisor,
        bin_dir: &places.bins,
        tools_dir: &places.tools,
        cancel: component::shutdown::token()?,
    };
    let ended = scenario::run(&options).await;
    ended.with_context(|| format!("the run {} is recorded in {}", scenario.name, dir.root().display()))?;
    let summary = judge::judge(&dir)?;
    dir.write_json(&dir.summary(), &summary)?;
    dir.write_text(&dir.summary_md(), markdown::render(&summary).as_bytes())?;
    Ok(dir.root().to_owned())
}
