//! `e2e-scenario results`: writes or checks the page about all kept summaries.

use std::path::PathBuf;

use clap::Args;
use harness_analysis::results;

use crate::complain;

/// Arguments of `results`.
#[derive(Args)]
pub struct ResultsArgs {
    /// Change nothing; exit 1 and report where the page differs from what would be written.
    #[arg(long)]
    check: bool,
    /// Directory of the summaries [default: docs/results of the repository].
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Writes or checks the page; returns the exit code.
pub fn run(args: &ResultsArgs) -> u8 {
    let dir = args.dir.clone().unwrap_or_else(results::dir_of_repository);
    if args.check {
        return match results::stale(&dir) {
            Ok(None) => 0,
            Ok(Some(difference)) => complain(1, format!("{difference}; run `cargo xtask results`")),
            Err(error) => complain(2, error),
        };
    }
    match results::write(&dir) {
        Ok(page) => {
            println!("wrote {}", page.display());
            0
        }
        Err(error @ results::Error::Write { .. }) => complain(3, error),
        Err(error) => complain(2, error),
    }
}
