//! The suites on kind clusters, where there is a container engine for them.

use std::process::Command;

use tools::{docker::Docker, nextest::Nextest};

use super::{nextest_command, step::Step};
use crate::{cargo, engine};

/// Name of the step.
pub const NAME: &str = "suites on kind clusters";
/// The same claims and snapshots as without kind, those about kind itself and a cluster made by hand, and those about
/// what whole runs leave.
const FILTER: &str = "(package(suites) \
                      & binary(/^(kind_clusters|existing_clusters|node_creator_parity|density_100|dev_50)$/)) \
                      + (package(xtask) & binary(/^(nothing_left|runs)$/))";

/// The step, on request with an engine of its own where none runs; or why it is not run here.
pub fn step(runner: &Nextest, may_start: bool) -> Result<Step, String> {
    let program = match Docker::find() {
        Ok(_) => Command::new(&runner.path),
        Err(error) if !may_start => {
            return Err(format!("{error} (or give --dockerd: then one is started, as root)"));
        }
        Err(error) => {
            if !rustix::process::geteuid().is_root() {
                return Err(format!("{error} (as root, one would be started)"));
            }
            if engine::find_program("dockerd").is_none() && engine::find_program("apt-get").is_none() {
                return Err(format!("{error} (there is neither dockerd nor apt-get to install it)"));
            }
            let mut command = cargo::cargo(&["xtask", "dockerd", "--install", "--"]);
            command.arg(&runner.path);
            command
        }
    };
    let mut command = nextest_command(program, runner, "ci", FILTER);
    command.env("E2E_PROVIDER", "kind");
    Ok(Step::shown(NAME, command))
}
