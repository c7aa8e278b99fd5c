//! Eviction conserves demand (ADR-0038): surplus is removed once, its Pods come back elsewhere, and nothing else moves.
//!
//! One profile is varied (`chain`), every run is made once, and the claims read run directories. `managed` is the cure:
//! Pods that controllers own. `bare` is the disease: Pods that eviction destroys. `eras` shows what else upstream had
//! to fix, one fault at a time; `rails` and `budgets` check the limits of drains; `moving` checks conservation while
//! Pods end, are churned and scaled. `predicted` compares the runs with the simulator; `interrupted` intervenes during
//! a drain.

mod bare;
mod budgets;
mod chain;
mod eras;
mod interrupted;
mod managed;
mod moving;
mod ordinals;
mod predicted;
mod rails;
mod world;

use libtest_mimic::Arguments;

fn main() -> std::process::ExitCode {
    let mut trials = managed::trials();
    trials.extend(bare::trials());
    trials.extend(rails::trials());
    trials.extend(eras::trials());
    trials.extend(budgets::trials());
    trials.extend(moving::trials());
    trials.extend(predicted::trials());
    trials.extend(interrupted::trials());
    suites::run(&Arguments::from_args(), trials)
}
