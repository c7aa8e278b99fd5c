//! What a run will cost in memory and time, from figures measured on 2 cores and 24 GiB.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::TooSmall;
use crate::profile::Profile;

/// One idle control plane: etcd, apiserver, controller manager, scheduler, kwok.
const CONTROL_PLANE_MIB: f64 = 400.0;
/// Each Pod with its CapacityRequest, in all caches that hold it. Five control planes with 10,000 Pods each
/// peaked at 13.4 GB.
const POD_MIB: f64 = 0.22;
/// Fleet, harness and observer.
const PROGRAMS_MIB: f64 = 512.0;
/// The whole chain for one Pod: 12.7 bind + 8.2 request + 10 failed attempt + 3 rest.
const CPU_MS_PER_POD: f64 = 34.0;
/// Control planes up and verified, and everything taken down again.
const UP_AND_DOWN_SECONDS: f64 = 30.0;

/// Cost of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Estimate {
    /// Peak memory of all processes, MiB.
    pub memory_mib: u64,
    /// How the memory estimate comes about.
    pub memory_formula: String,
    /// CPU time until every Pod of the fill is bound, seconds.
    pub ramp_cpu_seconds: u64,
    /// Settle and soak, seconds.
    pub fixed_seconds: u64,
}

impl Estimate {
    /// The estimate of a profile.
    pub fn of(profile: &Profile) -> Self {
        let clusters = f64::from(profile.clusters);
        let wave = profile.demand_wave.as_ref().map_or(0, |w| w.replicas);
        let pods = f64::from(profile.pods_per_cluster + wave);
        let memory_mib = clusters * (CONTROL_PLANE_MIB + pods * POD_MIB) + PROGRAMS_MIB;
        Self {
            memory_mib: memory_mib.ceil() as u64,
            memory_formula: format!(
                "{clusters} control planes x ({CONTROL_PLANE_MIB} MiB + {pods} Pods x {POD_MIB} MiB) + {PROGRAMS_MIB} MiB"
            ),
            ramp_cpu_seconds: (profile.total_pods() as f64 * CPU_MS_PER_POD / 1000.0).ceil() as u64,
            fixed_seconds: (profile.phases.settle.as_seconds() + profile.phases.soak.as_seconds()).ceil()
                as u64,
        }
    }

    /// Time until every Pod of the fill is bound on that many cores, seconds.
    pub fn ramp_seconds(&self, cores: usize) -> f64 {
        self.ramp_cpu_seconds as f64 / cores.max(1) as f64
    }

    /// Time of the whole run on that many cores, seconds.
    pub fn total_seconds(&self, cores: usize) -> f64 {
        UP_AND_DOWN_SECONDS + self.ramp_seconds(cores) + self.fixed_seconds as f64
    }

    /// Refuses a machine with less memory than the run needs.
    ///
    /// # Errors
    /// [`TooSmall`], with the numbers.
    pub fn check_memory(&self, profile: &str, available_mib: u64) -> Result<(), TooSmall> {
        if self.memory_mib <= available_mib {
            return Ok(());
        }
        Err(TooSmall {
            profile: profile.to_owned(),
            needed_gib: self.memory_mib as f64 / 1024.0,
            formula: self.memory_formula.clone(),
            available_gib: available_mib as f64 / 1024.0,
        })
    }
}
