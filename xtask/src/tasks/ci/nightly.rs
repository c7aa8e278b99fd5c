//! What `cargo xtask ci` leaves to the night: checks that seldom fail when the others pass, and cost minutes.
//!
//! Its claims are those that the profile `nightly` of `.config/nextest.toml` selects.

use std::process::Command;

use anyhow::Context;
use tools::nextest::Nextest;

use super::{nextest_command, step::Step};
use crate::cargo;

/// A nightly step, as printed where it is not run.
pub struct Nightly {
    /// What it checks.
    pub name: &'static str,
    /// Why it can wait for the night.
    pub why: &'static str,
}

/// All nightly steps, in order.
pub const ALL: [Nightly; 3] = [
    Nightly { name: "each crate alone", why: "recompiles dependencies with fewer features" },
    Nightly { name: "mutants", why: "several minutes each" },
    Nightly { name: "nightly claims", why: "whole runs that wait for their ceilings" },
];

/// Returns the steps. The last one ends with the test runner's own summary.
pub fn steps(runner: &Nextest) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for member in members()? {
        // Features that another crate happens to switch on hide a missing dependency.
        let check = cargo::cargo(&["check", "--package", &member, "--all-targets"]);
        steps.push(Step::quiet(format!("{member} alone"), check));
    }
    steps.push(Step::shown("mutants", cargo::cargo(&["xtask", "mutants"])));
    let claims = nextest_command(Command::new(&runner.path), runner, "nightly", "all()");
    steps.push(Step::shown("nightly claims", claims));
    Ok(steps)
}

/// Returns the workspace's packages, as cargo lists them.
fn members() -> anyhow::Result<Vec<String>> {
    let output = cargo::cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run `cargo metadata`")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` gave no JSON")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` names no packages")?;
    Ok(packages.iter().filter_map(|package| package["name"].as_str()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_checked_alone() {
        let members = members().unwrap();
        for name in [
            "api",
            "component",
            "stub-autoscaler",
            "fleet",
            "fleet-engine",
            "harness",
            "sim",
            "suites",
            "tools",
            "xtask",
        ] {
            assert!(members.iter().any(|member| member == name), "{name} is not in {members:?}");
        }
    }

    #[test]
    fn what_waits_for_the_night_is_named_in_the_docs() {
        let page = std::fs::read_to_string(cargo::workspace_root().join("docs/ci.md")).unwrap();
        for step in ALL {
            assert!(page.contains(&format!("| {} |", step.name)), "docs/ci.md has no row for {}", step.name);
        }
    }
}
