//! node-creator's metrics: upstream's names (without `bound_pods`: it knows no Pods) and two of our own.

use component::metrics::Buckets;

const OBSERVED: &str = "bigfleet_scaletest_node_creator_upcoming_nodes_observed_total";
const CREATED: &str = "bigfleet_scaletest_node_creator_fake_nodes_created_total";
const UPCOMING_TO_NODE: &str = "bigfleet_scaletest_node_creator_upcoming_to_node_latency_seconds";
const READY_TO_NODE: &str = "bigfleet_scaletest_node_creator_ready_to_node_latency_seconds";

/// Buckets of both histograms, 50 ms to 27 minutes as upstream; from receipt of Ready: 1 ms to 32 s.
pub const BUCKETS: [Buckets; 2] = [
    Buckets { name: UPCOMING_TO_NODE, start: 0.05, factor: 2.0, count: 16 },
    Buckets { name: READY_TO_NODE, start: 0.001, factor: 2.0, count: 16 },
];

/// What came of looking at an UpcomingNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its Node was made.
    Created,
    /// Its Node was there.
    Exists,
    /// A Node of that name is there that we did not make.
    Foreign,
    /// Its phase is not Ready.
    NotReady,
    /// Its Node could not be made; retried.
    CreateError,
    /// The Node of an earlier UpcomingNode of that name was deleted.
    Replaced,
    /// It is gone, and no Node of ours is left of it.
    CleanupDeleted,
    /// It is gone, but its Node could not be deleted; retried.
    CleanupError,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Exists,
        Self::Foreign,
        Self::NotReady,
        Self::CreateError,
        Self::Replaced,
        Self::CleanupDeleted,
        Self::CleanupError,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Exists => "exists",
            Self::Foreign => "foreign",
            Self::NotReady => "not_ready",
            Self::CreateError => "create_error",
            Self::Replaced => "replaced",
            Self::CleanupDeleted => "cleanup_deleted",
            Self::CleanupError => "cleanup_error",
        }
    }
}

/// Makes all series appear at 0, so that "never" can be told from "not measured".
pub fn start() {
    for outcome in Outcome::ALL {
        metrics::counter!(OBSERVED, "outcome" => outcome.label()).increment(0);
    }
    metrics::counter!(CREATED).increment(0);
}

/// Counts an outcome.
pub fn observed(outcome: Outcome) {
    metrics::counter!(OBSERVED, "outcome" => outcome.label()).increment(1);
}

/// Counts a Node that the apiserver has accepted. Latencies in seconds: since the UpcomingNode's creation
/// (one-second grain, as upstream), and since Ready was received.
pub fn created(since_creation: Option<f64>, since_ready: Option<f64>) {
    metrics::counter!(CREATED).increment(1);
    if let Some(seconds) = since_creation {
        metrics::histogram!(UPCOMING_TO_NODE).record(seconds);
    }
    if let Some(seconds) = since_ready {
        metrics::histogram!(READY_TO_NODE).record(seconds);
    }
}
