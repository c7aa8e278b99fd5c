//! What a run will cost in memory and time, from figures measured on 2 cores and 24 GiB.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::memory::{self, Model, Planes};
use crate::profile::Profile;

/// CPU of the whole chain for one Pod: 12.7 bind + 8.2 request + 10 failed attempt + 3 rest.
const CPU_MS_PER_POD: f64 = 34.0;
/// Time to start and verify the control planes, and to take everything down again.
const UP_AND_DOWN_SECONDS: f64 = 30.0;

/// Cost of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Estimate {
    /// Peak memory of all processes, MiB.
    pub memory_mib: u64,
    /// How the memory estimate is composed.
    pub memory_formula: String,
    /// CPU time until every Pod of the fill is bound, seconds.
    pub ramp_cpu_seconds: u64,
    /// Length of settle and soak, seconds.
    pub fixed_seconds: u64,
}

impl Estimate {
    /// Returns the estimate of a profile on local control planes, on a machine that can give its apiservers suitable
    /// limits.
    pub fn of(profile: &Profile) -> Self {
        let suitable = memory::suitable_limit_mib(profile.pods_per_cluster);
        let limit_mib = profile.control_plane.apiserver_gomemlimit_mib.unwrap_or(suitable);
        let model = Model::of(profile, limit_mib, Planes::Local);
        Self {
            memory_mib: model.mib().ceil() as u64,
            memory_formula: model.formula(),
            ramp_cpu_seconds: (profile.total_pods() as f64 * CPU_MS_PER_POD / 1000.0).ceil() as u64,
            fixed_seconds: (profile.phases.settle.as_seconds() + profile.phases.soak.as_seconds()).ceil()
                as u64,
        }
    }

    /// Returns the estimate of the first version. It is wrong about memory (less than half of what small runs take),
    /// but part of every plan's digest.
    pub(super) fn of_format_1(profile: &Profile) -> Self {
        let clusters = f64::from(profile.clusters);
        let wave = profile.demand_wave.as_ref().map_or(0, |w| w.replicas);
        let pods = f64::from(profile.pods_per_cluster + wave);
        Self {
            memory_mib: (clusters * (400.0 + pods * 0.22) + 512.0).ceil() as u64,
            memory_formula: format!(
                "{clusters} control planes x (400 MiB + {pods} Pods x 0.22 MiB) + 512 MiB"
            ),
            ..Self::of(profile)
        }
    }

    /// Returns the time until every Pod of the fill is bound on that many cores, seconds.
    pub fn ramp_seconds(&self, cores: usize) -> f64 {
        self.ramp_cpu_seconds as f64 / cores.max(1) as f64
    }

    /// Returns the time of the whole run on that many cores, seconds.
    pub fn total_seconds(&self, cores: usize) -> f64 {
        UP_AND_DOWN_SECONDS + self.ramp_seconds(cores) + self.fixed_seconds as f64
    }
}
