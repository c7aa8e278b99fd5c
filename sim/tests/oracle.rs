//! The table of what must come out: every file of `fixtures/sim` is a row, with its own expectations.
//!
//! Digests of the reports are kept in a snapshot, so that every build is held to the same bytes: a debug build and a
//! release build, of today and of a year from now. Whoever changes what the engine or the model decides accepts new ones.

use std::fmt::Write;
use std::path::PathBuf;

use harness_model::profile::fixtures_dir;
use sha2::{Digest, Sha256};
use sim::{Simulation, scenario};

fn files() -> Vec<PathBuf> {
    let dir = fixtures_dir().join("sim");
    let files = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("reading {}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_row_comes_out_as_it_says() {
    let (mut wrong, mut digests) = (Vec::new(), String::new());
    for path in files() {
        let scenario = scenario::load(&path).unwrap_or_else(|e| panic!("{e}"));
        let name = path.file_stem().unwrap().to_string_lossy();
        assert_eq!(scenario.name, name, "a scenario is named as its file");
        assert!(!scenario.expect.is_empty(), "{name} expects nothing");
        let setup = scenario.setup(&path).unwrap_or_else(|e| panic!("{e}"));
        let report =
            sim::run(setup, &scenario.expect, Simulation::decide).unwrap_or_else(|e| panic!("{name}: {e}"));
        writeln!(digests, "{name} {}", digest(&report.to_json())).unwrap();
        let failed = report.expectations.iter().filter(|finding| !finding.holds);
        wrong.extend(failed.map(|f| format!("{name}: {}; found {}", f.expected, f.found)));
    }
    assert!(wrong.is_empty(), "{} expectations fail:\n{}", wrong.len(), wrong.join("\n"));
    insta::assert_snapshot!("digests", digests);
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn two_runs_with_one_seed_are_identical_and_another_seed_is_not() {
    let path = fixtures_dir().join("sim/bare-top-up.yaml");
    let scenario = scenario::load(&path).unwrap();
    let run = |seed: u64| {
        let mut setup = scenario.setup(&path).unwrap();
        setup.seed = seed;
        let report = sim::run(setup, &scenario.expect, Simulation::decide).unwrap();
        (report.to_json(), sim::plot::svg(&(&report).into()))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn mistakes_are_named_with_their_key() {
    let good = std::fs::read_to_string(fixtures_dir().join("sim/bare-cascade.yaml")).unwrap();
    let cases = [
        ("cycles: 40", "cycle: 40", "cycle: `cycle` is not a known key; did you mean `cycles`?"),
        ("controllerManaged", "controlerManaged", "did you mean `controllerManaged`"),
        (
            "shapes: [m6i.large]",
            "shapes: [m6i.larg]",
            "workloads[0].shapes: `m6i.larg` is not a known shape; did you mean",
        ),
        ("state: Configured", "state: configured", "machines[0].state: `configured` is not a known value"),
        ("metric: churn", "metric: churns", "did you mean `churn`"),
        ("each: {is: 0}", "each: {}", "expect[3]: says neither is, min nor max"),
        ("cpu: 400m", "cpu: lots", "workloads[0].requests.cpu: `lots` is not a quantity"),
        ("window: 20", "window: 41", "needs at least one cycle, and a window within them"),
        ("clusters: 1", "clusters: 0", "at least one cluster"),
    ];
    let dir = std::env::temp_dir().join(format!("sim-mistakes-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("mistake.yaml");
    for (from, to, expected) in cases {
        assert!(good.contains(from), "{from}");
        std::fs::write(&path, good.replace(from, to)).unwrap();
        let error = scenario::load(&path).and_then(|s| s.setup(&path)).map(drop).expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
