//! What happened during a run, in order: the lines of `events.jsonl`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stamped {
    /// Microseconds since the start of the run.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The phases of a run, in order.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Control planes are leased.
    Provision,
    /// Shard, operators, controllers and drivers start.
    Start,
    /// The load-driver declares the workloads; ends when every Pod is bound and Running.
    Fill,
    /// Three quiet points.
    Steady,
    /// The fleet comes to rest.
    Settle,
    /// Churn and the demand wave.
    Soak,
    /// The load has stopped, and everything comes to rest again.
    Quiesce,
    /// Evidence is written down.
    Collect,
    /// Control planes are given back.
    Release,
}

impl Phase {
    /// The name used in files and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Start => "start",
            Self::Fill => "fill",
            Self::Steady => "steady",
            Self::Settle => "settle",
            Self::Soak => "soak",
            Self::Quiesce => "quiesce",
            Self::Collect => "collect",
            Self::Release => "release",
        }
    }
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All phases were run.
    Completed,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// A phase could not reach its goal, so that the rest was left out: the run failed.
    GoalMissed,
    /// A phase broke off: the measurement is worth nothing.
    Aborted,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event.
    RunStarted {
        /// The run.
        run_id: String,
        /// Name of the profile.
        profile: String,
        /// Seed of everything random.
        seed: u64,
        /// Wall clock at time zero, microseconds since 1970; ties foreign logs to our clock.
        wall_unix_us: u64,
    },
    /// A phase begins.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// A phase ended.
    PhaseEnded {
        /// Which.
        phase: Phase,
    },
    /// From here on the shard carries out what it decides; it was paused until now.
    ActuationResumed,
    /// Where the run is, every 15 seconds.
    Progress {
        /// Current phase.
        phase: Phase,
        /// Pods that should be live.
        target: u64,
        /// Live Pods.
        live: u64,
        /// Live Pods with a Node.
        bound: u64,
        /// Live Pods that run.
        running: u64,
    },
    /// A watch had to list again: events may be missing.
    WatchGap {
        /// Cluster.
        cluster: String,
        /// Kind that was watched.
        kind: String,
    },
    /// A Node left Ready without being drained.
    NodeNotReady {
        /// Cluster.
        cluster: String,
        /// Node.
        node: String,
    },
    /// One look at a cluster that should be quiet: the three numbers must agree.
    QuietPoint {
        /// Cluster.
        cluster: String,
        /// The phase in which the point was taken.
        phase: Phase,
        /// Sum of `spec.replicas` of the workload objects, read from the apiserver.
        declared: u64,
        /// Live Pods of our ledger.
        live: u64,
        /// CapacityRequests of our ledger whose Pod is live.
        requests: u64,
        /// Bound live Pods.
        bound: u64,
        /// Running live Pods.
        running: u64,
    },
    /// Declared replicas of each workload object at the end.
    Declared {
        /// Cluster.
        cluster: String,
        /// Workload object to `spec.replicas`.
        workloads: BTreeMap<String, u64>,
    },
    /// Our ledger against an independent list of Pods.
    LedgerCheck {
        /// Cluster.
        cluster: String,
        /// Pods of the list that the ledger lacks.
        unknown: Vec<String>,
        /// Pods of the ledger that the list lacks.
        vanished: Vec<String>,
    },
    /// What a user may do, by the apiserver's own answer.
    Access {
        /// Cluster.
        cluster: String,
        /// User.
        user: String,
        /// Verb.
        verb: String,
        /// Resource, with its subresource.
        resource: String,
        /// The apiserver's answer.
        allowed: bool,
    },
    /// A process of the run ended although it should run.
    ProcessEnded {
        /// Process.
        name: String,
        /// Cluster it belonged to, if any.
        cluster: Option<String>,
        /// Exit code, if known.
        exit_code: Option<i32>,
        /// Signal that ended it, by number; absent when none did, and in older runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Its last log lines.
        log_tail: Vec<String>,
    },
    /// The shard's own account of machines and needs, when quiet.
    ShardAccount {
        /// Answer of `/debug/needs`.
        needs: serde_json::Value,
        /// Number of machines by state.
        machines: BTreeMap<String, u64>,
    },
    /// What the load-driver of a cluster says it did.
    DriverReport {
        /// Cluster.
        cluster: String,
        /// Its status, as it came.
        status: serde_json::Value,
    },
    /// Anything else worth keeping.
    Note {
        /// In words.
        text: String,
    },
    /// The last event.
    RunEnded {
        /// How.
        end: End,
        /// Why, when not completed.
        reason: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Stamped { at_us: 7, event: Event::PhaseStarted { phase: Phase::Soak } };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"at_us":7,"event":"phase_started","phase":"soak"}"#);
        assert_eq!(serde_json::from_str::<Stamped>(&text).unwrap(), event);
    }
}
