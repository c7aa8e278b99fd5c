//! How the board evaluates what it takes in.

use super::*;

fn board() -> Board {
    let planned =
        [(Phase::Fill, Range::at_most(600.0)), (Phase::Soak, Range::exactly(180.0))].into_iter().collect();
    Board::new(Facts {
        run_id: "run".into(),
        clusters: vec![("b".into(), 100), ("a".into(), 100)],
        machines: 4,
        planned,
        unbound_s_max: Some(60.0),
    })
}

fn event(board: &mut Board, at_s: u64, event: Event) {
    board.event(&Stamped { at_us: at_s * 1_000_000, event });
}

fn begin(board: &mut Board, at_s: u64, phase: Phase) {
    event(board, at_s, Event::PhaseStarted { phase });
}

fn seen(board: &mut Board, at_s: u64, running: u64, unbound_since_s: Option<u64>) {
    let of = |cluster: &str| Seen {
        cluster: cluster.into(),
        counts: Counts { running, ever_bound: running, marks: running / 2, ..Counts::default() },
        unbound_since_us: unbound_since_s.map(|s| s * 1_000_000),
    };
    board.seen(at_s * 1_000_000, &[of("a"), of("b")]);
}

fn check(board: &Board, name: &str) -> Check {
    let so_far = board.snapshot(0).so_far;
    so_far.into_iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_fill_is_forecast_by_its_own_rate() {
    let mut board = board();
    begin(&mut board, 0, Phase::Provision);
    begin(&mut board, 10, Phase::Fill);
    board.target(200);
    seen(&mut board, 10, 0, None);
    assert_eq!(board.snapshot(10_000_000).phase_left, None, "nothing is said before there is a rate");
    seen(&mut board, 20, 25, None);
    let snapshot = board.snapshot(20_000_000);
    assert_eq!(snapshot.phase_left, Some(Range::exactly(30.0)), "150 of 200 are missing at 5 a second");
    assert_eq!(snapshot.phases[0].took_s, Some(10.0), "a phase that was broken off ends with the next");
    assert_eq!(snapshot.phases[1].state, PhaseState::Skipped);
    assert_eq!(snapshot.rates.binds_per_s, Some(5.0));
    assert_eq!(snapshot.rates.marks_per_pod, Some(0.48));
    let names: Vec<_> = snapshot.clusters.iter().map(|c| (c.name.as_str(), c.binds_per_s)).collect();
    assert_eq!(names, [("b", Some(2.5)), ("a", Some(2.5))], "in the plan's order");
}

#[test]
fn an_unbound_pod_counts_against_the_objective_in_the_soak_only() {
    let mut board = board();
    begin(&mut board, 0, Phase::Fill);
    seen(&mut board, 100, 1, Some(10));
    assert_eq!(check(&board, "unbound_s_max"), Check::new("unbound_s_max", 90.0, "s", None));
    begin(&mut board, 200, Phase::Soak);
    seen(&mut board, 280, 1, Some(210));
    let check = check(&board, "unbound_s_max");
    assert_eq!((check.value, check.limit, check.ok), (70.0, Some(60.0), false));
}

#[test]
fn gaps_and_lost_nodes_are_counted() {
    let mut board = board();
    assert!(check(&board, "watches_without_gap").ok);
    event(&mut board, 1, Event::WatchGap { cluster: "a".into(), kind: "Pod".into() });
    event(&mut board, 1, Event::NodeNotReady { cluster: "a".into(), node: "n".into() });
    assert!(!check(&board, "watches_without_gap").ok);
    assert_eq!(check(&board, "nodes_stayed_ready").value, 1.0);
}

#[test]
fn scrapes_tell_what_the_ledger_cannot() {
    let mut board = board();
    let series = |pairs: &[(&str, f64)]| -> Series { pairs.iter().map(|(k, v)| ((*k).into(), *v)).collect() };
    let (outcomes, attempts) = (SHARD_OUTCOMES.name, SCHEDULE_ATTEMPTS.name);
    for (at_us, done) in [(0, 10.0), (5_000_000, 20.0)] {
        let key = format!("{outcomes}{{kind=\"Bootstrap\",outcome=\"success\"}}");
        let failed = format!("{outcomes}{{kind=\"Bootstrap\",outcome=\"error\"}}");
        let short = (SHARD_SHORTFALLS.name, 2.0);
        board.scraped(at_us, "shard", None, &series(&[(&key, done), (&failed, 99.0), short]));
    }
    board.scraped(1, "load-driver", Some("a"), &series(&[("scaletest_loadgen_declared_replicas", 70.0)]));
    let attempts = |result| format!("{attempts}{{profile=\"x\",result=\"{result}\"}}");
    let attempts = series(&[(&attempts("scheduled"), 100.0), (&attempts("unschedulable"), 30.0)]);
    board.scraped(1, "kube-scheduler", Some("a"), &attempts);
    let rates = board.snapshot(0).rates;
    assert_eq!(rates.failed_attempts_per_pod, None, "one of the two schedulers was not scraped yet");
    board.scraped(1, "kube-scheduler", Some("b"), &series(&[("another_total", 1.0)]));
    let rates = board.snapshot(0).rates;
    assert_eq!(rates.failed_attempts_per_pod, None, "one of the two shows no attempts");
    board.scraped(1, "kube-scheduler", Some("b"), &attempts);
    let snapshot = board.snapshot(0);
    assert_eq!(snapshot.rates.failed_attempts_per_pod, Some(0.3));
    assert_eq!(snapshot.rates.actions_per_s, Some(2.0));
    assert_eq!(check(&board, "shortfalls_max").value, 2.0);
    let declared: Vec<_> = snapshot.clusters.iter().map(|c| c.declared).collect();
    assert_eq!(declared, [None, Some(70)]);
}

#[test]
fn a_run_that_winds_down_forecasts_nothing() {
    let mut board = board();
    begin(&mut board, 0, Phase::Soak);
    assert_eq!(board.snapshot(60_000_000).left, None, "the ceiling of the quiesce phase is not known here");
    board.facts.planned.insert(Phase::Quiesce, Range::at_most(60.0));
    assert_eq!(board.snapshot(60_000_000).left, Some(Range { least_s: 120.0, most_s: 180.0 }));
    board.interrupted();
    assert_eq!(board.snapshot(60_000_000).left, None);
}
