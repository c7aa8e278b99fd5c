//! Shared by all suites: claims as trials, the environment that the setup script created, and an end that comes with
//! nextest's.
//!
//! stdout of a suite is the test protocol; nothing here prints to it.

pub mod nodes_first;
pub mod run_claims;
pub mod scenarios;
pub mod shared;
mod starved;
pub mod traces;
pub mod world;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getppid, pidfd_open};

/// Returns a claim as a trial. Its name has the form `subject::sentence_that_can_be_false`. A failure is also printed
/// as one `Error: ` line on stderr, which is what junit shows.
pub fn trial(name: &str, claim: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        claim().map_err(|error| {
            eprintln!("Error: {error:#}");
            Failed::from(format!("{error:?}"))
        })
    })
}

/// Returns a claim that gets its name, as a label for what it creates.
pub fn labelled(name: &str, claim: fn(&'static str) -> anyhow::Result<()>) -> Trial {
    let label: &'static str = Box::leak(name.replace("::", "-").into_boxed_str());
    trial(name, move || claim(label))
}

/// Runs the trials that `args` selects. Exits as soon as the runner is gone: test processes outlive a runner that was
/// killed, unless they watch it.
pub fn run(args: &Arguments, trials: Vec<Trial>) -> ExitCode {
    if !args.list {
        end_with_the_runner();
    }
    libtest_mimic::run(args, trials).exit_code()
}

fn end_with_the_runner() {
    let runner = getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    // Without a pidfd, the runner is gone already.
    let Some(runner) = runner else { std::process::exit(1) };
    std::thread::spawn(move || {
        let _ = poll(&mut [PollFd::new(&runner, PollFlags::IN)], None);
        std::process::exit(1);
    });
}

/// Runs a future on its own runtime (each trial is a process under nextest).
///
/// # Errors
/// Those of the future.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("building a runtime")?;
    runtime.block_on(future)
}

/// Returns the socket of the supervisor that the setup script started.
///
/// # Errors
/// When there is none; the error says how to get one.
pub fn supervisor_socket() -> anyhow::Result<PathBuf> {
    from_setup("E2E_SUPERVISOR")
}

/// Returns the directory of the built programs.
///
/// # Errors
/// As for [`supervisor_socket`].
pub fn bin_dir() -> anyhow::Result<PathBuf> {
    from_setup("E2E_BIN_DIR")
}

/// Returns the directory of the control-plane programs.
///
/// # Errors
/// As for [`supervisor_socket`].
pub fn tools_dir() -> anyhow::Result<PathBuf> {
    from_setup("E2E_TOOLS_DIR")
}

/// Compares a value with `suites/snapshots/<name>.snap`.
///
/// # Panics
/// When they differ; insta shows the difference.
pub fn snapshot(name: &str, value: &serde_json::Value) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_json_snapshot!(name, value));
}

/// Returns a path that the setup script exported.
///
/// # Errors
/// When it is not set.
pub fn from_setup(variable: &str) -> anyhow::Result<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).with_context(|| {
        format!("{variable} is not set: the setup script sets it; run `cargo nextest run -p suites` from the repository")
    })
}
