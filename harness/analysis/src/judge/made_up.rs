//! A small made-up run that passes, for tests that break one thing at a time.

use std::collections::BTreeMap;

use crate::judge::expect::ExpectedNeed;
use crate::judge::{Evidence, Expect, gates};
use harness_model::families::{self, Family, Shown};
use harness_model::profile::Scheduler;
use harness_model::record::event::End;
use harness_model::record::{
    Event, HostSample, NodeRecord, Phase, PodRecord, ProcessSample, Sample, Scrape, SpeedSlice, Stamped,
    Written,
};
use harness_model::summary::Bound;

/// The cluster.
pub const CLUSTER: &str = "kwok-cluster-0";
const SECOND: u64 = 1_000_000;
/// Start and end of the fill and the soak, seconds.
const FILL_S: (u64, u64) = (10, 40);
const SOAK_S: (u64, u64) = (60, 180);
/// End of the run, seconds.
const END_S: u64 = 200;

/// Returns what the run should have done: four Pods on two machines.
pub fn expect() -> Expect {
    let need = ExpectedNeed {
        cluster: CLUSTER.into(),
        archetype: "tiny-stateless".into(),
        pods: 4,
        density: 2,
        machines: 2,
        machines_most: 2,
        lower_bound: 2,
    };
    let requests = [("cpu", 500), ("memory", 1 << 30), ("pods", 1000)];
    let slo = [
        ("bind_latency_soak_s_p99", Bound::max(30.0)),
        ("unbound_s_max", Bound::max(60.0)),
        ("shard_cycle_s_p99", Bound::max(5.0)),
        ("operator_rollup_s_p99", Bound::max(2.0)),
    ];
    let ranges = [
        ("fill_s", Bound::max(60.0)),
        ("cpu_ms_per_pod", Bound::max(10_000.0)),
        ("failed_attempts_per_pod", Bound::max(3.0)),
        ("machines_over_plan", Bound::max(0.0)),
    ];
    let named = |bounds: &[(&str, Bound)]| bounds.iter().map(|(n, b)| ((*n).to_owned(), *b)).collect();
    Expect {
        profile: "made-up".into(),
        seed: 1,
        plan_digest: "plan".into(),
        clusters: vec![CLUSTER.into()],
        pods_per_cluster: 4,
        needs: vec![need],
        scheduler: Scheduler::KubeScheduler,
        requests: [("tiny-0".into(), requests.map(|(name, n)| (name.to_owned(), n)).into())].into(),
        has_churn: true,
        has_wave: false,
        pod_termination_s: 0,
        listed: gates::ALWAYS.into_iter().chain(gates::WITH_CHURN).map(str::to_owned).collect(),
        slos: named(&slo),
        ranges: named(&ranges),
        machine_class: Some("2 cores / 24 GiB / x".into()),
        theirs: false,
        is_calibrated: true,
        normalised_ranges: BTreeMap::new(),
    }
}

/// Returns what the run left behind.
pub fn evidence() -> Evidence {
    let mut evidence = Evidence { pods: pods(), nodes: nodes(), samples: samples(), ..Evidence::default() };
    evidence.read_events(events());
    evidence.found = written().into_iter().map(|(file, written)| (file, written.lines)).collect();
    for scrape in scrapes() {
        evidence.scrapes.entry((scrape.target.clone(), scrape.cluster.clone())).or_default().push(scrape);
    }
    evidence
}

/// Returns the events of the run.
pub fn events() -> Vec<Stamped> {
    let cluster = || CLUSTER.to_owned();
    let quiet = |phase| Event::QuietPoint {
        cluster: cluster(),
        phase,
        declared: 4,
        live: 4,
        requests: 4,
        bound: 4,
        running: 4,
    };
    let started = Event::RunStarted {
        run_id: "run".into(),
        profile: "made-up".into(),
        seed: 1,
        wall_unix_us: 1_700_000_000 * SECOND,
    };
    let mut all = vec![(0, started)];
    for (phase, (from, to)) in [(Phase::Fill, FILL_S), (Phase::Soak, SOAK_S)] {
        all.push((from, Event::PhaseStarted { phase }));
        all.push((to, Event::PhaseEnded { phase }));
        all.extend((0..3).map(|i| (to + 1 + 2 * i, quiet(phase))));
    }
    let workloads = BTreeMap::from([("tiny-0".to_owned(), 4)]);
    all.push((END_S - 2, Event::Declared { cluster: cluster(), workloads }));
    let check = Event::LedgerCheck { cluster: cluster(), unknown: Vec::new(), vanished: Vec::new() };
    all.push((END_S - 1, check));
    let status = serde_json::json!({"phase": "filled", "failures": []});
    all.push((END_S - 1, Event::DriverReport { cluster: cluster(), status }));
    all.push((END_S, Event::RunEnded { end: End::Completed, reason: None, written: written() }));
    all.into_iter().map(|(at_s, event)| Stamped { at_us: at_s * SECOND, event }).collect()
}

/// Returns what the run reports that it wrote.
pub fn written() -> BTreeMap<String, Written> {
    let files =
        ["events.jsonl", "metrics.jsonl", "nodes.jsonl", "pods.jsonl.gz", "processes.jsonl", "audit.jsonl"];
    files.map(|file| (file.to_owned(), Written { lines: 7, ..Written::default() })).into()
}

fn pods() -> Vec<PodRecord> {
    let pod = |n: u64, created_s: u64| PodRecord {
        cluster: CLUSTER.into(),
        uid: format!("uid-{n}"),
        name: format!("pod-{n}"),
        archetype: "tiny-stateless".into(),
        workload: "tiny-0".into(),
        created_us: created_s * SECOND,
        marked_us: Some(created_s * SECOND + 100_000),
        marks: 1,
        request_us: Some(created_s * SECOND + 200_000),
        acked_us: Some((created_s + 1) * SECOND),
        bound_us: Some((created_s + 4) * SECOND),
        node: Some(format!("m-{}", n % 2)),
        running_us: Some((created_s + 5) * SECOND),
        ..PodRecord::default()
    };
    let mut pods: Vec<PodRecord> = (0..4).map(|n| pod(n, FILL_S.0 + 1)).collect();
    // One Pod of the fill is churned in the soak, and replaced.
    pods[3].deleting_us = Some(70 * SECOND);
    pods[3].gone_us = Some(71 * SECOND);
    pods[3].request_gone_us = Some(71 * SECOND);
    pods.push(PodRecord { node: Some("m-1".into()), marked_us: None, marks: 0, ..pod(4, 70) });
    pods
}

fn nodes() -> Vec<NodeRecord> {
    let node = |n: u64| NodeRecord {
        cluster: CLUSTER.into(),
        name: format!("m-{n}"),
        archetype: "tiny-stateless".into(),
        allocatable: [("cpu", "1"), ("memory", "2147483648m"), ("pods", "1100")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
        upcoming_us: Some(12 * SECOND),
        upcoming_ready_us: Some(13 * SECOND),
        created_us: Some(14 * SECOND),
        ready_us: Some(14 * SECOND + 500_000),
        ..NodeRecord::default()
    };
    vec![node(0), node(1)]
}

fn samples() -> Vec<Sample> {
    let names = [("kube-apiserver", 80), ("kube-scheduler", 40), ("shard", 5), ("load-driver", 5)];
    // A host as fast as the reference, before and during the run.
    let slice = |at_s: u64| SpeedSlice {
        at_us: at_s * SECOND,
        index_version: host_speed::INDEX_VERSION,
        before_start: at_s < FILL_S.0 / 2,
        parts: host_speed::REFERENCE,
    };
    let sample = |at_s: u64| Sample {
        at_us: at_s * SECOND,
        host_speed: vec![slice(at_s)],
        host: HostSample {
            busy_cpu_ms: at_s * 500,
            idle_cpu_ms: at_s * 1500,
            available_mib: 8_000,
            ..HostSample::default()
        },
        processes: names
            .iter()
            .enumerate()
            .map(|(i, (name, ms_per_s))| ProcessSample {
                name: (*name).into(),
                pid: i as u32 + 1,
                cpu_ms: at_s * ms_per_s,
                rss_mib: 100,
                ..ProcessSample::default()
            })
            .collect(),
        ..Sample::default()
    };
    (0..=END_S / 2).map(|i| sample(2 * i)).collect()
}

/// Returns the scrapes of the run. Each target exposes all families of the table that it should, except those that a Go
/// program exposes only with their first event.
pub fn scrapes() -> Vec<Scrape> {
    let mut scrapes = Vec::new();
    for at_s in (5..=END_S).step_by(5) {
        let n = at_s as f64;
        for (target, cluster, series) in targets(n) {
            let shown = families::ALL.into_iter().filter(|family| family.targets.contains(&target));
            let shown = shown.filter(|family| !matches!(family.shown, Shown::With(_)));
            scrapes.push(Scrape {
                at_us: at_s * SECOND,
                target: target.into(),
                cluster: cluster.map(str::to_owned),
                error: None,
                families: shown.map(|family| family.name.to_owned()).collect(),
                series: series.into_iter().collect(),
            });
        }
    }
    scrapes
}

/// A target, its cluster, and its series.
type Shows = (&'static str, Option<&'static str>, Vec<(String, f64)>);

fn targets(n: f64) -> Vec<Shows> {
    let histogram = |family: &Family, le: &str| {
        let bucket = |le: &str| (format!("{}_bucket{{le=\"{le}\"}}", family.name), n);
        vec![bucket(le), bucket("+Inf")]
    };
    let mut shard = histogram(&families::SHARD_CYCLE, "0.1");
    shard.extend(histogram(&families::SHARD_CONFIGURE, "2"));
    shard.push((families::SHARD_SHORTFALLS.name.into(), 0.0));
    shard.push((families::SHARD_SHORT_CYCLES.name.into(), 0.0));
    let mut operator = histogram(&families::OPERATOR_ROLLUP, "0.5");
    operator.extend(histogram(&families::OPERATOR_ACKNOWLEDGE, "1"));
    let attempts = |result, n| {
        let name = families::SCHEDULE_ATTEMPTS.name;
        (format!("{name}{{result=\"{result}\"}}"), n)
    };
    let answered = (format!("{}{{code=\"200\"}}", families::APISERVER_REQUESTS.name), n);
    let attempts = vec![attempts("scheduled", 5.0), attempts("unschedulable", 4.0)];
    vec![
        ("shard", None, shard),
        ("operator", Some(CLUSTER), operator),
        ("load-driver", Some(CLUSTER), Vec::new()),
        ("node-creator", Some(CLUSTER), Vec::new()),
        ("unschedulable-pod-controller", Some(CLUSTER), Vec::new()),
        ("kube-apiserver", Some(CLUSTER), vec![answered]),
        ("kube-scheduler", Some(CLUSTER), attempts),
        ("kube-controller-manager", Some(CLUSTER), Vec::new()),
    ]
}
