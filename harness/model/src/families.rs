//! The table of metric families: what is kept of a scrape, what reads it, and what it means.
//!
//! Scraper, judge, view, report and `docs/metrics.md` share it. A value of a family that a target never exposed is not
//! measured, and never 0: a release may rename the family, and another autoscaler may lack it.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::prometheus::{Series, name};

/// A metric family as exposed by the programs of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, as in its `# TYPE` line.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Programs that must expose it.
    pub targets: &'static [&'static str],
    /// Unit of its values; for a histogram, of what it observes.
    pub unit: &'static str,
    /// Rules (`rule NAME`) and metrics that are not measured without it, and other readers.
    pub read_by: &'static [&'static str],
    /// How a target proves that it has the family.
    pub shown: Shown,
    /// What it counts.
    pub doc: &'static str,
}

/// How a target proves that it has a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// By its own `# TYPE` or `# HELP` line, or by a series.
    Itself,
    /// By itself or by another family that is registered by the same call: a Go program does not expose a family of
    /// labelled counters before its first event.
    With(&'static str),
    /// The reference exposes it; another autoscaler may lack it.
    ByTheReference,
}

/// Requests by verb, resource and code.
pub const APISERVER_REQUESTS: Family = Family {
    name: "apiserver_request_total",
    kind: "counter",
    targets: &["kube-apiserver"],
    unit: "requests",
    read_by: &["rule apiserver_rejected_nothing", "picture of writes", "claims about evictions"],
    shown: Shown::Itself,
    doc: "requests that the apiserver answered, by verb, resource and code",
};

/// Requests that flow control turned away.
pub const APISERVER_REJECTED: Family = Family {
    name: "apiserver_flowcontrol_rejected_requests_total",
    kind: "counter",
    targets: &["kube-apiserver"],
    unit: "requests",
    read_by: &["rule apiserver_rejected_nothing"],
    shown: Shown::With(APISERVER_DISPATCHED.name),
    doc: "requests that API Priority and Fairness turned away, by flow schema and reason; registered together with \
          those it let through (apiserver/pkg/util/flowcontrol/metrics)",
};

/// Requests that flow control let through.
pub const APISERVER_DISPATCHED: Family = Family {
    name: "apiserver_flowcontrol_dispatched_requests_total",
    kind: "counter",
    targets: &["kube-apiserver"],
    unit: "requests",
    read_by: &["rule apiserver_rejected_nothing"],
    shown: Shown::Itself,
    doc: "requests that API Priority and Fairness let through; proves that those it turns away are counted",
};

/// Watchers that a starved apiserver cut off.
pub const APISERVER_CUT_OFF: Family = Family {
    name: "apiserver_terminated_watchers_total",
    kind: "counter",
    targets: &["kube-apiserver"],
    unit: "watchers",
    read_by: &["watchers_cut_off"],
    shown: Shown::With(APISERVER_WATCH_CACHES.name),
    doc: "watchers that the apiserver closed because they (or it) did not keep up; registered together with the \
          watch caches that it filled (apiserver/pkg/storage/cacher/metrics)",
};

/// Watch caches that the apiserver filled.
pub const APISERVER_WATCH_CACHES: Family = Family {
    name: "apiserver_watch_cache_initializations_total",
    kind: "counter",
    targets: &["kube-apiserver"],
    unit: "watch caches",
    read_by: &["watchers_cut_off"],
    shown: Shown::Itself,
    doc: "watch caches that were filled, from the start on; proves that watchers which are cut off are counted",
};

/// Objects in etcd.
pub const APISERVER_OBJECTS: Family = Family {
    name: "apiserver_resource_objects",
    kind: "gauge",
    targets: &["kube-apiserver"],
    unit: "objects",
    read_by: &[],
    shown: Shown::Itself,
    doc: "objects in etcd by resource; kept for readers of the record",
};

/// CPU that an apiserver's garbage collector used.
pub const APISERVER_GC: Family = Family {
    name: "go_cpu_classes_gc_total_cpu_seconds_total",
    kind: "counter",
    targets: &["kube-apiserver"],
    unit: "s",
    read_by: &["held back"],
    shown: Shown::Itself,
    doc: "CPU time of the garbage collector, as the Go runtime estimates it",
};

/// The part of it that used otherwise idle CPU.
pub const APISERVER_GC_IDLE: Family = Family {
    name: "go_cpu_classes_gc_mark_idle_cpu_seconds_total",
    kind: "counter",
    targets: &["kube-apiserver"],
    unit: "s",
    read_by: &["held back"],
    shown: Shown::Itself,
    doc: "the part of the garbage collector's CPU time that was idle otherwise",
};

/// Scheduling attempts by result.
pub const SCHEDULE_ATTEMPTS: Family = Family {
    name: "scheduler_schedule_attempts_total",
    kind: "counter",
    targets: &["kube-scheduler"],
    unit: "attempts",
    read_by: &["failed_attempts_per_pod", "view", "picture of scheduling attempts"],
    shown: Shown::Itself,
    doc: "attempts to schedule a Pod, by result",
};

/// Pods in the scheduler's queues.
pub const SCHEDULER_PENDING: Family = Family {
    name: "scheduler_pending_pods",
    kind: "gauge",
    targets: &["kube-scheduler"],
    unit: "Pods",
    read_by: &[],
    shown: Shown::Itself,
    doc: "Pods in the scheduler's queues; kept for readers of the record",
};

/// Preemptions that were tried.
pub const SCHEDULER_PREEMPTIONS: Family = Family {
    name: "scheduler_preemption_attempts_total",
    kind: "counter",
    targets: &["kube-scheduler"],
    unit: "attempts",
    read_by: &[],
    shown: Shown::Itself,
    doc: "attempts to preempt; kept for readers of the record",
};

/// Pods that were preempted.
pub const SCHEDULER_VICTIMS: Family = Family {
    name: "scheduler_preemption_victims",
    kind: "histogram",
    targets: &["kube-scheduler"],
    unit: "Pods",
    read_by: &["claims about preemption"],
    shown: Shown::Itself,
    doc: "Pods that each preemption evicted",
};

/// Pods that came into the scheduler's queues.
pub const SCHEDULER_INCOMING: Family = Family {
    name: "scheduler_queue_incoming_pods_total",
    kind: "counter",
    targets: &["kube-scheduler"],
    unit: "Pods",
    read_by: &[],
    shown: Shown::Itself,
    doc: "Pods that came into the scheduler's queues, by what brought them; kept for readers of the record",
};

/// How long requests waited for the client's own limit.
pub const CLIENT_WAITED: Family = Family {
    name: "rest_client_rate_limiter_duration_seconds",
    kind: "histogram",
    targets: &[
        "kube-scheduler",
        "kube-controller-manager",
        "load-driver",
        "node-creator",
        "pod-shim",
        "operator",
        "unschedulable-pod-controller",
    ],
    unit: "s",
    read_by: &[
        "rule driver_kept_pace",
        "throttled_load_driver_s",
        "throttled_node_creator_s",
        "throttled_pod_shim_s",
        "throttled_operator_s",
        "throttled_unschedulable_pod_controller_s",
        "held back",
    ],
    shown: Shown::Itself,
    doc: "time that requests waited for the client's own rate limit",
};

/// Requests of a client.
pub const CLIENT_REQUESTS: Family = Family {
    name: "rest_client_requests_total",
    kind: "counter",
    targets: &["kube-scheduler", "kube-controller-manager"],
    unit: "requests",
    read_by: &[],
    shown: Shown::Itself,
    doc: "requests of a client, by code; kept for readers of the record",
};

/// Number of objects that wait in a controller's queues.
pub const QUEUE_DEPTH: Family = Family {
    name: "workqueue_depth",
    kind: "gauge",
    targets: &["kube-controller-manager"],
    unit: "objects",
    read_by: &[],
    shown: Shown::Itself,
    doc: "what waits in the queues of controllers; kept for readers of the record",
};

/// How long the shard's cycles took.
pub const SHARD_CYCLE: Family = Family {
    name: "bigfleet_shard_cycle_duration_seconds",
    kind: "histogram",
    targets: &["shard"],
    unit: "s",
    read_by: &["shard_cycle_s_p99"],
    shown: Shown::Itself,
    doc: "length of the shard's cycles",
};

/// Needs that lack machines.
pub const SHARD_SHORTFALLS: Family = Family {
    name: "bigfleet_shard_shortfalls",
    kind: "gauge",
    targets: &["shard"],
    unit: "needs",
    read_by: &["shortfalls_max", "view"],
    shown: Shown::Itself,
    doc: "Needs that lack machines",
};

/// Cycles that left a Need short.
pub const SHARD_SHORT_CYCLES: Family = Family {
    name: "bigfleet_shard_cycles_with_shortfalls_total",
    kind: "counter",
    targets: &["shard"],
    unit: "cycles",
    read_by: &["shortfalls_max"],
    shown: Shown::ByTheReference,
    doc: "cycles that left a Need short: what was short between two scrapes",
};

/// How long a machine took to be configured.
pub const SHARD_CONFIGURE: Family = Family {
    name: "bigfleet_shard_configure_phase_seconds",
    kind: "histogram",
    targets: &["shard"],
    unit: "s",
    read_by: &["shard_configure_s_p99"],
    shown: Shown::Itself,
    doc: "time that machines took from the bootstrap to Configured",
};

/// Actions that were carried out.
pub const SHARD_OUTCOMES: Family = Family {
    name: "bigfleet_shard_action_execute_outcomes_total",
    kind: "counter",
    targets: &["shard"],
    unit: "actions",
    read_by: &["reclaims_soak", "bootstraps_soak", "view"],
    shown: Shown::Itself,
    doc: "actions that were carried out, by kind and outcome",
};

/// How long a roll-up took.
pub const OPERATOR_ROLLUP: Family = Family {
    name: "bigfleet_operator_rollup_duration_seconds",
    kind: "histogram",
    targets: &["operator"],
    unit: "s",
    read_by: &["operator_rollup_s_p99"],
    shown: Shown::Itself,
    doc: "time that the operator took for a roll-up",
};

/// How long a request waited to be acknowledged.
pub const OPERATOR_ACKNOWLEDGE: Family = Family {
    name: "bigfleet_operator_acknowledge_duration_seconds",
    kind: "histogram",
    targets: &["operator"],
    unit: "s",
    read_by: &["operator_ack_s_p99"],
    shown: Shown::Itself,
    doc: "time from the roll-up that first has a request to its acknowledgement",
};

/// Replicas that load-driver has declared.
pub const LOAD_DECLARED: Family = Family {
    name: "scaletest_loadgen_declared_replicas",
    kind: "gauge",
    targets: &["load-driver"],
    unit: "Pods",
    read_by: &["view"],
    shown: Shown::Itself,
    doc: "replicas that load-driver has declared",
};

/// The whole table. Nothing else of control planes is kept: an apiserver has tens of thousands of series.
pub const ALL: [&Family; 24] = [
    &APISERVER_REQUESTS,
    &APISERVER_REJECTED,
    &APISERVER_DISPATCHED,
    &APISERVER_CUT_OFF,
    &APISERVER_WATCH_CACHES,
    &APISERVER_OBJECTS,
    &APISERVER_GC,
    &APISERVER_GC_IDLE,
    &SCHEDULE_ATTEMPTS,
    &SCHEDULER_PENDING,
    &SCHEDULER_PREEMPTIONS,
    &SCHEDULER_VICTIMS,
    &SCHEDULER_INCOMING,
    &CLIENT_WAITED,
    &CLIENT_REQUESTS,
    &QUEUE_DEPTH,
    &SHARD_CYCLE,
    &SHARD_SHORTFALLS,
    &SHARD_SHORT_CYCLES,
    &SHARD_CONFIGURE,
    &SHARD_OUTCOMES,
    &OPERATOR_ROLLUP,
    &OPERATOR_ACKNOWLEDGE,
    &LOAD_DECLARED,
];

impl Family {
    /// Returns the name of the series that holds the sum of a histogram's observations.
    pub fn sum(&self) -> String {
        format!("{}_sum", self.name)
    }

    /// Whether the families that a target exposed prove this one.
    pub fn is_proved_by(&self, shown: &BTreeSet<String>) -> bool {
        shown.contains(self.name) || matches!(self.shown, Shown::With(other) if shown.contains(other))
    }
}

/// Returns the family that a series of that name belongs to, if it is in the table.
pub fn of_series(series: &str) -> Option<&'static Family> {
    let owns = |family: &&&Family| match series.strip_prefix(family.name) {
        Some("") => true,
        Some("_bucket" | "_count" | "_sum") => family.kind == "histogram",
        _ => false,
    };
    ALL.iter().find(owns).copied()
}

/// Whether a series of a control plane is kept. Buckets of histograms are not, because nothing reads them.
pub fn is_kept(series: &str) -> bool {
    of_series(series).is_some_and(|family| series == family.name || !series.ends_with("_bucket"))
}

/// Returns the families of the table that the text of a scrape announces in a `# TYPE` or `# HELP` line.
pub fn announced(text: &str) -> BTreeSet<String> {
    let announced = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP "))?;
        Some(of_series(rest.split(' ').next()?)?.name.to_owned())
    });
    announced.collect()
}

/// Returns the families of the table that the series belong to.
pub fn of(series: &Series) -> impl Iterator<Item = &'static str> {
    series.keys().filter_map(|key| of_series(name(key))).map(|family| family.name)
}

/// Returns the table as a page.
pub fn page() -> String {
    let mut out = String::from(
        "# Metrics that a run reads\n\n<!-- Generated by `cargo xtask codegen` from harness/model/src/families.rs. Do \
         not edit. -->\n\nA rule or a metric needs every family that names it, of every target. A family that a target \
         never showed makes the metric *not measured*, and the rule false; it is never read as 0. What an autoscaler of \
         your own must show is in [bring-your-own.md](bring-your-own.md#metrics).\n\n| family | kind | unit | of | read \
         by | proved by | what it is |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let words = |all: &[&str], otherwise: &str| match all.is_empty() {
        true => otherwise.to_owned(),
        false => all.join(", "),
    };
    for family in ALL {
        let proof = match family.shown {
            Shown::Itself => "its `# TYPE` line".to_owned(),
            Shown::With(other) => format!("the same, or that of `{other}`"),
            Shown::ByTheReference => "its `# TYPE` line; another autoscaler may lack it".to_owned(),
        };
        let Family { name, kind, unit, doc, .. } = family;
        let (of, read_by) = (words(family.targets, ""), words(family.read_by, "nothing"));
        let _ = writeln!(out, "| `{name}` | {kind} | {unit} | {of} | {read_by} | {proof} | {doc} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_of_the_family_that_owns_it() {
        let of = |series| of_series(series).map(|family| family.name);
        assert_eq!(of("rest_client_rate_limiter_duration_seconds_sum"), Some(CLIENT_WAITED.name));
        assert_eq!(of("apiserver_request_total"), Some(APISERVER_REQUESTS.name));
        assert_eq!(of("apiserver_request_total_sum"), None, "a counter has no sum");
        assert_eq!(of("apiserver_request_total_of_another"), None);
        assert!(is_kept("rest_client_rate_limiter_duration_seconds_sum"));
        assert!(!is_kept("rest_client_rate_limiter_duration_seconds_bucket"));
        assert!(!is_kept("go_goroutines"));
    }

    #[test]
    fn what_a_scrape_announces_counts_without_any_series() {
        let text = "# HELP bigfleet_shard_shortfalls x\n# TYPE rest_client_rate_limiter_duration_seconds histogram\n\
                    # TYPE another counter\n# a comment\n";
        let names: Vec<_> = announced(text).into_iter().collect();
        assert_eq!(names, [SHARD_SHORTFALLS.name, CLIENT_WAITED.name]);
        assert!(CLIENT_WAITED.is_proved_by(&announced(text)));
        assert!(!APISERVER_CUT_OFF.is_proved_by(&announced(text)));
        let sibling = BTreeSet::from([APISERVER_WATCH_CACHES.name.to_owned()]);
        assert!(APISERVER_CUT_OFF.is_proved_by(&sibling));
    }

    /// Every reader of a family takes its name from the table, which says what must expose it.
    #[test]
    fn no_reader_spells_a_name_of_its_own() {
        let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files: Vec<_> = ["src/summary", "../analysis/src", "../src/view", "../src/scenario"]
            .map(|dir| model.join(dir))
            .into();
        let mut looked_at = 0;
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let is_test = path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"));
            if is_test || path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            looked_at += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let program = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = program.lines().filter(|line| !line.trim_start().starts_with("//"));
            for literal in code.flat_map(|line| line.split('"').skip(1).step_by(2)) {
                let foreign =
                    ["bigfleet_", "scaletest_", "rest_client_"].iter().any(|p| literal.starts_with(p));
                let known = ALL.iter().any(|family| literal.contains(family.name));
                assert!(!foreign && !known, "{}: `{literal}`", path.display());
            }
        }
        assert!(looked_at > 40, "{looked_at} files");
    }

    #[test]
    fn a_proof_by_another_family_is_in_the_table_and_shows_itself() {
        for family in ALL {
            assert!(!family.targets.is_empty() && !family.doc.is_empty(), "{}", family.name);
            let Shown::With(other) = family.shown else { continue };
            let other = ALL.iter().find(|f| f.name == other).unwrap();
            assert_eq!((other.shown, other.targets), (Shown::Itself, family.targets), "{}", family.name);
        }
    }
}
