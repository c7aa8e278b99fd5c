//! Writes, or with `--check` compares, the files generated from Rust types.
#![allow(clippy::print_stdout)] // The list of files is the answer.

use std::path::PathBuf;

use clap::Parser;

/// Writes the files that are generated from Rust types.
#[derive(Parser)]
struct Args {
    /// Change nothing; exit 1 and name the files that are out of date.
    #[arg(long)]
    check: bool,
    /// Repository root.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.check {
        let stale = harness::codegen::stale(&args.root)?;
        for file in &stale {
            println!("out of date: {}", file.path.display());
        }
        anyhow::ensure!(stale.is_empty(), "generated files are out of date; run `cargo xtask codegen`");
    } else {
        for path in harness::codegen::write(&args.root)? {
            println!("wrote {}", path.display());
        }
    }
    Ok(())
}
