//! Checks `docs/bring-your-own.md` against what programs are really started with, and what is really read from them.

use std::collections::BTreeSet;

use super::*;
use harness_model::families;
use harness_model::profile::{fixtures_dir, load};

fn page() -> String {
    let path = fixtures_dir().with_file_name("docs").join("bring-your-own.md");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns the text under a heading, up to the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    rest.split("\n#").next().unwrap_or(rest)
}

/// Returns the flags in a section's table.
fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let flag = |line: &str| Some(line.strip_prefix("| `--")?.split_once('`')?.0.to_owned());
    section(page, heading).lines().filter_map(flag).collect()
}

/// Returns the names of the flags that a program is started with.
fn passed(args: &[String]) -> BTreeSet<String> {
    let name = |arg: &String| arg.trim_start_matches("--").split('=').next().unwrap_or_default().to_owned();
    args.iter().map(name).collect()
}

fn cluster() -> Cluster {
    let kubeconfig = |user: &str| (user.to_owned(), PathBuf::from("kubeconfig"));
    Cluster {
        name: "c".into(),
        server: String::new(),
        kubeconfigs: ["operator", "unschedulable-pod-controller"].map(kubeconfig).into(),
        logs_dir: PathBuf::new(),
        metrics: Default::default(),
        metrics_kubeconfigs: Default::default(),
        read_back: Default::default(),
        notes: Vec::new(),
        steps: Vec::new(),
    }
}

#[test]
fn the_page_names_every_flag_that_is_passed_and_no_other() {
    let page = page();
    let mut profile = load(&fixtures_dir(), "smoke", &[]).unwrap().profile;
    let (cluster, dir) = (cluster(), RunDir::new("run"));
    let common = documented(&page, "### operator and unschedulable-pod-controller");
    assert!(!common.is_empty());
    for (heading, args) in [
        ("### operator", operator_args(&cluster, &profile, "127.0.0.1:1", &dir)),
        ("### unschedulable-pod-controller", controller_args(&cluster, &profile)),
    ] {
        let own = documented(&page, heading);
        assert_eq!(common.union(&own).cloned().collect::<BTreeSet<_>>(), passed(&args.unwrap()), "{heading}");
    }
    let unpaused = passed(&shard_args(&profile, &dir));
    profile.shard.paused_until_filled = true;
    let all = passed(&shard_args(&profile, &dir));
    assert_eq!(documented(&page, "### shard"), all);
    assert_eq!(all.difference(&unpaused).collect::<Vec<_>>(), ["actuation-paused"]);
}

#[test]
fn the_page_names_every_metric_of_an_autoscaler_that_is_read_and_no_other() {
    let programs = ["shard", "operator", "unschedulable-pod-controller"];
    let read = families::ALL.iter().filter(|family| family.targets.iter().any(|of| programs.contains(of)));
    let read: BTreeSet<&str> =
        read.filter(|family| !family.read_by.is_empty()).map(|family| family.name).collect();
    assert!(read.contains("bigfleet_shard_cycle_duration_seconds"), "{read:?}");
    let page = page();
    let row = |line: &str| Some(line.strip_prefix("| ")?.split_once("| `")?.1.split_once('`')?.0.to_owned());
    let told: BTreeSet<String> = section(&page, "## Metrics").lines().filter_map(row).collect();
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), read);
}

#[test]
fn the_page_is_found_from_the_readme() {
    let readme = fixtures_dir().with_file_name("README.md");
    assert!(std::fs::read_to_string(readme).unwrap().contains("(docs/bring-your-own.md)"));
}
