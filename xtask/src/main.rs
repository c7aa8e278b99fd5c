//! `cargo xtask`: the command line of the project. Thin: it prepares, starts programs of other crates, shows progress.
//!
//! One file per task. This crate depends on neither kube nor tokio, so that the first command after a clone starts soon.
#![allow(clippy::print_stdout)] // The answer of a command belongs on stdout.

mod tasks;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit codes, as documented in the help text.
mod exit {
    /// The environment lacks something.
    pub const ENVIRONMENT: u8 = 3;
}

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find, download or build the pinned tools and print the directory that holds them.
    Tools(tasks::tools::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Tools(args) => tasks::tools::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::ENVIRONMENT)
        }
    }
}
