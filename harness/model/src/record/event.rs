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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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

/// How a process ended, after "ended with".
pub fn how_it_ended(exit_code: Option<i32>, signal: Option<i32>) -> String {
    match (exit_code, signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status (a signal, most likely)".to_owned(),
    }
}

/// How well the record in a cluster of somebody else's, which says whose it is, was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Cluster.
    pub cluster: String,
    /// How often the record was renewed.
    pub renewals: u64,
    /// Longest time without a renewal, milliseconds.
    pub unrenewed_ms_max: u64,
    /// Time without a renewal after which another run may take the cluster, milliseconds.
    pub lease_ms: u64,
}

/// What a run could not remove from a cluster of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftBehind {
    /// Cluster.
    pub cluster: String,
    /// Its apiserver.
    pub server: String,
    /// The first objects: kind, name, and what holds them; empty if they could not be listed.
    pub objects: Vec<String>,
    /// How many more there are, of those that were looked at.
    pub more: u64,
    /// Why they stay, in words.
    pub reason: String,
    /// The command that goes on.
    pub next: String,
}

impl std::fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "objects of the run stay in {} ({}): {}", self.cluster, self.server, self.reason)?;
        self.objects.iter().try_for_each(|object| writeln!(f, "    {object}"))?;
        if self.more > 0 {
            writeln!(f, "    and {} more", self.more)?;
        }
        write!(f, "  next: `{}`, or another run there, goes on with it", self.next)
    }
}

/// On whom it is that load was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// On an object that came after the autoscaler had been started: its failure.
    Autoscaler,
    /// On anything else: nothing is measured.
    Environment,
}

/// Load that was not made, and will not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadFailed {
    /// Cluster.
    pub cluster: String,
    /// What could not be done, after "cannot".
    pub what: String,
    /// Why, in the words of the apiserver or of a controller.
    pub message: String,
    /// On whom it is.
    pub by: Blame,
    /// The object that refused, if the words name one: `ResourceQuota few`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl std::fmt::Display for LoadFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cluster, what, message, by, object } = self;
        write!(f, "{cluster}: cannot {what}: {message}")?;
        match (by, object) {
            (Blame::Autoscaler, Some(object)) => {
                write!(f, " (refused by {object}, which came after the autoscaler was started)")
            }
            _ => Ok(()),
        }
    }
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
    /// Load was not made: the run ends.
    LoadFailed(LoadFailed),
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
    /// The record that says whose a cluster is was ours until the load was taken away.
    ClusterHeld(Hold),
    /// The record that says whose a cluster is was lost: another may act there.
    ClusterLost {
        /// Cluster.
        cluster: String,
        /// How.
        reason: String,
    },
    /// The clean-up of a cluster could not come to its end.
    LeftBehind(LeftBehind),
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
        /// What became of the lines of each file, this event's included; empty in runs made before this was told.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        written: BTreeMap<String, Written>,
    },
}

/// What became of the lines of one file of a run directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// Lines that were written.
    pub lines: u64,
    /// Lines that could not be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// What the system said to the first of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The phase in which it was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

impl Written {
    /// What was lost of the file of that name, as shown to people; `None` if nothing was.
    pub fn loss(&self, file: &str) -> Option<String> {
        let lines = match self.lost {
            0 => return None,
            1 => "1 line".to_owned(),
            more => format!("{more} lines"),
        };
        let phase =
            self.phase.map_or_else(String::new, |phase| format!(", from the phase {} on", phase.name()));
        let error = self.error.as_deref().unwrap_or("the system did not say why");
        Some(format!("{lines} of {file}{phase} ({error})"))
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
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

    #[test]
    fn load_that_failed_is_one_flat_object_and_one_sentence() {
        let mut failed = LoadFailed {
            cluster: "c".into(),
            what: "create Deployment w".into(),
            message: "exceeded quota: few".into(),
            by: Blame::Environment,
            object: None,
        };
        assert_eq!(failed.to_string(), "c: cannot create Deployment w: exceeded quota: few");
        (failed.by, failed.object) = (Blame::Autoscaler, Some("ResourceQuota few".into()));
        let told = "(refused by ResourceQuota few, which came after the autoscaler was started)";
        assert!(failed.to_string().ends_with(told), "{failed}");
        let event = Stamped { at_us: 7, event: Event::LoadFailed(failed) };
        let text = serde_json::to_string(&event).unwrap();
        let flat = r#"{"at_us":7,"event":"load_failed","cluster":"c","what":"create Deployment w","message":"exceeded quota: few","by":"autoscaler","object":"ResourceQuota few"}"#;
        assert_eq!(text, flat);
        assert_eq!(serde_json::from_str::<Stamped>(&text).unwrap(), event);
    }
}
