//! Holds the three programs to the tables of `docs/bring-your-own.md`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const OPERATOR: &str = env!("CARGO_BIN_EXE_stub-operator");
const CONTROLLER: &str = env!("CARGO_BIN_EXE_stub-unschedulable-pod-controller");
const SHARD: &str = env!("CARGO_BIN_EXE_stub-shard");

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bring-your-own.md");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The flags in the table under a heading.
fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    let table = rest.split("\n#").next().unwrap().lines();
    table.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

/// The flags that a program's help names, but for those that every program has.
fn known(program: &str) -> BTreeSet<String> {
    let help = run(program, &["--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    let lines = help.lines().map(|line| line.trim_start().trim_start_matches("-h, "));
    let flags = lines.filter(|line| line.starts_with("--"));
    let names = flags.filter_map(|line| line.split([' ', '=']).next().map(str::to_owned));
    names.filter(|flag| !["--help", "--ready-file"].contains(&flag.as_str())).collect()
}

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

#[test]
fn each_program_knows_every_flag_of_the_page_and_no_other() {
    let page = page();
    let common = documented(&page, "### operator and unschedulable-pod-controller");
    for (program, heading) in [(OPERATOR, "### operator"), (CONTROLLER, "### unschedulable-pod-controller")] {
        let own = documented(&page, heading);
        assert!(!own.is_empty() && !common.is_empty());
        assert_eq!(known(program), common.union(&own).cloned().collect(), "{heading}");
    }
    assert_eq!(known(SHARD), documented(&page, "### shard"));
}

/// What the harness passes, in its form, with `inventory` and so much more.
fn shard_args<'a>(inventory: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        inventory,
        "--listen=127.0.0.1:0",
        "--metrics-addr=127.0.0.1:0",
        "--audit-log=audit.jsonl",
        "--execute-concurrency=64",
        "--cycle-interval=1000ms",
        "--create-latency=0ms",
        "--configure-latency=0ms",
        "--drain-latency=0ms",
        "--create-failure-rate=0",
        "--configure-failure-rate=0",
        "--reclaim-cap-fraction=0",
        "--empty-rollup-guard=true",
        "--reclaim-grace=60000ms",
        "--wait-for-eviction=true",
        "--gang-folding=true",
        "--seed=1",
    ];
    // What is said last counts: clap takes no flag twice.
    let overridden = |flag: &&str| more.iter().any(|m| m.split('=').next() == flag.split('=').next());
    usual.into_iter().filter(|flag| !overridden(flag)).chain(more.iter().copied()).collect()
}

#[test]
fn the_shard_takes_the_harness_s_command_line_and_refuses_what_it_leaves_out() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = format!("--inventory={}", dir.path().join("none.json").display());
    let told = |more: &[&str]| {
        let output = run(SHARD, &shard_args(&inventory, more));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    // Understood as a whole: it fails only at the file.
    assert!(told(&[]).contains("the inventory "), "{}", told(&[]));
    for flag in [
        "--create-failure-rate=0.1",
        "--configure-failure-rate=0.1",
        "--reclaim-cap-fraction=0.05",
        "--wait-for-eviction=false",
        "--actuation-paused",
    ] {
        assert!(told(&[flag]).contains(flag.split('=').next().unwrap()), "{flag}: {}", told(&[flag]));
    }
}

#[test]
fn the_shard_says_in_its_ready_file_where_it_listens_and_ends_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let (inventory, ready): (PathBuf, PathBuf) =
        (dir.path().join("inventory.json"), dir.path().join("ready"));
    std::fs::write(&inventory, r#"{"machines": []}"#).unwrap();
    let flag = format!("--inventory={}", inventory.display());
    let mut args = shard_args(&flag, &[]);
    let ready_text = ready.to_string_lossy().into_owned();
    args.extend(["--ready-file", &ready_text]);
    let mut shard = Command::new(SHARD).args(args).spawn().unwrap();
    let start = std::time::Instant::now();
    while !ready.exists() {
        assert!(start.elapsed().as_secs() < 30 && shard.try_wait().unwrap().is_none(), "no ready file");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    assert_eq!(told["pid"], shard.id());
    for purpose in ["metrics", "grpc"] {
        assert!(told["addresses"][purpose].as_str().unwrap().starts_with("127.0.0.1:"), "{told}");
    }
    assert!(run("kill", &["-TERM", &shard.id().to_string()]).status.success());
    assert!(shard.wait().unwrap().success());
}
