//! Claims about the local provider: control planes are what they claim to be, and nothing is left behind.
//!
//! Each trial starts its own supervisor on the real binaries. None relies on the supervisor's own records to prove what
//! is left (see `traces`).

mod flow;
mod kwok;
mod planes;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use suites::labelled as trial;

fn main() -> ExitCode {
    let trials = vec![
        trial("ready::two_control_planes_are_ready_and_run_as_asked", planes::ready_as_asked),
        trial("ready::everything_listens_on_loopback_only", planes::loopback_only),
        trial("ready::the_scheduler_binds_a_pod_and_kwok_runs_it", planes::binds_and_runs),
        trial("rights::node_creator_makes_nodes_and_sees_no_pods", planes::node_creator_rights),
        trial("rights::kwok_removes_only_pods_that_are_being_deleted", kwok::removes_only_what_is_to_go),
        trial("ready::more_requests_than_seats_wait_and_none_is_turned_away", flow::bursts_wait),
        trial("ready::a_wrong_flag_is_told_with_the_last_log_lines", planes::wrong_flag),
        trial("lease::too_little_memory_is_refused_with_numbers", planes::too_little_memory),
        trial("lease::is_released_when_its_connection_closes", planes::released_on_close),
        trial("verbs::a_killed_scheduler_is_seen_and_restarted", planes::scheduler_verbs),
        trial("verbs::a_paused_apiserver_answers_again_when_continued", planes::apiserver_verbs),
        trial("spawn::waits_for_readiness_and_tells_of_an_early_end", planes::spawned_programs),
        trial("death::sigkill_of_the_supervisor_leaves_nothing", planes::supervisor_killed),
        trial("death::sigkill_of_the_owner_leaves_nothing", planes::owner_killed),
        trial("death::sigterm_to_the_supervisor_leaves_nothing", planes::supervisor_terminated),
    ];
    suites::run(&Arguments::from_args(), trials)
}
