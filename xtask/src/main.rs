//! `cargo xtask`: the command line of the project. It is a thin layer that prepares, starts programs of other crates
//! and shows progress.
//!
//! One file per task. This crate depends on neither kube nor tokio, so that the first command after a clone starts
//! soon.

/// The macros of the standard library panic if the reader has gone. With these, `end` below reports what was lost.
macro_rules! println {
    ($($text:tt)*) => { platform::say!($($text)*) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { platform::tell!($($text)*) };
}

mod cargo;
mod cargo_env;
mod engine;
mod exit;
mod host;
#[cfg(test)]
mod hygiene;
mod kind_host;
mod run_dir;
mod shell;
mod signals;
mod supervisor;
mod tasks;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::tasks::forward::{self, Forwarded};

/// End-to-end scale tests for node autoscalers, on real control planes, on one machine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a scenario, from start to verdict.
    E2e(tasks::e2e::Args),
    /// Show what a profile would create, need and take, without running it.
    Plan(Forwarded),
    /// Run a scenario or a profile in virtual time, without control planes.
    Sim(Forwarded),
    /// Recompute the verdict of a run directory from its files.
    Judge(Forwarded),
    /// Draw the report of a run directory again and print its path [default: target/e2e/latest].
    Report(Forwarded),
    /// Draw the report of a run directory again and open it.
    Open(tasks::open::Args),
    /// Compare two run directories, or two sets of them, side by side: `cargo xtask compare RUN RUN`, or
    /// `cargo xtask compare RUN RUN RUN -- RUN RUN RUN`.
    Compare(Forwarded),
    /// Write a profile's ranges for this class of machines, from five or more passing runs.
    Calibrate(Forwarded),
    /// Write the page over all kept summaries, docs/results/README.md, or check it (`--check`).
    Results(Forwarded),
    /// Start control planes that stay until `down`.
    Up(Forwarded),
    /// Show what a run does to an existing cluster and permit it, or withdraw the permission (`--release`).
    Adopt(Forwarded),
    /// Stop what `up` or `e2e --keep` left running.
    Down(Forwarded),
    /// Show what is running.
    Status(Forwarded),
    /// Show the log of a component.
    Logs(Forwarded),
    /// Run kubectl against a control plane: `cargo xtask kubectl -- get nodes`.
    Kubectl(Forwarded),
    /// Check what this machine has and lacks, and what to do about it.
    Doctor(tasks::doctor::Args),
    /// Write the files that are generated from Rust types, or check them.
    Codegen(Forwarded),
    /// Measure the figures that the project wants to reach.
    Bench(tasks::bench::Args),
    /// Break one thing at a time, and check that the claim about it turns red.
    Mutants(tasks::mutants::Args),
    /// Run all checks and tests, as CI does.
    Ci(tasks::ci::Args),
    /// Find, download or build the pinned tools, and print their directory.
    Tools(tasks::tools::Args),
    /// Find or build the image of a kind node, load it into Docker, and print its reference.
    NodeImage(tasks::node_image::Args),
    /// Run a command with its own Docker engine, which stops when the command ends: `cargo xtask dockerd -- docker ps`.
    Dockerd(tasks::dockerd::Args),
    /// Called by nextest's setup scripts (see .config/nextest.toml).
    #[command(hide = true)]
    SuiteEnv(tasks::suite_env::Args),
    /// Started by `bench` to clean up after it.
    #[command(hide = true)]
    BenchKeeper(tasks::bench::KeeperArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::E2e(args) => tasks::e2e::run(&args),
        Task::Plan(args) => forward::to_scenario("plan", &args),
        Task::Sim(args) => forward::to_sim(&args),
        Task::Judge(args) => forward::to_scenario("judge", &args),
        Task::Report(args) => forward::to_report(&args),
        Task::Open(args) => tasks::open::run(&args),
        Task::Compare(args) => forward::to_scenario("compare", &args),
        Task::Calibrate(args) => forward::to_scenario("calibrate", &args),
        Task::Results(args) => forward::to_scenario("results", &args),
        Task::Up(args) => forward::to_supervisor("up", &args),
        Task::Adopt(args) => forward::to_supervisor("adopt", &args),
        Task::Down(args) => forward::to_supervisor("down", &args),
        Task::Status(args) => forward::to_supervisor("status", &args),
        Task::Logs(args) => forward::to_supervisor("logs", &args),
        Task::Kubectl(args) => forward::to_supervisor("kubectl", &args),
        Task::Doctor(args) => tasks::doctor::run(&args),
        Task::Codegen(args) => forward::to_codegen(&args),
        Task::Bench(args) => tasks::bench::run(&args),
        Task::Mutants(args) => tasks::mutants::run(&args),
        Task::Ci(args) => tasks::ci::run(&args),
        Task::Tools(args) => tasks::tools::run(&args),
        Task::NodeImage(args) => tasks::node_image::run(&args),
        Task::Dockerd(args) => tasks::dockerd::run(&args),
        Task::SuiteEnv(args) => tasks::suite_env::run(&args),
        Task::BenchKeeper(args) => tasks::bench::keep(&args),
    };
    match result {
        Ok(code) => platform::output::end(code),
        Err(error) => {
            eprintln!("Error: {error:#}");
            platform::output::end(exit::ENVIRONMENT)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_separator_between_sets_is_passed_on() {
        for line in ["x compare a b -- c d", "x compare --json a -- c", "x compare --base a,b --against c,d"]
        {
            let Ok(Cli { task: Task::Compare(args) }) = Cli::try_parse_from(line.split(' ')) else {
                panic!("{line} must be understood");
            };
            let wanted: Vec<&str> = line.split(' ').skip(2).collect();
            assert_eq!(args.words(), wanted, "{line}");
        }
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        let wrong: &[&[&str]] = &[
            &["x", "frobnicate"],
            &["x"],
            &["x", "e2e", "--seed", "-1"],
            &["x", "e2e", "--set", "no-value"],
            &["x", "mutants", "--list", "--check"],
            &["x", "node-image", "--from-archive", "a", "--to-archive", "b"],
            &["x", "dockerd"],
        ];
        for args in wrong {
            let error = Cli::try_parse_from(*args).err().expect("must be refused");
            assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{args:?}: {error}");
        }
    }
}
