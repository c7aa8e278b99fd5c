//! What is known before a run begins: the control planes to ask for, and what is written down (profile,
//! plan, inventory, host, tools).

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use crate::cluster::spec::{ClusterSpec, DISRUPTION_CONTROLLER, LeaseSpec};
use crate::observe::sampler;
use crate::plan::Plan;
use crate::profile::{Loaded, Profile, Scheduler};
use crate::record::RunDir;
use crate::scenario::autoscaler::Autoscaler;
use crate::summary::machine;

/// How a run is made, beside its profile and tools.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// How control planes are made.
    pub provider: &'a str,
    /// The autoscaler, if it is not the reference's.
    pub autoscaler: Option<&'a Autoscaler>,
    /// Memory limit of each apiserver, MiB.
    pub apiserver_gomemlimit_mib: u32,
}

/// Writes what a run is made from.
///
/// # Errors
/// When the directory cannot be written.
pub fn write(
    dir: &RunDir,
    loaded: &Loaded,
    plan: &Plan,
    tools_dir: &Path,
    made: &Made<'_>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir.logs()).with_context(|| format!("creating {}", dir.logs().display()))?;
    let profile = serde_saphyr::to_string(&loaded.profile).context("serialising the profile")?;
    dir.write_text(&dir.profile(), profile.as_bytes())?;
    let ranges = serde_saphyr::to_string(&loaded.ranges).context("serialising the ranges")?;
    dir.write_text(&dir.ranges(), ranges.as_bytes())?;
    dir.write_text(&dir.plan(), plan.to_json().as_bytes())?;
    dir.write_json(&dir.inventory(), &plan.inventory)?;
    dir.write_json(&dir.host(), &host(made))?;
    dir.write_json(&dir.tools(), &tools(tools_dir))?;
    Ok(())
}

/// Why a profile cannot be run on control planes of that provider; none if it can.
pub fn refused(profile: &Profile, provider: &str) -> Option<String> {
    let holds_schedulers_back = profile.pre_bind && profile.harness.scheduler == Scheduler::KubeScheduler;
    (provider == "existing" && holds_schedulers_back).then(|| {
        format!(
            "the profile {} binds the fill itself and holds the schedulers back meanwhile (preBind), which those of \
             existing clusters are not ours to do; give --set preBind=false, or another provider",
            profile.name
        )
    })
}

/// The control planes of a profile, each apiserver with that memory limit.
pub fn lease_spec(profile: &Profile, apiserver_gomemlimit_mib: u32) -> LeaseSpec {
    let cluster = |name: String| cluster_spec(profile, &name, apiserver_gomemlimit_mib);
    LeaseSpec { clusters: profile.cluster_names().map(cluster).collect() }
}

fn cluster_spec(profile: &Profile, name: &str, apiserver_gomemlimit_mib: u32) -> ClusterSpec {
    let mut spec = ClusterSpec::named(name);
    spec.scheduler_config = PathBuf::from(&profile.harness.scheduler_config);
    spec.scheduler_config_overlay.clone_from(&profile.harness.scheduler_config_overlay);
    spec.run_scheduler = profile.harness.scheduler == Scheduler::KubeScheduler;
    spec.control_plane.clone_from(&profile.control_plane);
    spec.control_plane.apiserver_gomemlimit_mib = Some(apiserver_gomemlimit_mib);
    spec.controllers.extend(profile.disruption_budget.map(|_| DISRUPTION_CONTROLLER.to_owned()));
    spec
}

/// Facts about the host, how control planes are made on it, and whose autoscaler runs beside them.
fn host(made: &Made<'_>) -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let named =
        |key: &str| cpu_info.lines().find_map(|l| l.strip_prefix(key)?.split(':').nth(1)).map(str::trim);
    // arm64 has no model's name; maker and part tell one kind of core from another as well.
    let of_arm = || Some(format!("ARM {} {}", named("CPU implementer")?, named("CPU part")?));
    let model = named("model name").map(str::to_owned).or_else(of_arm).unwrap_or_default();
    let total = read("/proc/meminfo").lines().find_map(|l| l.strip_prefix("MemTotal:").map(str::to_owned));
    let total_kib: Option<u64> = total.and_then(|t| t.trim().trim_end_matches("kB").trim().parse().ok());
    let before = sampler::host();
    let mut facts = json!({
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "cpu_model": model,
        "memory_mib": total_kib.unwrap_or_default() / 1024,
        "memory_available_mib_at_start": before.available_mib,
        "load1_at_start": before.load1,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "provider": made.provider,
        "harness_version": env!("CARGO_PKG_VERSION"),
    });
    // Of clusters that are there, it is not ours to set.
    if made.provider != "existing" {
        facts[machine::APISERVER_GOMEMLIMIT_MIB] = made.apiserver_gomemlimit_mib.into();
    }
    if let Some(autoscaler) = made.autoscaler {
        facts["autoscaler"] = autoscaler.name().into();
    }
    facts
}

/// Which control-plane programs are used: the description that lies beside them, else their names.
fn tools(dir: &Path) -> serde_json::Value {
    let described = std::fs::read(dir.join("toolset.json")).ok();
    if let Some(described) = described.and_then(|text| serde_json::from_slice(&text).ok()) {
        return described;
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    json!({ "directory": dir, "names": names })
}
