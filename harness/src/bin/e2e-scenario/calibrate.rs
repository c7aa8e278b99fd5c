//! `e2e-scenario calibrate`: writes a profile's ranges from runs of it.

use std::path::PathBuf;

use clap::Args;
use harness_analysis::calibrate::{self, Subject};
use harness_analysis::compare::sets::Member;
use harness_model::{plan, profile};

use crate::complain;

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  cargo xtask calibrate dev-50 target/e2e/dev-50-*
  cargo xtask calibrate dev-500 docs/results/dev-500-*.json
  cargo xtask calibrate dev-50 target/e2e/dev-50-* --metric cpu_ms_per_pod --metric fill_s

The runs must have passed, with one plan (the profile's own), the same tools, on machines of one class. Each metric that
the profile's ranges.yaml names, or each --metric, gets a bound on that class: mean x 1.2, or three standard deviations
from the mean where that is more. The ranges of other classes stay.
A metric that would need more than mean x 1.5 is left out and named: more runs will not help, a quieter machine may.

Exit code 0 when the ranges were written; 2 when the runs do not qualify; 3 when the file cannot be written.";

/// Arguments of `calibrate`.
#[derive(Args)]
pub struct CalibrateArgs {
    /// Name of a profile, or path of its YAML file; the ranges are next to it.
    profile: String,
    /// Run directories, or kept summaries; at least five.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Calibrate only this metric; may be repeated. The other metrics then have no range for this class of machines.
    #[arg(long = "metric", value_name = "NAME")]
    only: Vec<String>,
    /// Accept runs of another plan than the profile's current one; all of them must still have the same plan.
    #[arg(long)]
    any_plan: bool,
}

/// Calibrates; returns the exit code.
pub fn run(args: &CalibrateArgs) -> u8 {
    let (path, text) = match ranges(args) {
        Ok(written) => written,
        Err(message) => return complain(2, message),
    };
    if let Err(error) = std::fs::write(&path, text) {
        return complain(3, format!("cannot write {}: {error}", path.display()));
    }
    println!("wrote {}", path.display());
    0
}

/// Returns the file of ranges and its new text.
fn ranges(args: &CalibrateArgs) -> Result<(PathBuf, String), String> {
    let loaded =
        profile::load(&profile::fixtures_dir(), &args.profile, &[]).map_err(|error| error.to_string())?;
    let name = &loaded.profile.name;
    let digest = plan::derive(&loaded).map_err(|error| error.to_string())?.digest();
    let members: Result<Vec<Member>, _> = args.runs.iter().map(|run| Member::load(run)).collect();
    let members = members.map_err(|error| calibrate::Error::Summary(error).to_string())?;
    let subject = Subject {
        profile: name,
        known: &loaded.ranges,
        only: &args.only,
        plan_digest: (!args.any_plan).then_some(digest.as_str()),
    };
    let found = calibrate::calibrate(&subject, &members).map_err(|error| error.to_string())?;
    let own = &found.ranges.machine_classes[&found.class];
    println!("{}, {} runs:", found.class, members.len());
    own.iter().for_each(|(metric, range)| println!("  {metric}: {}", range.calibrated));
    found.left_out.iter().for_each(|told| eprintln!("left out {told}"));
    let text = calibrate::file_text(name, &found.ranges).map_err(|error| error.to_string())?;
    Ok((loaded.source.with_file_name("ranges.yaml"), text))
}
