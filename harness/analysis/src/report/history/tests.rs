//! Tests of the history of gates, on made-up summaries.

use std::path::Path;

use serde_json::json;

use super::{History, Past};
use crate::judge::{made_up, weigh};
use crate::report::html;
use harness_model::record::RunDir;
use harness_model::summary::{Bound, Gate, Outcome, Summary, Verdict};

/// Returns a run that began on that day and whose fill took that many seconds; up to 60 is good.
fn run(day: u32, fill_s: f64) -> Summary {
    let mut summary = weigh(&made_up::expect(), &made_up::evidence());
    summary.run_id = format!("run-{day}");
    summary.started = format!("2026-11-{day:02}T10:00:00Z");
    summary.host = json!({"cores": 2, "memory_mib": 24_105, "cpu_model": "x"});
    let fill = fill(&mut summary);
    fill.value = Some(fill_s);
    fill.range = Some(Bound::max(60.0));
    fill.outcome = if fill_s <= 60.0 { Outcome::Pass } else { Outcome::Fail };
    summary
}

fn fill(summary: &mut Summary) -> &mut Gate {
    summary.gates.iter_mut().find(|gate| gate.metric == "fill_s").unwrap()
}

fn history(of: &Summary, runs: impl IntoIterator<Item = Summary>) -> History {
    History::of(of, runs.into_iter())
}

fn ids(history: &History) -> Vec<&str> {
    history.earlier.iter().map(|run| run.run_id.as_str()).collect()
}

fn changed(mut run: Summary, change: impl FnOnce(&mut Summary)) -> Summary {
    change(&mut run);
    run
}

/// Returns the row of a gate in a page.
fn row<'a>(page: &'a str, metric: &str) -> &'a str {
    let start = format!("<td>{}</td>", metric.replace('_', "_<wbr>"));
    page.split("<tr>").find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("no {metric}"))
}

#[test]
fn earlier_runs_are_in_order_of_their_start_and_each_is_there_once() {
    let now = run(9, 50.0);
    let runs = [run(3, 1.0), run(1, 2.0), now.clone(), run(2, 3.0), run(10, 4.0), run(3, 1.0)];
    assert_eq!(ids(&history(&now, runs)), ["run-1", "run-2", "run-3"]);
}

#[test]
fn runs_of_another_kind_and_runs_that_say_nothing_are_left_out() {
    let now = run(9, 50.0);
    let others = [
        changed(run(1, 1.0), |r| r.plan_digest = "other".into()),
        changed(run(2, 1.0), |r| r.profile = "other".into()),
        changed(run(3, 1.0), |r| r.host["cpu_model"] = json!("y")),
        changed(run(4, 1.0), |r| r.host["autoscaler"] = json!("mine")),
        changed(run(5, 1.0), |r| r.host = json!({})),
        changed(run(6, 1.0), |r| r.verdict = Verdict::Invalid),
        changed(run(7, 1.0), |r| r.verdict = Verdict::Interrupted),
    ];
    let failed = changed(run(8, 70.0), |r| r.verdict = Verdict::Fail);
    assert_eq!(ids(&history(&now, others.into_iter().chain([failed]))), ["run-8"]);
    let unknown = changed(run(9, 1.0), |r| r.host = json!({}));
    let alike = changed(run(5, 1.0), |r| r.host = json!({}));
    assert!(history(&unknown, [alike]).is_empty(), "a machine that was not recorded is like no other");
}

#[test]
fn a_gate_counts_the_runs_that_judged_it_and_spreads_what_was_measured() {
    let mut now = run(9, 50.0);
    let runs = [
        run(1, 40.0),
        run(2, 70.0),
        run(3, 44.0),
        changed(run(4, 600.0), |r| fill(r).outcome = Outcome::Saturated),
        changed(run(5, 0.0), |r| {
            let fill = fill(r);
            (fill.value, fill.outcome) = (None, Outcome::Unmeasured);
        }),
        changed(run(6, 1.0), |r| fill(r).outcome = Outcome::NotApplicable),
        changed(run(7, 1.0), |r| r.gates.retain(|gate| gate.metric != "fill_s")),
    ];
    let history = history(&now, runs);
    let Past { runs, passed, spread } = history.past("fill_s");
    let spread = spread.unwrap();
    assert_eq!((runs, passed), (5, 2));
    assert_eq!((spread.n, spread.median, spread.min, spread.max), (3, 44.0, 40.0, 70.0));
    assert_eq!(history.past("bound_ratio").runs, 7);
    assert_eq!(history.past("no_such_gate"), Past { runs: 0, passed: 0, spread: None });

    let gate = fill(&mut now);
    let cell = history.cell(gate);
    assert!(cell.contains("5 earlier, 2 passed, 3 measured<br>median 44, 40–70<"), "{cell}");
    gate.outcome = Outcome::NotApplicable;
    assert_eq!(history.cell(gate), "", "what does not apply has no history");
}

#[test]
fn the_page_draws_the_history_and_holds_its_values() {
    let now = run(9, 50.25);
    let failed = changed(run(2, 70.123_456_7), |r| r.verdict = Verdict::Fail);
    let history = history(&now, [run(1, 40.0), failed]);
    let page = html(&RunDir::new("no-such-run"), &now, &made_up::evidence(), &history);
    let row = row(&page, "fill_s");
    assert!(row.contains("2 earlier, 1 passed<br>median 55.1, 40–70.1"), "{row}");
    let marks: Vec<&str> = row.split("<title>").skip(1).map(|mark| mark.split('<').next().unwrap()).collect();
    assert_eq!(marks, ["run-1: 40 s, pass", "run-2: 70.1 s, fail", "this run: 50.2 s, pass"]);
    assert_eq!(row.matches("class=\"limit\"").count(), 1, "a range with one end");
    assert_eq!(
        (row.matches("r=\"2\"").count(), row.matches("<path d=\"M").count()),
        (2, 1),
        "dots and crosses"
    );
    assert_eq!(row.matches("class=\"ring\"").count(), 1, "this run");
    for (start, value) in [("01", "40"), ("02", "70.1234567"), ("09", "50.25")] {
        let began = format!("<td>2026-11-{start}T10:00:00Z</td>");
        let figures = page.split("<tr>").find(|row| row.starts_with(&began)).unwrap();
        assert!(figures.contains(&format!("<td><data value=\"{value}\">")), "{figures}");
    }
    assert!(page.contains("this run, ringed") && !page.contains("irst run of its kind"));
}

#[test]
fn a_picture_has_the_last_runs_from_left_to_right_within_its_frame() {
    let mut now = run(28, 50.0);
    let history = history(&now, (1..=27).map(|day| run(day, f64::from(day))));
    let (points, limits) = history.layout(fill(&mut now));
    let titles: Vec<&str> = points.iter().map(|point| point.title.split(':').next().unwrap()).collect();
    assert_eq!((titles.len(), titles[0], titles[18], titles[19]), (20, "run-9", "run-27", "this run"));
    assert!(points.windows(2).all(|pair| pair[0].x < pair[1].x && pair[0].y > pair[1].y));
    assert_eq!((points[0].x, points[0].y, points[19].x), (5.0, 25.0, 115.0));
    assert_eq!(limits, [5.0], "60 is the most that is drawn");
}

#[test]
fn the_tighter_of_objective_and_range_is_the_limit() {
    let mut now = run(9, 50.0);
    let gate = fill(&mut now);
    gate.slo = Some(Bound { min: Some(10.0), max: Some(50.0) });
    let (_, limits) = history(&run(9, 1.0), [run(1, 30.0)]).layout(gate);
    assert_eq!(limits, [25.0, 5.0]);
}

#[test]
fn a_first_run_says_so() {
    let now = run(9, 50.0);
    let page = html(&RunDir::new("no-such-run"), &now, &made_up::evidence(), &History::default());
    assert!(page.contains("The first run of its kind here") && !page.contains("class=\"spark\""));
    assert!(!page.contains("Figures of all earlier runs") && !page.contains("cannot be read"));
}

#[test]
fn runs_are_found_beside_the_run_and_among_those_kept() {
    let root = tempfile::tempdir().unwrap();
    let keep = |path: &str, text: Vec<u8>| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let text = |run: &Summary| serde_json::to_vec(run).unwrap();
    let now = run(9, 50.0);
    keep("runs/now/summary.json", text(&now));
    keep("runs/a/summary.json", text(&run(4, 1.0)));
    keep("runs/broken/summary.json", b"{".to_vec());
    keep("runs/old/summary.json", b"{\"schema_version\": 1}".to_vec());
    keep("runs/under-way/events.jsonl", Vec::new());
    keep("kept/a.json", text(&run(4, 1.0)));
    keep("kept/b.json", text(&run(2, 1.0)));
    keep("kept/README.md", Vec::new());
    let (runs, kept) = (root.path().join("runs"), root.path().join("kept"));
    std::os::unix::fs::symlink("broken", runs.join("latest")).unwrap();
    std::os::unix::fs::symlink("now", runs.join("this")).unwrap();
    for name in ["now", "this"] {
        let found = History::find(&RunDir::new(runs.join(name)), &now, &kept);
        assert_eq!((ids(&found), found.unread), (vec!["run-2", "run-4"], 2), "{name}");
        assert!(found.note().contains("cannot be read here: 2 summaries"), "{}", found.note());
    }
    let found = History::find(&RunDir::new(runs.join("now")), &now, Path::new("no-such-directory"));
    assert_eq!(ids(&found), ["run-4"], "without a repository there are the runs beside it");
    let nowhere = History::find(&RunDir::new("no-such-run"), &now, Path::new("no-such-directory"));
    assert!(nowhere.is_empty() && nowhere.unread == 0);
}

#[test]
fn the_history_is_at_reference_speed_and_old_runs_are_only_in_the_table() {
    let at_speed = |day: u32, fill_s: f64, at_reference: f64| {
        changed(run(day, fill_s), |r| {
            r.metrics.get_mut("fill_s").unwrap().value = Some(fill_s);
            r.host_speed.as_mut().unwrap().normalised.insert("fill_s".into(), at_reference);
        })
    };
    let mut now = at_speed(9, 50.0, 25.0);
    let old = changed(run(2, 90.0), |r| r.host_speed = None);
    let other = changed(run(3, 90.0), |r| r.host_speed.as_mut().unwrap().index_version = 2);
    let history = history(&now, [at_speed(1, 80.0, 24.0), old, other, at_speed(4, 20.0, 26.0)]);
    let spread = history.past("fill_s").spread.unwrap();
    assert_eq!((history.past("fill_s").runs, spread.n, spread.min, spread.max), (4, 2, 24.0, 26.0));
    let (points, limits) = history.layout(fill(&mut now));
    let titles: Vec<&str> = points.iter().map(|point| point.title.as_str()).collect();
    assert_eq!(titles, ["run-1: 24 s, fail", "run-4: 26 s, pass", "this run: 25 s, pass"]);
    assert_eq!(limits, [5.0], "the range of 60 is 30 at reference speed");
    assert!(
        history.note().contains("Of 2 earlier runs the host's speed was not measured"),
        "{}",
        history.note()
    );
    assert_eq!(history.figures(&now).matches("90, not normalised").count(), 2);
    let unmeasured = changed(run(9, 50.0), |r| r.host_speed = None);
    let plain = super::History::of(&unmeasured, [run(1, 40.0)].into_iter());
    assert_eq!(
        plain.past("fill_s").spread.unwrap().median,
        40.0,
        "what was not measured is held against plain values"
    );
}
