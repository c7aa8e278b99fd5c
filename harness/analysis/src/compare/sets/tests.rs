//! Tests of sets, on the judge's made-up run.

use serde_json::json;

use super::figure::build;
use super::{Allowed, Comparison, Error, Finding, Member, SetFigure, compare, screen};
use crate::compare::Group;
use crate::judge::{made_up, weigh};
use harness_model::summary::Verdict;

fn member(run_id: &str, fill_s: f64) -> Member {
    let mut summary = weigh(&made_up::expect(), &made_up::evidence());
    summary.run_id = run_id.into();
    summary.host = json!({"cores": 2, "memory_mib": 24_105, "cpu_model": "x", "load1_at_start": fill_s});
    let tool =
        |version: &str| json!({"name": "etcd", "version": version, "source": "built", "sha256": "0123"});
    summary.tools = json!({"digest": "d", "tools": [tool("v3.7.3")]});
    summary.metrics.get_mut("fill_s").unwrap().value = Some(fill_s);
    Member { path: run_id.into(), summary }
}

fn set(letter: char, fills_s: &[f64]) -> Vec<Member> {
    fills_s.iter().enumerate().map(|(n, fill_s)| member(&format!("{letter}{n}"), *fill_s)).collect()
}

fn sets() -> (Vec<Member>, Vec<Member>) {
    (set('a', &[100.0, 101.0, 102.0]), set('b', &[110.0, 111.0, 113.0]))
}

fn metric<'a>(compared: &'a Comparison, name: &str) -> &'a SetFigure {
    let found = compared.figures.iter().find(|f| f.group == Group::Metrics && f.name == name);
    found.unwrap_or_else(|| panic!("no {name}"))
}

fn figure(a: &[f64], b: &[f64]) -> SetFigure {
    build(Group::Metrics, "x", "s".into(), a, b)
}

#[test]
fn a_difference_beyond_the_noise_is_found_and_is_the_same_at_every_turn() {
    let (a, b) = sets();
    let compared = compare(&a, &b, Allowed::default()).unwrap();
    let fill = metric(&compared, "fill_s");
    assert_eq!(fill.finding, Finding::Higher);
    assert_eq!((fill.a.unwrap().median, fill.b.unwrap().median, fill.difference), (101.0, 111.0, Some(10.0)));
    let ratio = fill.ratio.unwrap();
    assert!(1.0 < ratio.low && ratio.low < ratio.value && ratio.value < ratio.high, "{ratio:?}");
    // Squares around the means: 2 and 14/3, over four degrees of freedom.
    assert!((fill.noise.unwrap() - (20.0_f64 / 12.0).sqrt()).abs() < 1e-9, "{fill:?}");
    assert!((fill.effect.unwrap() - 10.0 / fill.noise.unwrap()).abs() < 1e-9, "{fill:?}");
    assert_eq!(metric(&compared, "cpu_ms_per_pod").finding, Finding::Same);
    assert_eq!(compare(&a, &b, Allowed::default()).unwrap(), compared);
    let text = screen::render(&compared);
    let line = text.lines().find(|l| l.trim_start().starts_with("fill_s ")).unwrap();
    assert!(line.contains(" 101 ") && line.contains(" 111 ") && line.ends_with("higher"), "{text}");
    assert!(text.contains("A  3 runs: 3 PASS") && text.contains("intervals are crude"), "{text}");
    assert!(text.contains("plan, tools and machine class: the same in all runs"), "{text}");
    assert!(compared.to_json().contains("\"finding\": \"higher\""));
}

#[test]
fn what_lies_within_the_noise_is_no_difference() {
    for (a, b, expected) in [
        (&[100.0, 101.0, 102.0], &[110.0, 111.0, 112.0], Finding::Higher),
        (&[110.0, 111.0, 112.0], &[100.0, 101.0, 102.0], Finding::Lower),
        // The medians are just as far apart, but so are runs of one set.
        (&[80.0, 101.0, 130.0], &[90.0, 111.0, 140.0], Finding::WithinNoise),
        (&[100.0, 101.0, 102.0], &[100.0, 102.0, 102.0], Finding::WithinNoise),
        (&[5.0, 5.0, 5.0], &[5.0, 5.0, 5.0], Finding::Same),
        // Without any noise, every difference counts.
        (&[5.0, 5.0, 5.0], &[6.0, 6.0, 6.0], Finding::Higher),
        // Certain, but too small to matter.
        (&[140.0, 140.01, 140.02], &[140.1, 140.11, 140.12], Finding::WithinNoise),
        // Without a ratio, the question is whether the sets overlap.
        (&[0.0, 0.0, 0.0], &[3.0, 3.0, 4.0], Finding::Higher),
        (&[0.0, 0.0, 3.0], &[0.0, 3.0, 4.0], Finding::WithinNoise),
    ] {
        let found = figure(a, b);
        assert_eq!(found.finding, expected, "{a:?} {b:?}: {found:?}");
        assert_eq!(found.ratio.is_none(), a.contains(&0.0), "{found:?}");
    }
}

#[test]
fn a_figure_that_too_few_runs_measured_is_not_known() {
    let (a, mut b) = sets();
    for member in &mut b[..2] {
        let metric = member.summary.metrics.get_mut("fill_s").unwrap();
        metric.saturated = true;
    }
    let compared = compare(&a, &b, Allowed::default()).unwrap();
    let fill = metric(&compared, "fill_s");
    assert_eq!((fill.finding, fill.difference, fill.ratio), (Finding::Unknown, None, None));
    let text = screen::render(&compared);
    assert!(text.contains("measured in 3 and 1 runs only"), "{text}");
}

#[test]
fn runs_that_are_not_alike_are_refused_with_who_has_what() {
    let refused = |change: &dyn Fn(&mut Member), expected: &[&str]| {
        let (a, mut b) = sets();
        change(&mut b[1]);
        let error = compare(&a, &b, Allowed::default()).unwrap_err();
        let text = error.to_string();
        for part in expected {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.ends_with("use --force to compare them anyway"), "{text}");
        let Error::Unlike(unlike) = error else { panic!("{text}") };
        assert_eq!(unlike.len(), 1, "{text}");
        let forced = compare(&a, &b, Allowed { plan: false, all: true }).unwrap();
        assert_eq!(forced.unlike, unlike);
        assert!(screen::render(&forced).contains("different, but compared anyway"));
    };
    refused(
        &|m| m.summary.plan_digest = "other".into(),
        &["plan digest:", "other: b1", "plan: a0, a1, a2, b0, b2"],
    );
    refused(&|m| m.summary.host["cores"] = json!(4), &["machine class:", "4 cores / 24 GiB / x: b1"]);
    refused(&|m| m.summary.host = json!({}), &["not recorded in b1: b1"]);
    refused(
        &|m| m.summary.host["autoscaler"] = json!("mine"),
        &["autoscaler:", "mine: b1", "the reference: a0, a1, a2, b0, b2"],
    );
    refused(
        &|m| m.summary.tools["tools"][0]["version"] = json!("v3.7.4"),
        &["tool etcd:", "v3.7.4 (built, sha256 0123): b1", "v3.7.3 (built, sha256 0123): a0"],
    );
    refused(&|m| m.summary.verdict = Verdict::Invalid, &["validity:", "INVALID: b1"]);
}

#[test]
fn other_plans_alone_may_be_allowed() {
    let (a, mut b) = sets();
    let plans = Allowed { plan: true, all: false };
    b.iter_mut().for_each(|m| m.summary.plan_digest = "other".into());
    assert_eq!(compare(&a, &b, plans).unwrap().unlike.len(), 1);
    b.iter_mut().for_each(|m| m.summary.host["cores"] = json!(4));
    let Err(Error::Unlike(unlike)) = compare(&a, &b, plans) else { panic!("must be refused") };
    assert_eq!(unlike.iter().map(|u| u.what.as_str()).collect::<Vec<_>>(), ["machine class"]);
}

#[test]
fn a_set_of_one_and_a_run_given_twice_are_refused() {
    let (a, b) = sets();
    let error = compare(&a, &b[..1], Allowed::default()).unwrap_err().to_string();
    assert!(error.contains("set B has 1 run") && error.contains("needs 2 or more"), "{error}");
    let error = compare(&a, &[b[0].clone(), a[1].clone()], Allowed { plan: true, all: true });
    assert!(matches!(error, Err(Error::Twice(run)) if run == "a1"));
    // Runs of a suite are named after what they show; their start times tell them apart.
    let mut same_name = [b[0].clone(), a[1].clone()];
    same_name[1].summary.started = "2026-11-26T18:00:00Z".into();
    assert!(compare(&a, &same_name, Allowed::default()).is_ok());
}

#[test]
fn all_runs_invalid_is_no_comparison_either() {
    let (mut a, mut b) = sets();
    a.iter_mut().chain(&mut b).for_each(|m| m.summary.verdict = Verdict::Invalid);
    let error = compare(&a, &b, Allowed::default()).unwrap_err().to_string();
    assert!(error.contains("INVALID: a0, a1, a2, b0, b1, b2"), "{error}");
}

#[test]
fn sets_are_compared_at_reference_speed_and_never_mixed_with_runs_that_are_not() {
    let (mut a, mut b) = sets();
    // Set B was measured while the host was slower: at reference speed, its fills are shorter.
    for member in &mut b {
        let at_reference = member.summary.metrics["fill_s"].value.unwrap() / 1.1;
        let speed = member.summary.host_speed.as_mut().unwrap();
        speed.normalised.insert("fill_s".into(), at_reference);
    }
    for member in &mut a {
        let plain = member.summary.metrics["fill_s"].value.unwrap();
        member.summary.host_speed.as_mut().unwrap().normalised.insert("fill_s".into(), plain);
    }
    let compared = compare(&a, &b, Allowed::default()).unwrap();
    let found = |group, name: &str| {
        compared.figures.iter().find(|f| f.group == group && f.name == name).unwrap().finding
    };
    assert_eq!(found(Group::Metrics, "fill_s"), Finding::Higher);
    assert_eq!(found(Group::Speed, "fill_s (index 1)"), Finding::WithinNoise);
    assert!(screen::render(&compared).contains("host speed index: version 1"));

    b[1].summary.host_speed = None;
    let error = compare(&a, &b, Allowed::default()).unwrap_err().to_string();
    assert!(
        error.contains("host speed index:\n      not measured: figures are not normalised: b1"),
        "{error}"
    );
    b[1].summary.host_speed = a[1].summary.host_speed.clone();
    b[1].summary.host_speed.as_mut().unwrap().index_version = 2;
    assert!(compare(&a, &b, Allowed::default()).unwrap_err().to_string().contains("version 2: b1"));
}
