//! Events of a run, in order: the lines of `events.jsonl`.

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
    /// The load-driver declares the workloads; the phase ends when every Pod is bound and Running.
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

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All phases were run.
    Completed,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// A phase missed its goal, so the remaining phases were skipped: the run failed.
    GoalMissed,
    /// A phase was aborted: the measurement is worthless.
    Aborted,
}

/// Describes how a process ended, worded to follow "ended with".
pub fn how_it_ended(exit_code: Option<i32>, signal: Option<i32>) -> String {
    match (exit_code, signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status (a signal, most likely)".to_owned(),
    }
}

/// How well the record in an existing cluster, which says which run uses the cluster, was renewed.
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

/// What a run could not remove from an existing cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftBehind {
    /// Cluster.
    pub cluster: String,
    /// Its apiserver.
    pub server: String,
    /// The first objects: kind, name, and what holds them back; empty if they could not be listed.
    pub objects: Vec<String>,
    /// Number of further objects among those that were checked.
    pub more: u64,
    /// Why they remain, in words.
    pub reason: String,
    /// The command that continues the clean-up.
    pub next: String,
}

impl std::fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "objects of the run stay in {} ({}): {}", self.cluster, self.server, self.reason)?;
        self.objects.iter().try_for_each(|object| writeln!(f, "    {object}"))?;
        if self.more > 0 {
            writeln!(f, "    and {} more", self.more)?;
        }
        write!(f, "  next: `{}`, or another run there, continues the clean-up", self.next)
    }
}

/// Which side is at fault if load was not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// An object that appeared after the autoscaler had been started: the autoscaler failed.
    Autoscaler,
    /// Anything else: nothing is measured.
    Environment,
}

/// Load that was not created and will not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadFailed {
    /// Cluster.
    pub cluster: String,
    /// What could not be done, worded to follow "cannot".
    pub what: String,
    /// Why, in the words of the apiserver or a controller.
    pub message: String,
    /// Which side is at fault.
    pub by: Blame,
    /// The object that refused, if the message names one: `ResourceQuota few`.
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
        /// Identifier of the run.
        run_id: String,
        /// Name of the profile.
        profile: String,
        /// Seed of everything random.
        seed: u64,
        /// Wall clock at time zero, microseconds since 1970; relates the logs of other programs to our clock.
        wall_unix_us: u64,
    },
    /// A phase began.
    PhaseStarted {
        /// The phase.
        phase: Phase,
    },
    /// A phase ended.
    PhaseEnded {
        /// The phase.
        phase: Phase,
    },
    /// From now on, the shard carries out its decisions; it was paused until now.
    ActuationResumed,
    /// Progress of the run, every 15 seconds.
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
    /// One check of a cluster that should be quiet: the three numbers must agree.
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
        /// `spec.replicas` by workload object.
        workloads: BTreeMap<String, u64>,
    },
    /// Comparison of our ledger with an independent list of Pods.
    LedgerCheck {
        /// Cluster.
        cluster: String,
        /// Pods of the list that the ledger lacks.
        unknown: Vec<String>,
        /// Pods of the ledger that the list lacks.
        vanished: Vec<String>,
    },
    /// Whether a user may do something, according to the apiserver itself.
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
    /// A process of the run ended although it should have kept running.
    ProcessEnded {
        /// Process.
        name: String,
        /// Cluster it belonged to, if any.
        cluster: Option<String>,
        /// Exit code, if known.
        exit_code: Option<i32>,
        /// Number of the signal that terminated it; absent if there was none, and in older runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Its last log lines.
        log_tail: Vec<String>,
    },
    /// Load was not created: the run ends.
    LoadFailed(LoadFailed),
    /// The shard's own account of machines and needs, when quiet.
    ShardAccount {
        /// Answer of `/debug/needs`.
        needs: serde_json::Value,
        /// Number of machines by state.
        machines: BTreeMap<String, u64>,
    },
    /// What the load-driver of a cluster reports about itself.
    DriverReport {
        /// Cluster.
        cluster: String,
        /// Its status, as received.
        status: serde_json::Value,
    },
    /// The record that says which run uses a cluster remained ours until the load was removed.
    ClusterHeld(Hold),
    /// The record that says which run uses a cluster was lost: another run may act there.
    ClusterLost {
        /// Cluster.
        cluster: String,
        /// How it was lost.
        reason: String,
    },
    /// The clean-up of a cluster could not be completed.
    LeftBehind(LeftBehind),
    /// Anything else worth keeping.
    Note {
        /// The note, in words.
        text: String,
    },
    /// The last event.
    RunEnded {
        /// How the run ended.
        end: End,
        /// Why, if it was not completed.
        reason: Option<String>,
        /// Counts of the lines of each file, including this event; empty in runs from before they were recorded.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        written: BTreeMap<String, Written>,
    },
}

/// Counts of the lines of one file of a run directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// Lines that were written.
    pub lines: u64,
    /// Lines that could not be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// The system's error for the first of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The phase in which it was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

impl Written {
    /// Returns what was lost of the file of that name, as shown to people; `None` if nothing was lost.
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
