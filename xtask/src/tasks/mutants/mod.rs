//! `cargo xtask mutants`: breaks one thing at a time and checks whether the claim about it turns red.
//!
//! A claim that nothing can turn red is worth nothing. This runs on demand and at night, because it takes minutes per
//! mutant.

mod claims;
mod mutant;
mod runner;
mod tree;

use std::{
    fs::{self, File},
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context, bail};
use tools::nextest;

use self::{
    claims::Fate,
    mutant::Mutant,
    runner::{Ran, Runner},
    tree::Tree,
};
use crate::{cargo, exit, signals::Signals, tasks::tools::ToolArgs};

const HELP: &str = "\
Works on a copy of the repository as it lies there, uncommitted changes included, in target/mutants; the repository
itself is never touched. The first call builds everything once more in there, the later ones only what a mutant changes.
First the same claims are run without any mutant; they must be green. Then each mutant is
  killed    exactly the claims that it names turned red,
  survived  one of them stayed green,
  broken    it does not build, does not run, or other claims turned red as well.

Exit codes: 0 all killed, 1 a mutant survived or is broken or the claims are red without any, 2 usage, 3 environment,
130 interrupted.

Examples:
  cargo xtask mutants --list
  cargo xtask mutants no-scheduler-qps dropped-taint
  cargo xtask mutants --check";

/// Arguments of `cargo xtask mutants`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Names of mutants (files in fixtures/mutants); all if none is given.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// List the mutants, what they break and which claims must detect it, and exit.
    #[arg(long, conflicts_with = "check")]
    list: bool,

    /// Only check that every edit still applies exactly once and that every claim exists.
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    tools: ToolArgs,
}

/// Runs the task and returns the exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mutants = match select(mutant::load_all(cargo::workspace_root())?, &args.names) {
        Ok(mutants) => mutants,
        Err(message) => {
            eprintln!("Error: {message}");
            return Ok(exit::USAGE);
        }
    };
    if args.list {
        mutants.iter().for_each(show);
        return Ok(0);
    }
    if args.check {
        return check(&mutants, args);
    }
    hunt(&mutants, args)
}

fn select(mut all: Vec<Mutant>, names: &[String]) -> Result<Vec<Mutant>, String> {
    let known: Vec<_> = all.iter().map(|mutant| mutant.name.clone()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("no mutant `{unknown}`; known: {}", known.join(", ")));
    }
    all.retain(|mutant| names.is_empty() || names.contains(&mutant.name));
    Ok(all)
}

fn show(mutant: &Mutant) {
    println!("{}\n    {} ({})", mutant.name, mutant.breaks.trim(), mutant.source.trim());
    for claim in &mutant.red {
        println!("    red: {claim}");
    }
}

/// Checks what can be checked without building mutants. Listing the claims builds what the suites need, and no more.
fn check(mutants: &[Mutant], args: &Args) -> anyhow::Result<u8> {
    let root = cargo::workspace_root();
    let mut faults: Vec<String> = mutants
        .iter()
        .filter_map(|mutant| Some(format!("{}: {:#}", mutant.name, mutant.edited(root).err()?)))
        .collect();
    let nextest = nextest::ensure(&args.tools.options())?.path;
    let list = runner::list(&nextest, mutants, args.tools.is_offline())?;
    faults.extend(claims::unknown(&list, mutants));
    for fault in &faults {
        println!("x {fault}");
    }
    println!("{} mutants, {} faults", mutants.len(), faults.len());
    Ok(if faults.is_empty() { 0 } else { exit::FAILED })
}

/// Builds and tests every mutant in turn.
fn hunt(mutants: &[Mutant], args: &Args) -> anyhow::Result<u8> {
    let signals = Signals::take()?;
    let nextest = nextest::ensure(&args.tools.options())?.path;
    let tools_dir = args.tools.tools_dir.as_ref().map(std::path::absolute).transpose()?;
    let dir = work_dir()?;
    let _lock = lock(&dir)?;
    let tree = Tree::copy_of(cargo::workspace_root(), dir.join("tree"))?;
    let runner = Runner {
        nextest: &nextest,
        tree: tree.root(),
        build_dir: dir.join("build"),
        log_dir: dir.join("logs"),
        tools_dir: tools_dir.as_deref(),
        offline: args.tools.is_offline(),
        signals: &signals,
    };
    runner.prepare()?;

    println!("[0/{}] no mutant: the claims must be green", mutants.len());
    let control = attempt(&runner, "control", mutants)?;
    let fault = match control {
        Attempt::Interrupted => return Ok(exit::INTERRUPTED),
        Attempt::NoBuild(output) => Some(format!("does not build:\n{output}")),
        Attempt::Ran(ran) => ran.results.fault_of_control(ran.exit_code, mutants),
    };
    if let Some(fault) = fault {
        eprintln!(
            "Error: {fault}\nnothing can be said about mutants; see {}",
            runner.log_path("control").display()
        );
        return Ok(exit::FAILED);
    }
    let mut tally = Tally::default();
    for (idx, mutant) in mutants.iter().enumerate() {
        println!("[{}/{}] {}: {}", idx + 1, mutants.len(), mutant.name, mutant.breaks.trim());
        let started = Instant::now();
        let mutated = tree.mutate(mutant).with_context(|| mutant.name.clone())?;
        let attempted = attempt(&runner, &mutant.name, std::slice::from_ref(mutant))?;
        drop(mutated);
        let fate = match attempted {
            Attempt::Interrupted => return Ok(exit::INTERRUPTED),
            Attempt::NoBuild(output) => Fate::Broken(format!("it does not build:\n{output}")),
            Attempt::Ran(ran) => ran.results.fate(ran.exit_code, mutant),
        };
        tally.add(&mutant.name, &fate, started.elapsed().as_secs(), &runner);
    }
    Ok(tally.conclude())
}

/// How a build and a run of claims ended.
enum Attempt {
    Ran(Ran),
    NoBuild(String),
    Interrupted,
}

fn attempt(runner: &Runner, name: &str, mutants: &[Mutant]) -> anyhow::Result<Attempt> {
    let built = runner.build(name)?;
    if runner.signals.interrupted() {
        return Ok(Attempt::Interrupted);
    }
    if let Some(output) = built {
        return Ok(Attempt::NoBuild(output));
    }
    let ran = runner.run(name, mutants)?;
    Ok(if runner.signals.interrupted() { Attempt::Interrupted } else { Attempt::Ran(ran) })
}

/// The results of the mutants so far.
#[derive(Default)]
struct Tally {
    lines: Vec<String>,
    killed: usize,
    survived: usize,
    broken: usize,
}

impl Tally {
    fn add(&mut self, name: &str, fate: &Fate, taken_s: u64, runner: &Runner) {
        let log = || runner.log_path(name).display().to_string();
        let (count, text) = match fate {
            Fate::Killed => (&mut self.killed, format!("killed    {name} ({taken_s} s)")),
            Fate::Survived(green) => {
                (&mut self.survived, format!("SURVIVED  {name}: green: {}; see {}", green.join(", "), log()))
            }
            Fate::Broken(why) => (&mut self.broken, format!("BROKEN    {name}: {why}; see {}", log())),
        };
        *count += 1;
        println!("      {text}");
        self.lines.push(text);
    }

    /// Prints everything once more, because the end of the output is what people read, and returns the exit code.
    fn conclude(&self) -> u8 {
        println!();
        self.lines.iter().for_each(|line| println!("{line}"));
        println!("{} killed, {} survived, {} broken", self.killed, self.survived, self.broken);
        if self.survived + self.broken == 0 { 0 } else { exit::FAILED }
    }
}

/// Returns `target/mutants`.
fn work_dir() -> anyhow::Result<PathBuf> {
    let target = cargo::bin_dir()?.parent().context("the build directory has no parent")?.join("mutants");
    fs::create_dir_all(target.join("tree")).with_context(|| format!("cannot create {}", target.display()))?;
    Ok(target)
}

/// Prevents other processes from using the one copy. The lock ends with this process, however that ends.
fn lock(dir: &std::path::Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("another `cargo xtask mutants` works in {}; wait until it has finished", dir.display())
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_known_is_answered_with_the_known_ones() {
        let all = || mutant::load_all(cargo::workspace_root()).unwrap();
        let count = all().len();
        assert_eq!(select(all(), &[]).unwrap().len(), count);
        let one = select(all(), &["no-scheduler-qps".to_owned()]).unwrap();
        assert_eq!(one.iter().map(|mutant| mutant.name.as_str()).collect::<Vec<_>>(), ["no-scheduler-qps"]);
        let error = select(all(), &["nonesuch".to_owned()]).unwrap_err();
        assert!(error.contains("`nonesuch`; known: ") && error.contains("no-scheduler-qps"), "{error}");
    }

    #[test]
    fn two_calls_do_not_work_in_one_copy() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("wait until it has finished"));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
