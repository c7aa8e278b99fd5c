//! Claims about the kind provider: clusters are what they claim to be, and nothing is left behind.
//!
//! If kind clusters are not requested (`E2E_PROVIDER=kind`), all of these claims are listed as ignored:
//! `cargo xtask ci` says so, and counts them separately.

mod clusters;
mod deaths;
mod engine;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let trials = vec![
        trial("ready::two_clusters_are_ready_and_run_as_asked", clusters::ready_as_asked),
        trial("ready::the_real_node_is_left_alone", clusters::real_node),
        trial("ready::the_scheduler_binds_a_pod_and_kwok_runs_it", clusters::binds_and_runs),
        trial("ready::nothing_is_published_beyond_loopback", clusters::loopback_only),
        trial("ready::a_wrong_flag_is_told_and_leaves_no_container", clusters::wrong_flag),
        trial("ready::a_mistyped_scheduler_file_is_refused_before_a_container_is_made", clusters::mistyped),
        trial("verbs::a_killed_scheduler_stays_away_until_it_is_started", clusters::scheduler_verbs),
        trial("verbs::a_paused_apiserver_answers_again_when_continued", clusters::apiserver_verbs),
        trial("death::sigkill_of_the_supervisor_leaves_nothing", deaths::supervisor_killed),
        trial("death::sigkill_during_create_leaves_nothing", deaths::killed_during_create),
        trial("death::sigkill_of_the_owner_leaves_nothing", deaths::owner_killed),
    ];
    suites::run(&Arguments::from_args(), trials)
}

fn trial(name: &str, claim: fn(&'static str) -> anyhow::Result<()>) -> Trial {
    let asked_for = std::env::var("E2E_PROVIDER").is_ok_and(|provider| provider == "kind");
    suites::labelled(name, claim).with_ignored_flag(!asked_for)
}
