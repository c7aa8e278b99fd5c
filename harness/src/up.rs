//! `e2e-supervisor up`: control planes that stay until `down`, optionally with a profile's programs.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::observe::sampler;
use crate::scenario::fleet::{self, Places};
use crate::scenario::held;
use crate::scenario::sampling::Scraper;
use crate::scenario::{Autoscaler, Failure, prepare};
use harness_model::plan::{self, Plan};
use harness_model::profile::{self, Loaded};
use harness_model::record::RunDir;
use harness_planes::Choice;
use harness_planes::spec::{Lease, LeaseSpec};
use harness_supervisor::starter::{self, Owner, Start};
use harness_supervisor::{Client, Error};

/// Options of `up`.
#[derive(Args, Clone, Debug)]
pub struct Up {
    /// Number of control planes [default: the profile's, or 1].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub clusters: Option<u16>,
    /// Create the control planes of this profile: their number, scheduler configuration and tuning.
    #[arg(long)]
    pub profile: Option<String>,
    /// Also start the profile's autoscaler, node-creator and (idle) load-driver, with its machines.
    #[arg(long, requires = "profile")]
    pub with_fleet: bool,
    /// Directory of another autoscaler's programs, in place of the reference's (docs/bring-your-own.md).
    #[arg(long, value_name = "DIR", requires = "with_fleet")]
    pub autoscaler: Option<PathBuf>,
    /// Scheduler configuration: a path, or the name of a file in fixtures/scheduler [default: the
    /// profile's, or most-allocated.yaml].
    #[arg(long)]
    pub scheduler_config: Option<PathBuf>,
    /// How control planes are created: local (child processes), kind, or existing (none are created); xtask provides
    /// what is needed [env: E2E_PROVIDER] [default: local].
    #[arg(long, value_parser = harness_model::provider::NAMES)]
    pub provider: Option<String>,
    /// Kubeconfig of an existing, adopted cluster, one for each; with --provider existing. xtask passes it on [env:
    /// E2E_KUBECONFIGS].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Vec<PathBuf>,
    /// Directory for the run directory.
    #[arg(long, default_value = "target/e2e")]
    pub state_dir: PathBuf,
    /// Directory of the control-plane programs [default: the cache].
    #[arg(long)]
    pub tools_dir: Option<PathBuf>,
    /// MiB that the control planes may use together [default: what is available].
    #[arg(long)]
    pub memory_budget_mib: Option<u64>,
}

/// A profile and what it would create.
struct Chosen {
    loaded: Loaded,
    plan: Plan,
    /// The autoscaler, if it is not the reference.
    autoscaler: Option<Autoscaler>,
    /// Memory limit of each apiserver, in MiB.
    apiserver_gomemlimit_mib: u32,
}

/// Starts a supervisor that stays, with control planes. Returns what to type next.
///
/// # Errors
/// When something does not start; in that case nothing is left running.
pub async fn up(up: &Up) -> Result<String, Error> {
    let provider = Choice::from_env()?;
    let meant = provider.name();
    if up.provider.as_ref().is_some_and(|provider| provider != meant.name()) {
        let message = format!("--provider contradicts E2E_PROVIDER ({meant}); use `cargo xtask up`");
        return Err(Error::Usage(message));
    }
    let given = match &provider {
        Choice::Existing(existing) => Some(existing.kubeconfigs.len()),
        Choice::Local | Choice::Kind(_) => None,
    };
    if given.is_none() && !up.kubeconfig.is_empty() {
        return Err(Error::Usage("--kubeconfig needs --provider existing".to_owned()));
    }
    let chosen = choose(up)?;
    let spec = lease_spec(up, chosen.as_ref(), given)?;
    // A random suffix distinguishes two that are started within a second.
    let chance = RandomState::new().hash_one(std::process::id()) & 0xffff;
    let run_id = format!("up-{}-{chance:04x}", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"));
    let tools_dir = up.tools_dir.clone().map_or_else(|| starter::tools_dir(&provider), Ok)?;
    let start = Start {
        run_dir: up.state_dir.join(&run_id),
        run_id,
        owner: Owner::Keep,
        bin_dir: starter::bin_dir()?,
        tools_dir,
        provider,
        memory_budget_mib: up.memory_budget_mib,
    };
    let (mut child, announcement) = starter::start(&start).await?;
    let client = Client::connect(&announcement.socket).await?;
    match fill_in(up, &spec, chosen.as_ref(), &start, &client).await {
        Ok(lease) => {
            let not_batch = client.status().await.ok().and_then(|status| status.not_batch);
            Ok(describe(&start, &lease, up.with_fleet, not_batch.as_deref()))
        }
        Err(error) => {
            let _ = client.shutdown().await;
            let _ = child.wait();
            Err(error)
        }
    }
}

fn choose(up: &Up) -> Result<Option<Chosen>, Error> {
    let Some(name) = &up.profile else { return Ok(None) };
    let mut overrides = Vec::new();
    overrides.extend(up.clusters.map(|n| format!("clusters={n}")));
    let loaded =
        profile::load(&profile::fixtures_dir(), name, &overrides).map_err(|e| Error::Usage(e.to_string()))?;
    let plan = plan::derive(&loaded).map_err(|e| Error::Usage(e.to_string()))?;
    let autoscaler = up.autoscaler.as_deref().map(Autoscaler::in_dir).transpose().map_err(Error::Usage)?;
    let apiserver_gomemlimit_mib =
        plan::memory::apiserver_limit_mib(&plan.profile, sampler::host().available_mib);
    Ok(Some(Chosen { loaded, plan, autoscaler, apiserver_gomemlimit_mib }))
}

/// Returns what to lease; with existing clusters, as many as are `given`.
fn lease_spec(up: &Up, chosen: Option<&Chosen>, given: Option<usize>) -> Result<LeaseSpec, Error> {
    let mut spec = match chosen {
        Some(chosen) => prepare::lease_spec(&chosen.plan.profile, chosen.apiserver_gomemlimit_mib),
        None => LeaseSpec::of(up.clusters.map(usize::from).or(given).unwrap_or(1)),
    };
    if let Some(given) = given.filter(|given| *given != spec.clusters.len()) {
        let wanted = spec.clusters.len();
        return Err(Error::Usage(format!(
            "{wanted} clusters are asked for, but {given} are given with --kubeconfig; give one for each"
        )));
    }
    if let Some(config) = &up.scheduler_config {
        spec.clusters.iter_mut().for_each(|cluster| cluster.scheduler_config.clone_from(config));
    }
    Ok(spec)
}

async fn fill_in(
    up: &Up,
    spec: &LeaseSpec,
    chosen: Option<&Chosen>,
    start: &Start,
    client: &Client,
) -> Result<Lease, Error> {
    // An existing cluster may have to be watched or cleaned first.
    let lease = held::shown(&RunDir::new(&start.run_dir), client.lease_detached(spec)).await?;
    if let Some(chosen) = chosen.filter(|_| up.with_fleet) {
        start_fleet(chosen, start, client, &lease).await?;
    }
    Ok(lease)
}

async fn start_fleet(chosen: &Chosen, start: &Start, client: &Client, lease: &Lease) -> Result<(), Error> {
    let root = start.run_dir.canonicalize().map_err(|e| Error::Environment(e.to_string()))?;
    let dir = RunDir::new(root);
    let status = client.status().await?;
    let autoscaler = chosen.autoscaler.as_ref();
    let made = prepare::Made {
        provider: status.provider,
        autoscaler,
        sched_batch: status.not_batch.is_none(),
        apiserver_gomemlimit_mib: chosen.apiserver_gomemlimit_mib,
    };
    prepare::write(&dir, &chosen.loaded, &chosen.plan, &start.tools_dir, &made)
        .map_err(|e| Error::Environment(format!("{e:#}")))?;
    let scratch = status.scratch.join("scenario");
    let places = Places { bin_dir: &start.bin_dir, autoscaler, dir: &dir, scratch };
    let started = fleet::start(client, lease, &chosen.plan.profile, &places, &Scraper::idle()).await;
    started.map(drop).map_err(|failure| match failure {
        Failure::Usage(message) => Error::Usage(message),
        other => Error::Environment(other.to_string()),
    })
}

fn describe(start: &Start, lease: &Lease, with_fleet: bool, not_batch: Option<&str>) -> String {
    let mut text = format!("run {} ({})\n", start.run_id, start.run_dir.display());
    for cluster in &lease.clusters {
        let total_ms = cluster.steps.last().map_or(0, |step| step.duration_ms);
        let kubeconfig = cluster.kubeconfigs.get("admin").map_or(Path::new("?"), PathBuf::as_path);
        writeln!(text, "  {}  ready after {total_ms} ms  {}", cluster.name, kubeconfig.display())
            .expect("writing to a string must succeed");
        cluster.notes.iter().for_each(|note| text.push_str(&format!("    note: {note}\n")));
    }
    if let Some(why) = not_batch {
        writeln!(text, "  note: programs run without the scheduling class SCHED_BATCH: {why}")
            .expect("writing to a string must succeed");
    }
    if with_fleet {
        text.push_str("  the autoscaler is running: Pods that request one of its shapes get machines\n");
    }
    text.push_str("next: cargo xtask kubectl -- get nodes; cargo xtask status; cargo xtask down\n");
    text
}
