//! `e2e-scenario compare`: two runs, or two sets of runs, side by side.

use std::path::{Path, PathBuf};

use clap::Args;
use harness_analysis::compare::sets::{self, Allowed, Member};
use harness_analysis::compare::{self, Run};
use harness_model::record::RunDir;

use crate::complain;

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  cargo xtask compare target/e2e/dev-50-20261123-200000-1a2b target/e2e/latest
  cargo xtask compare target/e2e/BEFORE target/e2e/latest --json
  cargo xtask compare RUN-OF-KUBE-SCHEDULER RUN-OF-POD-SHIM --any-plan
  cargo xtask compare BEFORE-1 BEFORE-2 BEFORE-3 -- AFTER-1 AFTER-2 AFTER-3
  cargo xtask compare --base BEFORE-1,BEFORE-2,BEFORE-3 --against AFTER-1,AFTER-2,AFTER-3

Sets are compared by their medians: the ratio with its 95 % interval (bootstrap, always from the same seed), and the
difference next to the spread within the sets. Their runs must have one plan, the same tools and one machine class,
and must be valid; kept summaries (docs/results/*.json) work as well as run directories.

This is not a verdict: exit code 0 whatever the figures say; 2 when there is no judged run, or the runs do not match
(the differences are named) and neither --any-plan nor --force is given.";

/// Arguments of `compare`.
#[derive(Args)]
pub struct CompareArgs {
    /// Two run directories; or, before a `--`, the first set of runs, against which the other one is measured.
    #[arg(value_name = "RUN", required_unless_present = "base", conflicts_with = "base")]
    runs: Vec<PathBuf>,
    /// After a `--`: the second set of runs.
    #[arg(value_name = "RUN", last = true, conflicts_with = "base")]
    others: Vec<PathBuf>,
    /// The first set of runs, separated by commas.
    #[arg(long, value_name = "RUN,...", value_delimiter = ',', requires = "against")]
    base: Vec<PathBuf>,
    /// The second set of runs, separated by commas.
    #[arg(long, value_name = "RUN,...", value_delimiter = ',', requires = "base")]
    against: Vec<PathBuf>,
    /// Compare even if the runs were made from different plans.
    #[arg(long)]
    any_plan: bool,
    /// Compare even if plan, tools, machine class or validity differ between the runs.
    #[arg(long)]
    force: bool,
    /// Print the whole comparison as JSON.
    #[arg(long)]
    json: bool,
}

/// The two sides of a comparison.
#[derive(Debug, PartialEq)]
enum Sides<'a> {
    Runs(&'a Path, &'a Path),
    Sets(&'a [PathBuf], &'a [PathBuf]),
}

/// Compares; returns the exit code.
pub fn run(args: &CompareArgs) -> u8 {
    let text = match sides(args) {
        Ok(Sides::Runs(a, b)) => of_runs(a, b, args),
        Ok(Sides::Sets(a, b)) => of_sets(a, b, args),
        Err(message) => Err(message),
    };
    match text {
        Ok(text) => {
            // A reader that has seen enough (`| head`) is not a failure.
            println!("{}", text.trim_end());
            0
        }
        Err(message) => complain(2, message),
    }
}

fn sides(args: &CompareArgs) -> Result<Sides<'_>, String> {
    if !args.base.is_empty() {
        return Ok(Sides::Sets(&args.base, &args.against));
    }
    if let Some(flag) = args.others.iter().find(|run| run.to_string_lossy().starts_with("--")) {
        return Err(format!("{} comes after `--`, where runs are named; put it before", flag.display()));
    }
    match (args.runs.as_slice(), args.others.as_slice()) {
        ([a, b], []) => Ok(Sides::Runs(a, b)),
        (runs, []) => Err(format!(
            "give two runs, or two sets as `RUN RUN ... -- RUN RUN ...`; runs given: {}",
            runs.len()
        )),
        (a, b) => Ok(Sides::Sets(a, b)),
    }
}

fn of_runs(a: &Path, b: &Path, args: &CompareArgs) -> Result<String, String> {
    let load = |run: &Path| Run::load(&RunDir::new(run));
    let compared = load(a).and_then(|a| compare::compare(&a, &load(b)?, args.any_plan || args.force));
    let compared = compared.map_err(|error| error.to_string())?;
    Ok(if args.json { compared.to_json() } else { compare::screen::render(&compared) })
}

fn of_sets(a: &[PathBuf], b: &[PathBuf], args: &CompareArgs) -> Result<String, String> {
    let load = |runs: &[PathBuf]| -> Result<Vec<Member>, sets::Error> {
        Ok(runs.iter().map(|run| Member::load(run)).collect::<Result<_, _>>()?)
    };
    let allowed = Allowed { plan: args.any_plan, all: args.force };
    let compared = load(a).and_then(|a| sets::compare(&a, &load(b)?, allowed));
    let compared = compared.map_err(|error| error.to_string())?;
    Ok(if args.json { compared.to_json() } else { sets::screen::render(&compared) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: CompareArgs,
    }

    fn args(line: &str) -> Result<CompareArgs, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.args)
    }

    fn paths(names: &str) -> Vec<PathBuf> {
        names.split(' ').map(PathBuf::from).collect()
    }

    #[test]
    fn two_runs_are_a_pair_and_more_are_sets() {
        let pair = args("x a b --any-plan --json").unwrap();
        assert_eq!(sides(&pair), Ok(Sides::Runs(Path::new("a"), Path::new("b"))));
        assert!(pair.any_plan && pair.json);
        let (first, second) = (paths("a1 a2 a3"), paths("b1 b2"));
        let wanted = Ok(Sides::Sets(&first, &second));
        assert_eq!(sides(&args("x a1 a2 a3 -- b1 b2").unwrap()), wanted);
        assert_eq!(sides(&args("x a1 a2 --json a3 -- b1 b2").unwrap()), wanted);
        assert_eq!(sides(&args("x --base a1,a2,a3 --against b1,b2").unwrap()), wanted);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for line in ["x", "x --base a,b", "x --against a,b", "x a b --base c,d --against e,f"] {
            assert!(args(line).is_err(), "{line}");
        }
        assert!(sides(&args("x a b c").unwrap()).unwrap_err().ends_with("runs given: 3"));
        assert!(sides(&args("x a").unwrap()).unwrap_err().ends_with("runs given: 1"));
        let late = args("x a b -- c d --json").unwrap();
        assert!(sides(&late).unwrap_err().contains("--json comes after `--`"));
    }
}
