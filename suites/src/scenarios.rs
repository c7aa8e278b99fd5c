//! Whole runs of the chain for the claims of one suite: run once, judged, and read by every trial.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use futures::{StreamExt, stream};
use harness::scenario::{self, Options};
use harness::view::Front;
use harness_analysis::judge;
use harness_analysis::judge::{Evidence, Expect};
use harness_model::plan;
use harness_model::profile::{self, fixtures_dir};
use harness_model::record::RunDir;
use harness_model::summary::{Summary, markdown};
use harness_supervisor::Client as Supervisor;

use crate::{shared, starved};

/// The programs that a scenario starts.
const PROGRAMS: [&str; 5] =
    ["shard", "operator", "unschedulable-pod-controller", "node-creator", "load-driver"];

/// A scenario: a profile with overrides.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, and that of its run directory.
    pub name: String,
    /// Name of the profile.
    pub profile: String,
    /// Overrides in the form `key=value`, as after `--set`.
    pub overrides: Vec<String>,
}

/// Run directories by scenario, or why there is none.
pub type Runs = BTreeMap<String, Result<PathBuf, String>>;

/// A finished run whose evidence can be read.
pub struct Ended {
    /// The run directory.
    pub dir: RunDir,
    /// Its verdict. It may have failed, because the claims are the caller's.
    pub summary: Summary,
    /// What was planned.
    pub expect: Expect,
    /// What was recorded.
    pub evidence: Evidence,
}

impl Ended {
    /// Loads the run in a directory.
    ///
    /// # Errors
    /// When it cannot be read, or violates one of the rules of validity in `needed`.
    pub fn load(dir: &Path, needed: &[&str]) -> anyhow::Result<Self> {
        let dir = RunDir::new(dir);
        let expect = Expect::load(&dir)?;
        let evidence = Evidence::load(&dir)?;
        let summary = judge::weigh(&expect, &evidence);
        for rule in needed {
            let finding = summary.validity.iter().find(|f| f.rule == *rule);
            let finding = finding.with_context(|| format!("{rule} was not checked"))?;
            let place = dir.root().display();
            ensure!(finding.ok, "the run in {place} is invalid: {rule}: {}", finding.detail);
        }
        Ok(Self { dir, summary, expect, evidence })
    }
}

/// Returns the runs of all these scenarios. The first trial that needs any of `group` makes them, up to `at_once` at
/// the same time (they wait more than they work). Each has a directory of its name within that of the nextest run.
/// Starved runs are repeated alone.
///
/// # Errors
/// When the setup script's environment is missing. The result says how each run ended.
pub fn runs(group: &str, scenarios: &[Scenario], at_once: usize) -> anyhow::Result<Runs> {
    let places = Places::from_setup()?;
    let programs: Vec<PathBuf> = PROGRAMS.iter().map(|name| places.bins.join(name)).collect();
    shared::once(group, &programs, || run_all(group, scenarios, at_once, &places))
}

fn run_all(group: &str, scenarios: &[Scenario], at_most: usize, places: &Places) -> anyhow::Result<Runs> {
    let at_once = starved::at_once(at_most);
    // As in e2e-scenario: one thread folds and samples, one communicates.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("building a runtime")?;
    let runs = runtime.block_on(async {
        let status = Supervisor::connect(&places.supervisor).await?.status().await?;
        let dir = &status.run_dir.join(group);
        let named = |scenario: &Scenario, ended: anyhow::Result<PathBuf>| {
            (scenario.name.clone(), ended.map_err(|error| format!("{error:#}")))
        };
        let runs =
            scenarios.iter().map(|scenario| async { named(scenario, run(dir, scenario, places).await) });
        let mut runs: Runs = stream::iter(runs).buffer_unordered(at_once).collect().await;
        for scenario in scenarios {
            let first = dir.join(&scenario.name);
            let Some(why) = starved::why(&first) else { continue };
            eprintln!("{}: {why}; repeated alone", scenario.name);
            let kept = dir.join(format!("{}-starved", scenario.name));
            std::fs::rename(&first, &kept).with_context(|| format!("keeping {}", first.display()))?;
            runs.extend([named(scenario, run(dir, scenario, places).await)]);
        }
        anyhow::Ok(runs)
    });
    runtime.shutdown_background();
    runs
}

/// What the setup script created.
pub struct Places {
    /// Socket of the supervisor.
    pub supervisor: PathBuf,
    /// Directory of the built programs.
    pub bins: PathBuf,
    /// Directory of the control-plane programs.
    pub tools: PathBuf,
}

impl Places {
    /// Reads the environment that the setup script exported.
    ///
    /// # Errors
    /// When it is not set.
    pub fn from_setup() -> anyhow::Result<Self> {
        Ok(Self {
            supervisor: crate::supervisor_socket()?,
            bins: crate::bin_dir()?,
            tools: crate::tools_dir()?,
        })
    }
}

/// Makes one run, in the directory of its name within `dir`.
///
/// # Errors
/// When it did not finish. What was recorded can be judged nevertheless.
pub async fn run(dir: &Path, scenario: &Scenario, places: &Places) -> anyhow::Result<PathBuf> {
    let dir = RunDir::new(dir.join(&scenario.name));
    let loaded = profile::load(&fixtures_dir(), &scenario.profile, &scenario.overrides)?;
    let plan = plan::derive(&loaded)?;
    let options = Options {
        loaded: &loaded,
        plan: &plan,
        dir: &dir,
        supervisor: &places.supervisor,
        bin_dir: &places.bins,
        autoscaler: None,
        tools_dir: &places.tools,
        front: &Front::Lines,
        cancel: component::shutdown::token()?,
    };
    let ended = scenario::run(&options).await;
    ended.with_context(|| format!("the run {} is recorded in {}", scenario.name, dir.root().display()))?;
    let summary = judge::judge(&dir)?;
    dir.write_json(&dir.summary(), &summary)?;
    dir.write_text(&dir.summary_md(), markdown::render(&summary).as_bytes())?;
    Ok(dir.root().to_owned())
}
