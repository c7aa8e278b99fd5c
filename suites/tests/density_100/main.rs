//! Density holds with the real scheduler (ADR-0023, ADR-0022): demand takes exactly as many machines as its sum needs,
//! and Pods fill them.
//!
//! `chain` runs the whole chain, from workload object to bound Pod on a machine that the fleet provided; the claims in
//! `packed` read its run directories. `contrast` tests the scheduler alone, on Nodes that exist beforehand, and shows
//! what breaks packing. `arithmetic` compares the plan with the table that the engine is compared with.

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
