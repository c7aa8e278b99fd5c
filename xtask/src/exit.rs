//! Exit codes, the same in the whole project.

use std::process::ExitStatus;

/// A gate failed, or a check of `ci`.
pub const FAILED: u8 = 1;
/// The command line is wrong. clap uses the same code.
pub const USAGE: u8 = 2;
/// The machine lacks something: a tool, memory, a port.
pub const ENVIRONMENT: u8 = 3;
/// The run says nothing about the system under test.
pub const INVALID: u8 = 4;
/// Everything went well, but objects of a run stay in an existing cluster.
pub const LEFT_BEHIND: u8 = 5;
/// Interrupted by Ctrl-C or a signal.
pub const INTERRUPTED: u8 = 130;

/// The list of exit codes, for `--help`.
pub const HELP: &str = "Exit codes: 0 pass, 1 a gate or check failed, 2 usage, 3 environment (missing tool, memory, \
port), 4 the run is invalid (it says nothing about the system under test), 5 all went well, but objects of \
a run stay in an existing cluster (they are listed, with the next command), 130 interrupted.";

/// Returns the exit code of a child that has ended. A child that was killed counts as a fault of the environment.
pub fn of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(ENVIRONMENT)
}
