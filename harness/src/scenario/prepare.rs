//! What is known before a run begins: the control planes to request, and the recorded facts (profile, plan, inventory,
//! host, tools).

use std::path::{Path, PathBuf};

use anyhow::Context;
use platform::cgroup::Groups;
use serde_json::json;

use crate::observe::sampler;
use crate::scenario::autoscaler::Autoscaler;
use harness_model::plan::Plan;
use harness_model::profile::{Loaded, Profile, Scheduler};
use harness_model::provider::ProviderName;
use harness_model::record::RunDir;
use harness_model::summary::machine;
use harness_planes::spec::{ClusterSpec, DISRUPTION_CONTROLLER, LeaseSpec};

/// How a run is set up, in addition to its profile and tools.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// How control planes are created.
    pub provider: ProviderName,
    /// The autoscaler, if it is not the reference.
    pub autoscaler: Option<&'a Autoscaler>,
    /// Whether programs run in the scheduling class SCHED_BATCH.
    pub sched_batch: bool,
    /// Memory limit of each apiserver, in MiB.
    pub apiserver_gomemlimit_mib: u32,
}

/// Writes the input of a run.
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
    dir.write_json(&dir.tools(), &tools(tools_dir)?)?;
    Ok(())
}

/// Returns why a profile cannot be run on control planes of that provider; `None` if it can.
pub fn refused(profile: &Profile, provider: ProviderName) -> Option<String> {
    let holds_schedulers_back = profile.pre_bind && profile.harness.scheduler == Scheduler::KubeScheduler;
    (provider == ProviderName::Existing && holds_schedulers_back).then(|| {
        format!(
            "the profile {} binds the fill itself and holds the schedulers back meanwhile (preBind), but those of \
             existing clusters are not ours to hold back; give --set preBind=false, or another provider",
            profile.name
        )
    })
}

/// Requests the control planes of a profile, each apiserver with that memory limit.
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

/// Returns facts about the host, how control planes are created on it, and which autoscaler runs there.
fn host(made: &Made<'_>) -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let named =
        |key: &str| cpu_info.lines().find_map(|l| l.strip_prefix(key)?.split(':').nth(1)).map(str::trim);
    // arm64 has no model name; implementer and part distinguish kinds of cores just as well.
    let of_arm = || Some(format!("ARM {} {}", named("CPU implementer")?, named("CPU part")?));
    let model = named("model name").map(str::to_owned).or_else(of_arm).unwrap_or_default();
    let total_mib = platform::memory::meminfo_mib(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    // In a control group with a limit, the machine is only as large as that limit.
    let memory_mib = Groups::own().memory().map_or(total_mib, |room| room.limit_mib.min(total_mib));
    let before = sampler::host();
    let mut facts = json!({
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "cpu_model": model,
        "memory_mib": memory_mib,
        "memory_available_mib_at_start": before.available_mib,
        "load1_at_start": before.load1,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "provider": made.provider,
        "harness_version": env!("CARGO_PKG_VERSION"),
    });
    if !made.sched_batch {
        facts["sched_batch"] = false.into();
    }
    // In existing clusters, it is not ours to set.
    if made.provider != ProviderName::Existing {
        facts[machine::APISERVER_GOMEMLIMIT_MIB] = made.apiserver_gomemlimit_mib.into();
    }
    if let Some(autoscaler) = made.autoscaler {
        facts["autoscaler"] = autoscaler.name().into();
    }
    facts
}

/// Describes the control-plane programs in use, with version, origin and digest of each, wherever they are.
fn tools(dir: &Path) -> anyhow::Result<serde_json::Value> {
    anyhow::ensure!(
        !dir.as_os_str().is_empty(),
        "it is not known where the control-plane programs are; give --tools-dir"
    );
    let set = tools::Toolset::open_with(dir, &[]).context("describing the control-plane programs")?;
    serde_json::to_value(set).context("describing the control-plane programs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs in a plain directory are described by versions and digests as well, not only those in the cache.
    #[test]
    fn tools_are_recorded_with_versions_and_digests_also_from_a_directory_of_ones_own() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("kwok");
        std::fs::write(&program, "#!/bin/sh\necho 'kwok version v0.8.0'\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("README"), "").unwrap();
        let recorded = tools(dir.path()).unwrap();
        assert_eq!(recorded["digest"].as_str().map(str::len), Some(16), "{recorded}");
        let [kwok] = recorded["tools"].as_array().unwrap().as_slice() else { panic!("{recorded}") };
        assert_eq!((&kwok["name"], &kwok["version"]), (&json!("kwok"), &json!("v0.8.0")));
        assert_eq!((&kwok["source"], kwok["sha256"].as_str().unwrap().len()), (&json!("directory"), 64));
    }
}
