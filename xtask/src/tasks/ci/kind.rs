//! The suites on kind clusters, on machines with a container engine.

use std::process::Command;

use tools::{docker::Docker, nextest::Nextest};

use super::{nextest_command, step::Step};
use crate::{cargo, engine};

/// Name of the step.
pub const NAME: &str = "suites on kind clusters";
/// The claims and snapshots that also run without kind, those about kind itself and about a cluster built by hand, and
/// those about what whole runs leave behind.
const FILTER: &str = "(package(suites) \
                      & binary(/^(kind_clusters|existing_clusters|node_creator_parity|density_100|dev_50)$/)) \
                      + (package(xtask) & binary(/^(nothing_left|runs)$/))";

/// Returns the step, or why it is not run here. On request, it starts its own engine if none is running.
pub fn step(runner: &Nextest, may_start: bool) -> Result<Step, String> {
    let program = match Docker::find() {
        Ok(_) => Command::new(&runner.path),
        Err(error) if !may_start => {
            return Err(format!("{error} (with --dockerd, as root, one is started)"));
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
