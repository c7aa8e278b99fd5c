//! Claims about existing clusters: a label permits runs, which leave nothing behind and change nothing else.
//!
//! The cluster is one that a user has built by hand (`by_hand`). With `E2E_PROVIDER=kind`, that is done by
//! `kind create cluster` and the configuration of docs/existing.md; otherwise it is a local control plane from which
//! everything of ours was removed.

mod adopted;
mod by_hand;
mod deaths;
mod everything;
mod held;
mod refused;
mod runs;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let trials = vec![
        suites::labelled(
            "adopt::it_asks_first_and_changes_a_label_that_release_takes_off",
            adopted::asks_first,
        ),
        suites::labelled("refused::each_obstacle_is_told_and_nothing_is_touched", refused::obstacles),
        suites::labelled("refused::a_second_run_is_told_who_has_the_cluster", refused::in_use),
        suites::labelled("run::load_nodes_and_requests_go_and_bystanders_stay_as_they_were", runs::as_before),
        suites::labelled("run::verbs_reach_kwok_and_nothing_else", runs::verbs),
        suites::labelled(
            "death::sigkill_of_the_supervisor_leaves_nothing_in_the_cluster",
            deaths::supervisor,
        ),
        suites::labelled("death::the_next_run_removes_what_no_janitor_did", deaths::janitor_too),
        suites::labelled(
            "held::what_a_finalizer_holds_is_told_by_all_and_goes_once_it_is_let_go",
            held::by_a_finalizer,
        ),
        suites::labelled("held::a_cluster_that_another_takes_is_left_alone_and_told", held::by_another),
    ];
    suites::run(&Arguments::from_args(), trials)
}
