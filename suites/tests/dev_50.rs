//! Claims over a run of profile dev-50: two clusters of 2,500 Pods, the whole chain.

use libtest_mimic::Arguments;
use suites::run_claims::{Profile, trials};

fn main() -> std::process::ExitCode {
    let profile = Profile { name: "dev-50", variable: "E2E_RUN_DEV_50", fill_is_gentle: true };
    suites::run(&Arguments::from_args(), trials(profile))
}
