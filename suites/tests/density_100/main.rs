//! Density holds with the real scheduler (ADR-0023, ADR-0022): demand takes exactly the machines that its sum
//! does, and Pods fill them.
//!
//! `chain` runs the whole chain, from workload object to bound Pod on a machine that the fleet brought; the
//! claims in `packed` read its run directories. `contrast` asks the scheduler alone, on Nodes that are there
//! first, and shows what breaks packing. `arithmetic` holds the plan to the table that the engine is held to.

mod arithmetic;
mod chain;
mod contrast;
mod packed;

use libtest_mimic::Arguments;

fn main() -> std::process::ExitCode {
    let mut trials = arithmetic::trials();
    trials.extend(contrast::trials());
    trials.extend(packed::trials());
    suites::run(&Arguments::from_args(), trials)
}
