//! Claims over a run of profile dev-500: five clusters of 10,000 Pods, the main job.
//!
//! Its run takes the better part of an hour, so the claims are ignored if there is no run. This is decided when the
//! claims are listed, because an ignore at run time would count as passed.

use libtest_mimic::Arguments;
use suites::run_claims::{Profile, trials};

fn main() -> std::process::ExitCode {
    let profile = Profile { name: "dev-500", variable: "E2E_RUN_DEV_500", fill_is_gentle: false };
    let has_run = std::env::var_os(profile.variable).is_some();
    let trials = trials(profile).into_iter().map(|trial| trial.with_ignored_flag(!has_run)).collect();
    suites::run(&Arguments::from_args(), trials)
}
