//! Eviction conserves demand (ADR-0038): what is surplus is taken away once, its Pods come back elsewhere, and
//! nothing else moves.
//!
//! One profile is varied (`chain`), every run is made once, and the claims read run directories. `managed` is the
//! cure: Pods that controllers own. `bare` is the disease: Pods that eviction destroys. `eras` shows what else
//! upstream had to get right, one fault at a time; `rails` and `budgets` hold the drains to their limits; `moving`
//! conserves while Pods end, are churned and scaled. `predicted` holds the runs against the simulator; `interrupted`
//! does something while a drain runs.

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
