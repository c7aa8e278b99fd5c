//! What the dashboard looks like, for made-up runs.

use super::*;
use crate::view::left::{Range, of_run};
use crate::view::snapshot::{Busy, Load, Machines, Rates};

const PHASES: [(Phase, f64, Option<Range>); 9] = [
    (Phase::Provision, 8.1, None),
    (Phase::Start, 0.5, None),
    (Phase::Fill, 1083.0, Some(Range { least_s: 0.0, most_s: 1800.0 })),
    (Phase::Steady, 6.3, Some(Range { least_s: 0.0, most_s: 120.0 })),
    (Phase::Settle, 6.3, Some(Range { least_s: 0.0, most_s: 120.0 })),
    (Phase::Soak, 1807.0, Some(Range { least_s: 1800.0, most_s: 1800.0 })),
    (Phase::Quiesce, 15.1, Some(Range { least_s: 0.0, most_s: 300.0 })),
    (Phase::Collect, 17.9, None),
    (Phase::Release, 3.7, None),
];

/// Returns a run in that phase.
fn run_in(phase: Phase, phase_s: f64, phase_left: Option<Range>) -> Snapshot {
    let before: f64 = PHASES.iter().filter(|(p, ..)| *p < phase).map(|(_, took_s, _)| took_s).sum();
    let view = |(p, took_s, planned): (Phase, f64, Option<Range>)| PhaseView {
        phase: p,
        state: match p.cmp(&phase) {
            std::cmp::Ordering::Less => PhaseState::Done,
            std::cmp::Ordering::Equal => PhaseState::Present,
            std::cmp::Ordering::Greater => PhaseState::Ahead,
        },
        took_s: (p < phase).then_some(took_s),
        planned,
    };
    let phases: Vec<PhaseView> = PHASES.into_iter().map(view).collect();
    Snapshot {
        run_id: "dev-500-20261124-093000-4f1a".into(),
        elapsed_s: before + phase_s,
        left: of_run(&phases, phase_left),
        interrupted: false,
        phase,
        phase_s,
        phase_left,
        phases,
        note: String::new(),
        clusters: Vec::new(),
        rates: Rates::default(),
        so_far: Vec::new(),
        load: None,
    }
}

fn cluster(n: u64, running: u64) -> ClusterView {
    ClusterView {
        name: format!("kwok-cluster-{n}"),
        target: 10_000,
        declared: Some((running + 900).min(10_000)),
        created: running + 700,
        live: (running + 700).min(10_000),
        bound: (running + 300).min(10_000),
        running,
        binds_per_s: Some(11.4 + n as f64),
    }
}

fn fill() -> Snapshot {
    let mut s = run_in(Phase::Fill, 512.0, Some(Range::exactly(561.0)));
    s.clusters = (0..5).map(|n| cluster(n, 4_300 + 311 * n)).collect();
    s.rates = Rates {
        binds_per_s: Some(46.7),
        marks_per_pod: Some(0.412),
        failed_attempts_per_pod: None,
        actions_per_s: Some(1.8),
        machines: Some(Machines { serving: 295, moving: 12, planned: 610 }),
    };
    s.so_far = vec![
        Check::new("unbound_s_max", 14.2, "s", None),
        Check::new("watches_without_gap", 0.0, "gaps", Some(0.0)),
        Check::new("nodes_stayed_ready", 0.0, "Nodes", Some(0.0)),
        Check::new("shortfalls_max", 3.0, "needs", None),
        Check::new("harness_and_fleet_cpu_share", 0.091, "share", Some(0.25)),
        Check::new("host_not_starved", 41.0, "ms late", Some(5000.0)),
    ];
    let busy = |component: &str, share| Busy { component: component.into(), share };
    s.load = Some(Load {
        busiest: vec![busy("kube-apiserver", 0.38), busy("kube-scheduler", 0.24), busy("kwok", 0.11)],
        host_busy: 0.97,
        memory_mib: 9_421,
        available_mib: 11_230,
    });
    s
}

fn drawn(s: &Snapshot, columns: usize) -> String {
    let look = Look { width: columns - 1, height: 24, colour: false };
    let lines = lines(s, look);
    for line in &lines {
        assert!(line.chars().count() < columns, "{line:?} is as wide as a terminal of {columns} columns");
        assert!(line.is_ascii(), "{line:?}: not every terminal has more");
    }
    lines.join("\n")
}

#[test]
fn a_fill_half_way() {
    insta::assert_snapshot!("fill_120_columns", drawn(&fill(), 120));
    insta::assert_snapshot!("fill_80_columns", drawn(&fill(), 80));
}

#[test]
fn a_soak_in_which_something_is_wrong() {
    let mut s = run_in(Phase::Soak, 721.0, Some(Range::exactly(1079.0)));
    (s.clusters, s.load) = (vec![cluster(0, 9_996), cluster(1, 9_100)], fill().load);
    s.so_far = vec![
        Check::new("watches_without_gap", 0.0, "gaps", Some(0.0)),
        Check::new("nodes_stayed_ready", 0.0, "Nodes", Some(0.0)),
        Check::new("unbound_s_max", 71.0, "s", Some(60.0)),
    ];
    insta::assert_snapshot!("soak_100_columns", drawn(&s, 100));
}

#[test]
fn a_single_cluster_of_which_nothing_is_known_yet() {
    let mut s = run_in(Phase::Provision, 3.0, None);
    s.clusters = vec![ClusterView { name: "kwok-cluster-0".into(), target: 150, ..ClusterView::default() }];
    s.note = "starting 1 control plane".into();
    insta::assert_snapshot!("provision_80_columns", drawn(&s, 80));
}

#[test]
fn a_fill_that_will_miss_its_budget() {
    let mut s = fill();
    (s.phase_s, s.phase_left) = (1500.0, Some(Range::exactly(561.0)));
    let now = drawn(&s, 80).lines().nth(3).unwrap().to_owned();
    assert_eq!(now, "now      fill 25:00, about 9 min at this rate, 5 min of its budget left");
    s.phase_left = None;
    let now = drawn(&s, 80).lines().nth(3).unwrap().to_owned();
    assert_eq!(now, "now      fill 25:00, at most 30 min", "no forecast where there is no rate");
}

#[test]
fn there_is_a_dashboard_for_every_size() {
    for columns in [20, 40, 60, 72, 80, 81, 100, 132, 200, 400] {
        for height in [3, 10, 24, 60] {
            let look = Look { width: columns - 1, height, colour: false };
            let lines = lines(&fill(), look);
            assert!(
                lines.iter().all(|line| line.chars().count() < columns),
                "{columns}x{height}: {lines:#?}"
            );
            assert!(lines.len() <= OTHERS + height.saturating_sub(OTHERS).max(1), "{columns}x{height}");
        }
    }
    let few = lines(&fill(), Look { width: 79, height: OTHERS + 3, colour: false }).join("\n");
    assert!(few.contains("3 others") && few.contains("30000"), "{few}");
}

#[test]
fn colours_are_there_only_where_they_are_wanted() {
    let look = |colour| Look { width: 79, height: 24, colour };
    assert!(lines(&fill(), look(true)).concat().contains("\x1b[32m#"));
    assert!(!lines(&fill(), look(false)).concat().contains('\x1b'));
}

#[test]
fn an_interrupted_run_says_so_and_forecasts_nothing() {
    let mut s = run_in(Phase::Collect, 1.0, None);
    s.interrupted = true;
    assert!(drawn(&s, 80).contains("interrupted, winding down; once more kills"));
}
