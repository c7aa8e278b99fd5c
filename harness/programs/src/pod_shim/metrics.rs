//! pod-shim's metrics, under upstream's names, so that its published runs can be compared.

use component::metrics::Buckets;

const BIND: &str = "bigfleet_scaletest_pod_bind_latency_seconds";
const BIND_STEADY: &str = "bigfleet_scaletest_pod_bind_latency_steady_seconds";
const MARKED: &str = "bigfleet_scaletest_pod_shim_pods_marked_unschedulable_total";
const OBSERVED: &str = "bigfleet_scaletest_pod_shim_upcoming_nodes_observed_total";
const CREATED: &str = "bigfleet_scaletest_pod_shim_fake_nodes_created_total";
const ATTEMPTS: &str = "bigfleet_scaletest_pod_shim_pod_bind_attempts_total";
const ERRORS: &str = "bigfleet_scaletest_pod_shim_pod_bind_errors_total";
const UPCOMING_TO_NODE: &str = "bigfleet_scaletest_pod_shim_upcoming_to_node_latency_seconds";
const NODE_TO_BOUND: &str = "bigfleet_scaletest_pod_shim_node_to_bound_latency_seconds";

/// Buckets of all histograms: 50 ms to 102.4 s as upstream, where published p99s sat in the last one.
pub const BUCKETS: [Buckets; 4] =
    [legacy(BIND), legacy(BIND_STEADY), legacy(UPCOMING_TO_NODE), legacy(NODE_TO_BOUND)];

const fn legacy(name: &'static str) -> Buckets {
    Buckets { name, start: 0.05, factor: 2.0, count: 12 }
}

/// What came of looking at an UpcomingNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its Node was made (or was there already when the apiserver was asked to make it).
    Created,
    /// A Node of its name was there, whosever.
    Exists,
    /// Its phase is not Ready.
    NotReady,
    /// It is gone, and so is the Node of its name.
    CleanupDeleted,
    /// It is gone, but the Node could not be deleted; retried.
    CleanupError,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Created, Self::Exists, Self::NotReady, Self::CleanupDeleted, Self::CleanupError];

    fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Exists => "exists",
            Self::NotReady => "not_ready",
            Self::CleanupDeleted => "cleanup_deleted",
            Self::CleanupError => "cleanup_error",
        }
    }
}

/// What came of marking a Pod as unschedulable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The condition was written.
    Patched,
    /// It was there.
    AlreadyMarked,
    /// It could not be written; retried.
    Error,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Patched, Self::AlreadyMarked, Self::Error];

    fn label(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::AlreadyMarked => "already_marked",
            Self::Error => "error",
        }
    }
}

/// What came of one request to bind a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Bound by us.
    Success,
    /// Bound or deleted by somebody else before us.
    BoundByOther,
    /// Refused; the next Node is tried.
    BindError,
}

impl Attempt {
    const ALL: [Self; 3] = [Self::Success, Self::BoundByOther, Self::BindError];

    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::BoundByOther => "bound_by_other",
            Self::BindError => "bind_error",
        }
    }
}

/// Makes all counters appear at 0, so that "never" can be told from "not measured".
pub fn start() {
    for outcome in Outcome::ALL {
        metrics::counter!(OBSERVED, "outcome" => outcome.label()).increment(0);
    }
    for mark in Mark::ALL {
        metrics::counter!(MARKED, "outcome" => mark.label()).increment(0);
    }
    for attempt in Attempt::ALL {
        metrics::counter!(ATTEMPTS, "outcome" => attempt.label()).increment(0);
    }
    metrics::counter!(CREATED).increment(0);
}

/// Counts an outcome.
pub fn observed(outcome: Outcome) {
    metrics::counter!(OBSERVED, "outcome" => outcome.label()).increment(1);
}

/// Counts a Node that is about to be made. As upstream: a create that is refused and retried counts again.
pub fn creating() {
    metrics::counter!(CREATED).increment(1);
}

/// Takes in how long after its UpcomingNode a Node was made, seconds.
pub fn node_made(since_upcoming_s: f64) {
    metrics::histogram!(UPCOMING_TO_NODE).record(since_upcoming_s);
}

/// Counts a mark.
pub fn marked(mark: Mark) {
    metrics::counter!(MARKED, "outcome" => mark.label()).increment(1);
}

/// Counts a request to bind.
pub fn attempted(attempt: Attempt) {
    metrics::counter!(ATTEMPTS, "outcome" => attempt.label()).increment(1);
}

/// Counts why a request to bind was refused.
pub fn refused(reason: &'static str) {
    metrics::counter!(ERRORS, "reason" => reason).increment(1);
}

/// Takes in the latencies of a bind, seconds since the Pod's and since the Node's creation (grain 1 s).
pub fn bound(since_pod_s: Option<f64>, since_node_s: Option<f64>, steady: bool) {
    if let Some(seconds) = since_pod_s {
        metrics::histogram!(BIND).record(seconds);
        if steady {
            metrics::histogram!(BIND_STEADY).record(seconds);
        }
    }
    if let Some(seconds) = since_node_s {
        metrics::histogram!(NODE_TO_BOUND).record(seconds);
    }
}
