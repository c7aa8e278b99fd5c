//! Faults that nothing else would detect: unused dependencies, and a CI workflow that names things that do not exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::cargo::workspace_root;

const WORKFLOW: &str = ".github/workflows/ci.yml";

/// Dependencies that are called only from code that `tonic-prost-build` generates.
const GENERATED: [(&str, &str); 1] = [("api", "tonic-prost")];

fn read(path: impl AsRef<Path>) -> String {
    let path = workspace_root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the directories of the workspace's crates.
fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let list = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    list.trim_end_matches(']').split(", ").map(|name| name.trim_matches('"').to_owned()).collect()
}

/// Returns the dependencies in those tables of a manifest whose header ends with `table`.
fn dependencies(manifest: &str, table: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end().trim_end_matches(']').ends_with(table);
        } else if inside && let Some((name, _)) = line.split_once('=') {
            found.insert(name.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    found
}

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        // A crate inside another crate's directory is a separate crate.
        if path.is_dir() && entry.file_name() != "target" && !path.join("Cargo.toml").exists() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// Whether a source contains `name` as a whole word before `::`, `;`, `!` or ` as `.
fn uses(source: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    source.match_indices(name).any(|(at, _)| {
        let (before, after) = (&source[..at], &source[at + name.len()..]);
        !before.ends_with(is_word) && ["::", ";", "!", " as "].iter().any(|next| after.starts_with(next))
    })
}

#[test]
fn every_dependency_is_used_by_the_crate_that_names_it_and_every_one_of_the_workspace_by_a_crate() {
    let mut named = BTreeSet::new();
    for member in members() {
        let mut source = String::new();
        sources(&workspace_root().join(&member), &mut source);
        let all = dependencies(&read(PathBuf::from(&member).join("Cargo.toml")), "dependencies");
        assert!(!all.is_empty() && !source.is_empty(), "{member}");
        for name in &all {
            let known = GENERATED.contains(&(member.as_str(), name));
            assert!(known || uses(&source, &name.replace('-', "_")), "{member} does not use {name}");
        }
        named.extend(all);
    }
    let unused: Vec<_> = dependencies(&read("Cargo.toml"), "workspace.dependencies")
        .into_iter()
        .filter(|d| !named.contains(d))
        .collect();
    assert!(unused.is_empty(), "no crate names {unused:?}");
}

#[test]
fn a_use_is_told_from_a_longer_name() {
    assert!(
        uses("use tokio::fs;", "tokio") && uses("insta!(x)", "insta") && uses("use serde as s;", "serde")
    );
    assert!(
        !uses("use tokio_stream::x;", "tokio") && !uses("// tokio", "tokio") && !uses("my_tokio::x", "tokio")
    );
}

#[test]
fn ci_pins_its_actions_by_commit() {
    let workflow = read(WORKFLOW);
    let actions: Vec<_> = workflow.lines().filter_map(|line| line.split_once("uses: ")).collect();
    assert!(actions.len() > 5, "{actions:?}");
    for (_, action) in actions {
        let (_, commit) = action.split_once('@').unwrap();
        let (commit, version) =
            commit.split_once(" # v").unwrap_or_else(|| panic!("{action}: no version next to it"));
        assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{action}");
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{action}");
    }
}

#[test]
fn ci_builds_with_the_rust_that_is_promised() {
    let (workflow, manifest) = (read(WORKFLOW), read("Cargo.toml"));
    let quoted = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
        line.trim().trim_matches('"').to_owned()
    };
    assert_eq!(quoted(&workflow, "RUSTUP_TOOLCHAIN:"), quoted(&manifest, "rust-version ="));
    assert_eq!(workflow.matches("runs-on:").count(), workflow.matches("rustup toolchain install").count());
}

#[test]
fn ci_makes_its_cache_keys_of_files_that_are_there() {
    let workflow = read(WORKFLOW);
    let lists = workflow.split("hashFiles(").skip(1).filter_map(|rest| rest.split_once(')'));
    let files: BTreeSet<_> =
        lists.flat_map(|(list, _)| list.split(',')).map(|file| file.trim().trim_matches('\'')).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let there = workspace_root().join(file.trim_end_matches("/**"));
        assert!(there.exists(), "{file} does not exist: the cache key would never change");
    }
}

/// Members that must be checked alone, because something that they name has more features when all are built together.
const CHECKED_ALONE: [&str; 3] = ["component", "harness-processes", "host-speed"];

/// Returns what cargo would build, each package with its features. `--depth 1` limits this to what a package itself
/// names.
fn tree(args: &[&str]) -> BTreeSet<String> {
    let mut command = crate::cargo::cargo(&["tree", "--locked", "--offline", "--edges", "normal,build,dev"]);
    command.args(["--prefix", "none", "--format", "{p}|{f}"]).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let marks = [" (*)", " (proc-macro)"];
    let bare = |line: &str| marks.iter().fold(line.to_owned(), |line, mark| line.replace(mark, ""));
    String::from_utf8(output.stdout).unwrap().lines().map(bare).filter(|line| !line.is_empty()).collect()
}

/// A feature that another crate happens to switch on hides that a crate's own manifest lacks it. If everything that a
/// member names has the same features alone and with all others, the build of the workspace proves that the member
/// builds alone.
#[test]
fn only_members_that_are_checked_alone_see_features_that_others_switch_on() {
    let package = |line: &String| line.split_once('|').map(|(package, _)| package.to_owned());
    let together = tree(&["--workspace"]);
    let mut found = Vec::new();
    for member in members() {
        let manifest = read(PathBuf::from(&member).join("Cargo.toml"));
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let named: BTreeSet<_> =
            tree(&["--package", name, "--depth", "1"]).iter().filter_map(package).collect();
        assert!(named.len() > 1, "{name}: {named:?}");
        let alone = tree(&["--package", name]);
        let differs =
            |line: &&String| !together.contains(*line) && package(line).is_some_and(|p| named.contains(&p));
        if alone.iter().any(|line| differs(&line)) {
            found.push(name.to_owned());
        }
    }
    assert_eq!(found, CHECKED_ALONE);
}

/// Which of our crates each crate may name: only those on the floors below its own.
const FLOORS: [(&str, &[&str]); 18] = [
    ("platform", &[]),
    ("host-speed", &[]),
    ("api", &[]),
    ("component", &["platform"]),
    ("tools", &["platform"]),
    ("fleet/engine", &["api"]),
    ("fleet", &["api", "component", "fleet-engine"]),
    ("examples/stub-autoscaler", &["api", "component"]),
    ("harness/model", &["api", "host-speed"]),
    ("harness/analysis", &["api", "harness-model", "host-speed"]),
    ("harness/processes", &["harness-model"]),
    ("harness/planes", &["api", "component", "harness-model", "harness-processes", "tools"]),
    (
        "harness/supervisor",
        &["component", "harness-model", "harness-planes", "harness-processes", "platform", "tools"],
    ),
    ("harness/programs", &["api", "component", "harness-model"]),
    (
        "harness",
        &[
            "api",
            "component",
            "harness-analysis",
            "harness-model",
            "harness-planes",
            "harness-programs",
            "harness-supervisor",
            "host-speed",
            "platform",
            "tools",
        ],
    ),
    ("sim", &["api", "fleet-engine", "harness-analysis", "harness-model", "platform"]),
    (
        "suites",
        &[
            "api",
            "component",
            "harness",
            "harness-analysis",
            "harness-model",
            "harness-planes",
            "harness-supervisor",
            "host-speed",
            "sim",
        ],
    ),
    ("xtask", &["platform", "tools"]),
];

#[test]
fn crates_name_only_those_of_the_floors_below_them() {
    let root = dependencies(&read("Cargo.toml"), "workspace.dependencies");
    let manifest = read("Cargo.toml");
    let is_ours = |name: &&String| manifest.contains(&format!("\n{name} = {{ path = "));
    let members: BTreeSet<String> = members().into_iter().collect();
    assert_eq!(members, FLOORS.iter().map(|(member, _)| (*member).to_owned()).collect());
    for (member, floor) in FLOORS {
        let named = dependencies(&read(PathBuf::from(member).join("Cargo.toml")), "[dependencies");
        let ours: BTreeSet<&str> = named.intersection(&root).filter(is_ours).map(String::as_str).collect();
        assert_eq!(ours, floor.iter().copied().collect(), "{member}");
    }
}

/// The judge reads only a run directory, and the engine reads nothing at all.
#[test]
fn what_is_pure_has_no_runtime_and_no_client() {
    for member in ["harness/analysis", "fleet/engine"] {
        let named = dependencies(&read(PathBuf::from(member).join("Cargo.toml")), "dependencies");
        for foreign in ["tokio", "kube", "futures", "ureq", "component", "platform"] {
            assert!(!named.contains(foreign), "{member} names {foreign}");
        }
    }
}

/// A user waits for this crate before anything else is built.
#[test]
fn xtask_has_no_runtime_and_no_client() {
    let named = dependencies(&read("xtask/Cargo.toml"), "dependencies");
    for heavy in ["tokio", "kube", "k8s-openapi", "futures"] {
        assert!(!named.contains(heavy), "xtask names {heavy}");
    }
}
