//! Writes, or with `--check` compares, the files generated from Rust types.

use std::path::PathBuf;
use std::process::ExitCode;

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

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => platform::output::end(0),
        Err(error) => {
            platform::tell!("Error: {error:#}");
            platform::output::end(1)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.check {
        let stale = harness::codegen::stale(&args.root)?;
        for file in &stale {
            platform::say!("out of date: {}", file.path.display());
        }
        anyhow::ensure!(stale.is_empty(), "generated files are out of date; run `cargo xtask codegen`");
    } else {
        for path in harness::codegen::write(&args.root)? {
            platform::say!("wrote {}", path.display());
        }
    }
    Ok(())
}
