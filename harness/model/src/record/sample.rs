//! Sampled figures: the lines of `processes.jsonl` and `metrics.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One look at the host and all processes of the run, every two seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_us: u64,
    /// How late the sampler's timer fired, in milliseconds: a host that starves us shows here first.
    pub late_ms: u64,
    /// Wall clock minus monotonic clock, relative to the start of the run, in milliseconds.
    pub wall_skew_ms: i64,
    /// The host.
    pub host: HostSample,
    /// All processes.
    pub processes: Vec<ProcessSample>,
    /// Slices of the host speed work that were done since the sample before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_speed: Vec<SpeedSlice>,
}

/// One slice of the host speed work: how fast the host was at that moment (`docs/host-speed.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedSlice {
    /// When it began.
    pub at_us: u64,
    /// Version of the work; slices of two versions are never put together.
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
    /// Memory that can still be had within the limits of our control group, MiB.
    pub available_mib: u64,
    /// How long CPUs stood still for us because the limit of our control group was used up, milliseconds added up over
    /// CPUs; none where the kernel does not count it.
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
    /// When.
    pub at_us: u64,
    /// Whose (`shard`, `operator`, `kube-apiserver`).
    pub target: String,
    /// Its cluster, if it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Why there is no answer, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Families of the table (`observe::families`) that it showed here for the first time, with a series or without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Changed series, `name{labels}` to value.
    pub series: BTreeMap<String, f64>,
}
