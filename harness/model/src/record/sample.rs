//! Sampled figures: the lines of `processes.jsonl` and `metrics.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One sample of the host and all processes of the run, taken every two seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken.
    pub at_us: u64,
    /// How late the sampler's timer fired, in milliseconds: this is where a host that starves us shows first.
    pub late_ms: u64,
    /// Wall clock minus monotonic clock, relative to the start of the run, in milliseconds.
    pub wall_skew_ms: i64,
    /// The host.
    pub host: HostSample,
    /// All processes.
    pub processes: Vec<ProcessSample>,
    /// Slices of the host speed work that were done since the previous sample.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_speed: Vec<SpeedSlice>,
}

/// One slice of the host speed work: how fast the host was at that moment (`docs/host-speed.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedSlice {
    /// When it began.
    pub at_us: u64,
    /// Version of the work; slices of two versions are never combined.
    pub index_version: u32,
    /// Whether it was done before anything of the run was started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before_start: bool,
    /// CPU time that it took.
    #[serde(flatten)]
    pub parts: host_speed::Parts,
}

/// The host as a whole. CPU times are since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostSample {
    /// Load average over one minute.
    pub load1: f64,
    /// CPU time of everything that was not idle, milliseconds.
    pub busy_cpu_ms: u64,
    /// Idle CPU time, milliseconds.
    pub idle_cpu_ms: u64,
    /// CPU time taken by other guests, milliseconds.
    pub steal_cpu_ms: u64,
    /// Memory that is still available within the limits of our control group, MiB.
    pub available_mib: u64,
    /// How long our processes could not use CPUs because the limit of our control group was used up, in milliseconds
    /// summed over CPUs; absent if the kernel does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_cpu_ms: Option<u64>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// Name given at its start (`kube-apiserver`, `operator`).
    pub name: String,
    /// Its cluster, if it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Process id.
    pub pid: u32,
    /// User and system CPU time since its start, milliseconds.
    pub cpu_ms: u64,
    /// Resident memory, MiB.
    pub rss_mib: u64,
}

/// One scrape of a Prometheus endpoint. Series that did not change since the last scrape of the same
/// target are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scrape {
    /// When it was taken.
    pub at_us: u64,
    /// Program that was scraped (`shard`, `operator`, `kube-apiserver`).
    pub target: String,
    /// Its cluster, if it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Why there was no answer, if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Families of the table ([`crate::families`]) that it exposed here for the first time, with or without a series.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Changed series: values by `name{labels}`.
    pub series: BTreeMap<String, f64>,
}
