//! Whatever ends a run, even `kill -9`: five seconds later nothing of it is left, or thirty if containers have to be
//! removed, too (`E2E_PROVIDER=kind`).

#[path = "../src/cargo_env.rs"]
mod cargo_env;
mod common;
#[path = "common/started.rs"]
mod started;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cargo_env::is_set_by_cargo;
use rustix::process::{Pid, Signal, kill_process};
use started::{Started, Until};

const SUPERVISOR: &str = "e2e-supervisor";

#[test]
fn killing_xtask_leaves_nothing() {
    in_full_swing().kill_and_expect_nothing(|run| run.child.id());
}

#[test]
fn killing_xtask_while_control_planes_are_made_leaves_nothing() {
    e2e(Until::Create, "300s").kill_and_expect_nothing(|run| run.child.id());
}

#[test]
fn killing_xtask_while_they_are_released_leaves_nothing() {
    e2e(Until::Phase("release"), "1s").kill_and_expect_nothing(|run| run.child.id());
}

#[test]
fn killing_the_supervisor_leaves_nothing() {
    in_full_swing().kill_and_expect_nothing(|run| run.process_named(SUPERVISOR));
}

#[test]
fn killing_the_supervisor_while_control_planes_are_made_leaves_nothing() {
    e2e(Until::Create, "300s").kill_and_expect_nothing(|run| run.process_named(SUPERVISOR));
}

#[test]
fn killing_the_supervisor_while_they_are_released_leaves_nothing() {
    e2e(Until::Phase("release"), "1s").kill_and_expect_nothing(|run| run.process_named(SUPERVISOR));
}

#[test]
fn killing_the_scenario_leaves_nothing() {
    in_full_swing().kill_and_expect_nothing(|run| run.process_named("e2e-scenario"));
}

#[test]
fn interrupting_xtask_leaves_nothing_but_the_results() {
    interrupt_and_expect_the_results_alone(in_full_swing());
}

#[test]
fn interrupting_xtask_while_control_planes_are_made_leaves_nothing_but_the_results() {
    interrupt_and_expect_the_results_alone(e2e(Until::Create, "300s"));
}

#[test]
fn killing_nextest_leaves_nothing() {
    nextest().kill_and_expect_nothing(|run| run.child.id());
}

#[test]
fn killing_a_suite_leaves_nothing() {
    nextest().kill_and_expect_nothing(|run| run.process_named("scheduler_limits-"));
}

fn interrupt_and_expect_the_results_alone(mut run: Started) {
    let pid = Pid::from_raw(run.child.id() as i32).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = run.child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "an interrupted run has its own exit code: {}", run.output());
    run.expect_nothing();
    let kept =
        fs::read_dir(run.runs.path()).unwrap().flatten().any(|run| run.path().join("events.jsonl").is_file());
    assert!(kept, "the results so far must be kept");
}

fn in_full_swing() -> Started {
    e2e(Until::Process("load-driver"), "300s")
}

fn e2e(until: Until, soak: &str) -> Started {
    let runs = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["e2e", "smoke", "--soak", soak, "--run-dir-root"]).arg(runs.path());
    Started::start(command, runs, until)
}

fn nextest() -> Started {
    let runs = tempfile::tempdir().unwrap();
    let nextest = std::env::var_os("E2E_NEXTEST").map_or_else(|| "cargo-nextest".into(), PathBuf::from);
    let mut command = Command::new(nextest);
    // The whole workspace, like the test that is running: a different choice of packages would cause a rebuild.
    command.args(["nextest", "run", "--workspace"]);
    // A claim that holds control planes for half a minute.
    command.args(["--filterset", "test(=default_qps::binds_50_pods_per_second_and_the_limiter_is_named)"]);
    // What the outer nextest has set belongs to a different run.
    let is_foreign = |name: &str| name.starts_with("NEXTEST") || is_set_by_cargo(name);
    for (name, _) in std::env::vars().filter(|(name, _)| is_foreign(name)) {
        command.env_remove(name);
    }
    Started::start(command, runs, Until::Process("scheduler_limits-"))
}
