//! Tests of the results book, on made-up summaries.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::{PAGE, dir_of_repository, load, render, stale, write};
use crate::judge::{made_up, weigh};
use harness_model::summary::{Summary, Verdict};

/// Returns a run whose fill took that many seconds on a machine with that processor.
fn summary(run_id: &str, fill_s: f64, processor: &str) -> Summary {
    let mut summary = weigh(&made_up::expect(), &made_up::evidence());
    summary.run_id = run_id.into();
    summary.metrics.get_mut("fill_s").unwrap().value = Some(fill_s);
    summary.host = json!({"cores": 2, "memory_mib": 24_105, "cpu_model": processor});
    summary.tools = json!({"digest": "d1"});
    summary
}

fn book(summaries: &[Summary]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for summary in summaries {
        keep(dir.path(), &summary.run_id, summary);
    }
    dir
}

fn keep(dir: &Path, name: &str, summary: &Summary) {
    std::fs::write(dir.join(format!("{name}.json")), serde_json::to_vec(summary).unwrap()).unwrap();
}

/// Returns the section of the page under that heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading} in\n{page}"));
    rest.split("\n### ").next().unwrap()
}

#[test]
fn a_changed_page_is_found_stale_until_it_is_written() {
    let dir = book(&[summary("a", 10.0, "x"), summary("b", 30.0, "x")]);
    assert!(stale(dir.path()).unwrap().unwrap().contains("line 1 is nothing, and should be `# Results`"));
    let page = write(dir.path()).unwrap();
    assert_eq!(page, dir.path().join(PAGE));
    assert_eq!(stale(dir.path()).unwrap(), None);

    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&page, text.replace("| fill, s | 2 | 20 |", "| fill, s | 2 | 19 |")).unwrap();
    let found = stale(dir.path()).unwrap().expect("a changed page must be found");
    assert!(found.contains("README.md is out of date") && found.contains("`| fill, s | 2 | 19 |"), "{found}");
    std::fs::write(&page, format!("{text}more\n")).unwrap();
    assert!(stale(dir.path()).unwrap().unwrap().contains("is `more`, and should be nothing"));

    write(dir.path()).unwrap();
    keep(dir.path(), "c", &summary("c", 20.0, "x"));
    assert!(stale(dir.path()).unwrap().is_some(), "a summary that was added makes the page stale");
}

#[test]
fn a_row_says_what_the_summary_says() {
    let mut failed = summary("failed", 1083.2, "AMD EPYC");
    failed.verdict = Verdict::Fail;
    failed.started = "2026-11-24T17:19:23.5Z".into();
    failed.metrics.get_mut("cpu_ms_per_pod").unwrap().value = None;
    let metric = failed.metrics.get_mut("bind_latency_soak_s_p99").unwrap();
    (metric.value, metric.saturated) = (Some(600.0), true);
    let dir = book(&[failed]);
    let page = render(dir.path()).unwrap();
    let row = page.lines().find(|line| line.contains("failed.json")).unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!(
        cells[1..6],
        ["[2026-11-24 17:19](failed.json)", "made-up", "FAIL", "2 cores / 24 GiB / AMD EPYC", "1083"]
    );
    assert_eq!((cells[6], cells[10]), ("-", "> 600"), "{row}");
    assert!(row.ends_with("| kube-apiserver |"), "{row}");
    std::fs::write(dir.path().join("failed.md"), "").unwrap();
    assert!(render(dir.path()).unwrap().contains("(failed.md)"), "people rather read the Markdown");
}

#[test]
fn machine_classes_plans_profiles_and_autoscalers_are_never_mixed() {
    let mut other_plan = summary("d", 500.0, "x");
    other_plan.plan_digest = "other".into();
    let mut other_profile = summary("e", 700.0, "x");
    other_profile.profile = "another".into();
    let mut other_autoscaler = summary("g", 300.0, "x");
    other_autoscaler.host["autoscaler"] = "mine".into();
    let mut no_machine = summary("f", 900.0, "x");
    no_machine.host = json!({});
    let dir = book(&[
        summary("a", 10.0, "x"),
        summary("b", 14.0, "x"),
        summary("c", 100.0, "y"),
        other_plan,
        other_profile,
        other_autoscaler,
        no_machine,
    ]);
    let page = render(dir.path()).unwrap();
    let of = |heading: &str| section(&page, heading).to_owned();
    assert!(
        of("### made-up, 2 cores / 24 GiB / x\n\nPlan `plan`").contains("| fill, s | 2 | 12 | 10–14 |"),
        "{page}"
    );
    assert!(of("### made-up, 2 cores / 24 GiB / y\n").contains("| fill, s | 1 | 100 | 100–100 |"), "{page}");
    assert!(
        of("### made-up, 2 cores / 24 GiB / x\n\nPlan `other`").contains("| fill, s | 1 | 500 |"),
        "{page}"
    );
    assert!(of("### another, 2 cores / 24 GiB / x\n").contains("| fill, s | 1 | 700 |"), "{page}");
    assert!(
        of("### made-up (autoscaler mine), 2 cores / 24 GiB / x\n").contains("| fill, s | 1 | 300 |"),
        "{page}"
    );
    assert!(page.contains("| not recorded | 900 |") && !page.contains("900–900"), "{page}");
}

#[test]
fn what_is_invalid_or_not_measured_is_not_in_the_spread() {
    let mut invalid = summary("b", 99.0, "x");
    invalid.verdict = Verdict::Invalid;
    let mut unmeasured = summary("c", 0.0, "x");
    unmeasured.metrics.get_mut("fill_s").unwrap().value = None;
    let dir = book(&[summary("a", 10.0, "x"), invalid, unmeasured]);
    let page = render(dir.path()).unwrap();
    assert!(page.contains("| INVALID |") && page.contains("| 99 |"), "{page}");
    assert!(page.contains("| fill, s | 1 | 10 | 10–10 |"), "{page}");
    assert!(page.contains("| CPU per Pod, ms | 2 |"), "{page}");
}

#[test]
fn a_file_that_is_no_summary_and_a_run_kept_twice_are_named() {
    let dir = book(&[summary("a", 10.0, "x")]);
    let broken = dir.path().join("broken.json");
    for (text, expected) in [
        ("{", "broken.json is not JSON"),
        ("{\"schema_version\": 1}", "broken.json has schema version 1"),
        ("{\"schema_version\": 2}", "broken.json is not a summary of schema version 2"),
    ] {
        std::fs::write(&broken, text).unwrap();
        let error = stale(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    std::fs::remove_file(&broken).unwrap();
    keep(dir.path(), "again", &summary("a", 10.0, "x"));
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("a.json") && error.contains("again.json are the same run"), "{error}");
    let error = load(&dir.path().join("no-such")).unwrap_err().to_string();
    assert!(error.contains("cannot list") && error.contains("no-such"), "{error}");
}

#[test]
fn the_kept_page_is_up_to_date() {
    assert_eq!(stale(&dir_of_repository()).unwrap(), None, "run `cargo xtask results`");
}

#[test]
fn figures_at_reference_speed_are_only_of_runs_that_have_them_by_one_index() {
    let at_reference = |run_id: &str, version: u32, fill_s: f64| {
        let mut summary = summary(run_id, 80.0, "x");
        let speed = summary.host_speed.as_mut().unwrap();
        speed.index_version = version;
        speed.normalised.insert("fill_s".into(), fill_s);
        summary
    };
    let mut old = summary("old", 80.0, "x");
    old.host_speed = None;
    let dir =
        book(&[at_reference("a", 1, 20.0), at_reference("b", 1, 30.0), at_reference("c", 2, 500.0), old]);
    let page = render(dir.path()).unwrap();
    let row = |run: &str| page.lines().find(|line| line.contains(&format!("{run}.json"))).unwrap().to_owned();
    assert!(row("old").contains("| not measured | not normalised | not normalised |"), "{page}");
    assert!(
        row("a").contains("| 1.00 (index 1) | 20 |") || row("a").contains("| 1 (index 1) | 20 |"),
        "{page}"
    );
    assert!(page.contains("| fill, s | 4 | 80 |"), "{page}");
    assert!(page.contains("| fill at reference speed, s (index 1) | 2 | 25 | 20–30 |"), "{page}");
    assert!(page.contains("| fill at reference speed, s (index 2) | 1 | 500 |"), "{page}");
}
