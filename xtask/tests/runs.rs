//! Whole runs of the smallest profile: the same seed gives the same outcome, and each break in the chain or the
//! measurement turns the right thing red. A harness whose gates cannot fail proves nothing.

#[path = "../src/cargo_env.rs"]
mod cargo_env;
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cargo_env::is_set_by_cargo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const GATE_FAILED: i32 = 1;
const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;
const INVALID: i32 = 4;

#[test]
fn one_seed_gives_one_plan_and_one_outcome_and_a_removed_range_fails() {
    let runs = tempfile::tempdir().unwrap();
    let burdened = Run::started_in(runs.path(), &["--quiet"], &BURDENS).wait();
    let (first, second) = (burdened, Run::finished(runs.path(), &["--json"]));
    for run in [&first, &second] {
        assert_eq!(run.exit_code, 0, "{}", run.output);
    }
    says_nothing_but_its_verdict(&first);
    measures_nothing_but_what_it_is_to(&first);
    says_nothing_but_json(&second);
    for digest in ["plan_digest", "outcome_digest"] {
        let (first, second) = (&first.summary()[digest], &second.summary()[digest]);
        assert!(first.is_string() && first == second, "{digest}: {first} and {second}");
    }
    let plan = |seed: &str| xtask().args(["plan", "smoke", "--seed", seed]).output().unwrap().stdout;
    assert!(!plan("7").is_empty() && plan("7") == plan("7"), "one seed must give one plan");
    assert_ne!(plan("7"), plan("8"), "another seed must give another plan");

    remove_range(&first.dir.join("ranges.yaml"), "fill_s");
    let judged = xtask().arg("judge").arg(&first.dir).output().unwrap();
    let told =
        String::from_utf8_lossy(&judged.stdout).into_owned() + &String::from_utf8_lossy(&judged.stderr);
    assert_eq!(judged.status.code(), Some(GATE_FAILED), "{told}");
    assert!(told.contains("fill_s") && told.contains("neither objective nor range"), "{told}");
}

#[test]
fn an_operator_killed_in_the_ramp_voids_the_run_and_is_named() {
    let runs = tempfile::tempdir().unwrap();
    let before = common::processes();
    let run = Run::started(runs.path(), &["--set", "phases.rampBudget=20s"]);
    run.wait_for_output("fill ");
    kill_new("operator", &before);
    let run = run.wait();
    assert_eq!(run.exit_code, INVALID, "{}", run.output);
    let summary = run.summary();
    let alive = finding(&summary, "components_alive");
    assert_eq!(alive["ok"], false, "{alive}");
    assert!(alive["detail"].as_str().unwrap().contains("operator"), "{alive}");
}

#[test]
fn a_control_plane_that_dies_in_the_ramp_voids_the_run_and_is_named() {
    let runs = tempfile::tempdir().unwrap();
    let before = common::processes();
    let run = Run::started(runs.path(), &["--set", "phases.rampBudget=20s"]);
    run.wait_for_output("fill ");
    if common::is_on_kind() {
        let containers = common::docker(&["ps", "--filter", "name=^/?e2e-.*-0-control-plane$", "--quiet"]);
        assert_eq!(containers.len(), 1, "not one container of a first cluster: {containers:?}");
        common::docker(&["kill", &containers[0]]);
    } else {
        kill_new("kube-apiserver", &before);
    }
    let run = run.wait();
    assert_eq!(run.exit_code, INVALID, "{}", run.output);
    let alive = finding(&run.summary(), "components_alive");
    assert_eq!(alive["ok"], false, "{alive}");
    assert!(alive["detail"].as_str().unwrap().contains("kwok-cluster-"), "{alive}");
}

#[test]
fn without_an_engine_a_run_on_kind_clusters_ends_before_it_begins() {
    let runs = tempfile::tempdir().unwrap();
    let asked = xtask()
        .args(["e2e", "smoke", "--provider", "kind", "--run-dir-root"])
        .arg(runs.path())
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(ENVIRONMENT), "{told}");
    // Either the client or its engine is missing here.
    assert!(told.contains("/nowhere/docker.sock") || told.contains("docker.io"), "{told}");
    assert_eq!(fs::read_dir(runs.path()).unwrap().count(), 0, "a run directory was made");
}

#[test]
fn churn_without_controllers_loses_demand() {
    let runs = tempfile::tempdir().unwrap();
    // It never becomes quiet, so it is pointless to wait long for that.
    let bare = ["workloads=bare", "loadDriver.bareTopUp=false", "churnPerMinute=1.0", "phases.quiesce=10s"];
    let args: Vec<&str> = bare.iter().flat_map(|set| ["--set", set]).collect();
    let run = Run::finished(runs.path(), &args);
    assert_ne!(run.exit_code, 0, "{}", run.output);
    let summary = run.summary();
    let ledger = finding(&summary, "ledger_complete");
    assert_eq!(ledger["ok"], false, "declared = live must not hold: {ledger}\n{}", run.output);
    assert!(ledger["detail"].as_str().unwrap().contains("declared"), "{ledger}");
}

#[test]
fn existing_clusters_are_given_one_for_each_or_nothing_is_started() {
    let runs = tempfile::tempdir().unwrap();
    let e2e = |args: &[&str]| {
        let mut command = xtask();
        command.args(["e2e", "smoke", "--run-dir-root"]).arg(runs.path()).args(args);
        let output = command.env_remove("E2E_KUBECONFIGS").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(fs::read_dir(runs.path()).unwrap().count(), 0, "there is a run directory");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let existing = ["--provider", "existing"];
    assert!(e2e(&existing).contains("needs --kubeconfig"));
    let two = [&existing[..], &["--kubeconfig", "/dev/null", "--kubeconfig", "/dev/zero"]].concat();
    let told = e2e(&two);
    assert!(told.contains("wanted by smoke: 1;") && told.contains("--kubeconfig: 2;"), "{told}");
    assert!(e2e(&["--kubeconfig", "/dev/null"]).contains("needs --provider existing"));
}

#[test]
fn the_setting_that_a_usage_error_shows_is_one() {
    let refused = xtask().args(["e2e", "dev-50", "--set", "nonsense"]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(USAGE), "{told}");
    let example =
        told.split("KEY=VALUE, e.g. ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let planned = xtask().args(["plan", "dev-50", "--set", example]).output().unwrap();
    assert_eq!(planned.status.code(), Some(0), "{example}: {}", String::from_utf8_lossy(&planned.stderr));
    let unknown = xtask().args(["plan", "dev-50", "--set", "no.such.key=1"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(USAGE), "an unknown key must be refused");
}

#[test]
fn a_stub_in_the_reference_s_place_passes_and_the_verdict_says_whose_it_is() {
    let runs = tempfile::tempdir().unwrap();
    let stub = runs.path().join("stub");
    link_stub(&stub);
    let run = Run::finished(runs.path(), &["--autoscaler", &stub.to_string_lossy()]);
    assert_eq!(run.exit_code, 0, "{}", run.output);
    let summary = run.summary();
    assert_eq!(summary["host"]["autoscaler"], "stub");
    assert!(
        summary["reason"].as_str().unwrap().contains("`stub`, not the reference"),
        "{}",
        summary["reason"]
    );
    for program in AUTOSCALER {
        let share = summary["cpu"]["share"][program].as_f64();
        assert!(
            share.is_some_and(|share| share > 0.0),
            "{program}'s CPU is not accounted: {}",
            summary["cpu"]
        );
    }
}

#[test]
fn an_autoscaler_that_lacks_a_program_is_refused_before_anything_starts() {
    let root = tempfile::tempdir().unwrap();
    let (runs, half) = (root.path().join("runs"), root.path().join("half"));
    fs::create_dir(&half).unwrap();
    symlink("/bin/true", half.join("shard")).unwrap();
    let mut e2e = xtask();
    e2e.args(["e2e", "smoke", "--run-dir-root"]).arg(&runs).arg("--autoscaler").arg(&half);
    let told = e2e.output().unwrap();
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(USAGE), "{words}");
    assert!(words.contains("not executable: operator, unschedulable-pod-controller;"), "{words}");
    assert!(!runs.exists(), "nothing was begun");
}

#[test]
fn up_with_the_fleet_brings_a_machine_for_a_pod() {
    let before = common::processes();
    let planes = Planes::up(&["--profile", "smoke", "--with-fleet"]);
    let manifest = planes.state.path().join("pod.json");
    let requests = serde_json::json!({"cpu": "400m", "memory": "500Mi"});
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
        "spec": {"containers": [
            {"name": "one", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": requests}}
        ]},
    });
    fs::write(&manifest, pod.to_string()).unwrap();
    planes.kubectl(&["create", "-f", &manifest.to_string_lossy()]);
    planes.kubectl(&["wait", "pod/one", "--for=condition=Ready", "--timeout=60s"]);
    // A kind cluster also has its own Node.
    let machines = "!node-role.kubernetes.io/control-plane";
    let nodes = planes.kubectl(&["get", "nodes", "--selector", machines, "-o", "name"]);
    assert_eq!(nodes.lines().count(), 1, "one Pod needs one machine: {nodes}");
    drop(planes);
    assert_eq!(common::processes(), before);
}

/// Variables that a shell may have in its environment for other programs. None of them changes a run.
const BURDENS: [(&str, &str); 6] = [
    // Nothing listens there.
    ("HTTPS_PROXY", "http://127.0.0.1:9"),
    ("https_proxy", "127.0.0.1:9"),
    ("ALL_PROXY", "socks5://127.0.0.1:9"),
    ("RUST_LOG", "debug"),
    ("GITHUB_STEP_SUMMARY", "/nonexistent/dir/summary.md"),
    ("GODEBUG", "gctrace=1"),
];

fn says_nothing_but_its_verdict(run: &Run) {
    let is_log = |line: &str| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#);
    let other: Vec<&str> = run.stderr.lines().filter(|line| !is_log(line)).collect();
    let warned =
        other.len() == 1 && other[0].starts_with("Warning: ") && other[0].contains("/nonexistent/dir");
    assert!(warned, "of what could not be written, and nothing else: {other:#?}");
    assert!(run.stdout.starts_with("PASS  smoke ("), "{}", run.stdout);
}

/// Checks that the shell's RUST_LOG and GODEBUG reach no program of a run.
fn measures_nothing_but_what_it_is_to(run: &Run) {
    let logs = run.dir.join("logs");
    let dirs = [logs.clone(), logs.join("kwok-cluster-0")];
    let files = dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap().flatten());
    let files: Vec<PathBuf> = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|of| of == "log"))
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let burden =
            text.lines().find(|line| line.contains(r#""level":"DEBUG""#) || line.starts_with("gc 1 @"));
        assert_eq!(burden, None, "{}", file.display());
    }
}

fn says_nothing_but_json(run: &Run) {
    let lines: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert!(lines.iter().all(|line| line["at_us"].is_u64() && line["event"].is_string()), "{}", run.output);
    assert_eq!(lines.last().map(|line| &line["event"]), Some(&"verdict".into()), "{}", run.output);
    let (told, recorded): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line["event"] == "view" || line["event"] == "verdict");
    let events = fs::read_to_string(run.dir.join("events.jsonl")).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(recorded, events, "what is streamed is what is recorded");
    let soak =
        told.iter().rfind(|line| line["phase"] == "soak").expect("the soak is longer than five seconds");
    let cluster = &soak["clusters"][0];
    assert_eq!((&cluster["target"], &cluster["declared"]), (&150.into(), &150.into()), "{soak}");
    assert!(soak["load"]["busiest"][0]["component"].is_string() && soak["left"]["most_s"].is_f64(), "{soak}");
    let verdict = told.last().unwrap();
    assert_eq!((&verdict["verdict"], &verdict["exit_code"]), (&"pass".into(), &0.into()), "{verdict}");
    assert!(Path::new(verdict["summary"].as_str().unwrap()).is_file(), "{verdict}");
}

/// The programs of an autoscaler, as docs/bring-your-own.md names them.
const AUTOSCALER: [&str; 3] = ["shard", "operator", "unschedulable-pod-controller"];

/// Builds the stub of examples/, and links its programs under the names of the contract.
fn link_stub(dir: &Path) {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Together with the packages that a run builds: built alone, it would have different features, and everything that
    // it needs would be rebuilt.
    let packages = ["harness", "fleet", "tools", "stub-autoscaler"].map(|name| ["--package", name]);
    build.args(["build", "--quiet", "--bins"]).args(packages.concat()).current_dir(common::root());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_set_by_cargo(&name.to_string_lossy())) {
        build.env_remove(name);
    }
    assert!(build.status().unwrap().success(), "the stub does not build");
    fs::create_dir(dir).unwrap();
    let built = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap();
    for program in AUTOSCALER {
        symlink(built.join(format!("stub-{program}")), dir.join(program)).unwrap();
    }
}

/// Control planes that `up` started; `down` stops them, even if a test fails.
struct Planes {
    state: tempfile::TempDir,
}

impl Planes {
    fn up(args: &[&str]) -> Self {
        let planes = Self { state: tempfile::tempdir().unwrap() };
        planes.ask("up", args);
        planes
    }

    fn kubectl(&self, args: &[&str]) -> String {
        let mut all = vec!["--"];
        all.extend(args);
        self.ask("kubectl", &all)
    }

    fn ask(&self, verb: &str, args: &[&str]) -> String {
        let mut command = xtask();
        // Downloads may need a proxy, but our control planes are never accessed through it.
        command.envs([("HTTPS_PROXY", "http://127.0.0.1:9"), ("http_proxy", "127.0.0.1:9")]);
        let asked = command.args([verb, "--state-dir"]).arg(self.state.path()).args(args).output().unwrap();
        assert!(asked.status.success(), "{verb}: {}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8_lossy(&asked.stdout).into_owned()
    }
}

impl Drop for Planes {
    fn drop(&mut self) {
        let _ = xtask().args(["down", "--all", "--state-dir"]).arg(self.state.path()).output();
    }
}

/// A run of the profile `smoke`.
struct Run {
    dir: PathBuf,
    exit_code: i32,
    stdout: String,
    stderr: String,
    /// stdout and stderr.
    output: String,
}

/// A run in progress.
struct Running {
    child: std::process::Child,
    root: PathBuf,
}

impl Run {
    fn finished(runs: &Path, args: &[&str]) -> Self {
        Self::started(runs, args).wait()
    }

    fn started(runs: &Path, args: &[&str]) -> Running {
        Self::started_in(runs, args, &[])
    }

    /// Like [`Run::started`], with more variables in the environment.
    fn started_in(runs: &Path, args: &[&str], environment: &[(&str, &str)]) -> Running {
        let root = tempfile::tempdir_in(runs).unwrap().keep();
        let file = |name: &str| fs::File::create(root.join(name)).unwrap();
        let child = xtask()
            .args(["e2e", "smoke", "--soak", "15s", "--run-dir-root"])
            .arg(&root)
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("stdout.log"))
            .stderr(file("stderr.log"))
            .spawn()
            .unwrap();
        Running { child, root }
    }

    fn summary(&self) -> Value {
        serde_json::from_slice(&fs::read(self.dir.join("summary.json")).unwrap()).unwrap()
    }
}

impl Running {
    fn written(&self, log: &str) -> String {
        fs::read_to_string(self.root.join(log)).unwrap()
    }

    fn wait_for_output(&self, text: &str) {
        let start = Instant::now();
        while !self.written("stderr.log").contains(text) {
            assert!(start.elapsed() < Duration::from_secs(300), "the run never wrote {text:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait(mut self) -> Run {
        let status = self.child.wait().unwrap();
        let (stdout, stderr) = (self.written("stdout.log"), self.written("stderr.log"));
        let output = format!("{stderr}{stdout}");
        let mut dirs = fs::read_dir(&self.root).unwrap().flatten().map(|entry| entry.path());
        let dir = dirs.find(|path| path.join("profile.yaml").is_file() && !path.is_symlink());
        let dir = dir.unwrap_or_else(|| panic!("no run directory: {status}\n{output}"));
        Run { dir, exit_code: status.code().unwrap_or(-1), stdout, stderr, output }
    }
}

/// Kills a new process with the name of a run's program.
fn kill_new(program: &str, before: &BTreeSet<String>) {
    let is_it = |p: &String| !before.contains(p) && p.ends_with(&format!(" {program}"));
    let found = common::processes().into_iter().find(is_it);
    let found = found.unwrap_or_else(|| panic!("no {program} runs during the fill"));
    let pid = found.split(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn xtask() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(common::root());
    command
}

fn finding(summary: &Value, rule: &str) -> Value {
    let validity = summary["validity"].as_array().unwrap();
    validity
        .iter()
        .find(|finding| finding["rule"] == rule)
        .unwrap_or_else(|| panic!("no rule {rule}"))
        .clone()
}

/// Removes one metric, a block of indented lines, from a ranges file.
fn remove_range(path: &Path, metric: &str) {
    let text = fs::read_to_string(path).unwrap();
    let (mut kept, mut inside) = (String::new(), false);
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if indent <= 2 {
            inside = line.trim() == format!("{metric}:");
        }
        if !inside {
            kept += &format!("{line}\n");
        }
    }
    assert_ne!(text, kept, "{metric} must be among the ranges");
    fs::write(path, kept).unwrap();
}
