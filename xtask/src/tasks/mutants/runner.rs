//! Builds the scratch copy and runs claims in it, in child processes that end when we do.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{claims::Results, mutant::Mutant};
use crate::{cargo, signals::Signals, supervisor};

/// How often work that says nothing is reported.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What commands are run with.
pub struct Runner<'a> {
    /// `cargo-nextest`.
    pub nextest: &'a Path,
    /// The scratch copy.
    pub tree: &'a Path,
    /// The build directory of the copy: its own, or the programs of the repository would be replaced by broken ones.
    pub build_dir: PathBuf,
    /// Where the output of each run goes.
    pub log_dir: PathBuf,
    /// An explicit directory of control-plane programs.
    pub tools_dir: Option<&'a Path>,
    /// Whether cargo may not use the network.
    pub offline: bool,
    /// Who gets a Ctrl-C while a command runs.
    pub signals: &'a Signals,
}

/// A run of claims that came to its end.
pub struct Ran {
    /// What became of the claims.
    pub results: Results,
    /// nextest's exit code, if it was not killed.
    pub exit_code: Option<i32>,
}

impl Runner<'_> {
    /// Makes the directories for builds and logs.
    pub fn prepare(&self) -> anyhow::Result<()> {
        for dir in [&self.build_dir, &self.log_dir] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(())
    }

    /// Builds the programs that the claims are about. `Some` holds the last lines of a build that failed.
    pub fn build(&self, name: &str) -> anyhow::Result<Option<String>> {
        let log = self.log_dir.join(format!("{name}-build.log"));
        let mut file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        // As the setup scripts build them: packages chosen otherwise have other features, and are built anew.
        for packages in [&["xtask"][..], &["harness", "fleet"][..]] {
            let mut command = cargo::cargo(&["build", "--bins"]);
            command.args(packages.iter().flat_map(|&package| ["--package", package]));
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let status = self.drive(command, &format!("{name}: build"), |line| {
                // A log that cannot be written is no reason to stop.
                let _ = writeln!(file, "{line}");
            })?;
            if !status.success() || self.signals.interrupted() {
                return Ok(Some(supervisor::last_lines(&log)));
            }
        }
        Ok(None)
    }

    /// Runs all claims that the mutants' filters select.
    pub fn run(&self, name: &str, mutants: &[Mutant]) -> anyhow::Result<Ran> {
        let log = self.log_path(name);
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        // The shim: killed by the kernel when we are, and its supervisor watches it.
        let mut command = supervisor::shim(&self.build_dir.join("debug"), std::process::id(), self.nextest);
        command.args(["nextest", "run", "--no-fail-fast", "--message-format", "libtest-json-plus"]);
        let packages: BTreeSet<&str> = mutants.iter().flat_map(Mutant::packages).collect();
        command.args(packages.into_iter().flat_map(|package| ["--package", package]));
        command.args(filters(mutants));
        cargo::clean(&mut command);
        // Pinned with nextest itself; the format carries the name of each claim as it ends.
        command.env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1");
        // A mutant must not leave snapshots to be reviewed; a backtrace makes a red claim six times slower.
        command.env("INSTA_UPDATE", "no").env("RUST_BACKTRACE", "0").env_remove("KUBECONFIG");
        if let Some(dir) = self.tools_dir {
            command.env("E2E_TOOLS_DIR", dir);
        }
        // A group of its own: a Ctrl-C at the terminal then reaches us alone, and it is told exactly once. cargo, above,
        // stays in ours, because it leaves it to the terminal to tell the compilers.
        command.process_group(0).stdout(Stdio::piped()).stderr(file);
        let mut results = Results::default();
        let status = self.drive(command, &format!("{name}: claims"), |line| {
            if let Some((claim, held)) = results.read(line) {
                println!("      {} {claim}", if held { "green" } else { "red  " });
            }
        })?;
        Ok(Ran { results, exit_code: status.code() })
    }

    /// Where the output of [`Runner::run`] is.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.log_dir.join(format!("{name}.log"))
    }

    /// Runs a command in the copy, giving each line of what it has piped to `on_line`.
    ///
    /// From the main thread only: the parent-death signal hangs on the thread that forks.
    fn drive(
        &self,
        mut command: Command,
        what: &str,
        mut on_line: impl FnMut(&str),
    ) -> anyhow::Result<ExitStatus> {
        command.current_dir(self.tree).env("CARGO_TARGET_DIR", &self.build_dir).stdin(Stdio::null());
        if self.offline {
            cargo::forbid_network(&mut command);
        }
        let mut child =
            command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        self.signals.pass_to(child.id());
        let output: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), _) => Box::new(stdout),
            (None, Some(stderr)) => Box::new(stderr),
            (None, None) => bail!("{what}: nothing to read from"),
        };
        let (sender, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            // Fails only when nobody listens any more.
            let _ = lines.map(|line| sender.send(line)).find(Result::is_err);
        });
        let (started, mut last) = (Instant::now(), String::new());
        loop {
            match lines.recv_timeout(HEARTBEAT) {
                Ok(line) => {
                    last = String::from_utf8_lossy(&line).into_owned();
                    on_line(&last);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let crate_name = last.trim().strip_prefix("Compiling");
                    let doing = crate_name.map_or_else(String::new, |name| format!(", at{name}"));
                    eprintln!("      {what}: {} s{doing}", started.elapsed().as_secs());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.wait().with_context(|| format!("cannot wait for {what}"))?;
        self.signals.pass_to(0);
        let _ = reader.join();
        Ok(status)
    }
}

/// Lists the claims that the mutants' filters select, by the repository's own build.
pub fn list(nextest: &Path, mutants: &[Mutant], offline: bool) -> anyhow::Result<Value> {
    let mut command = Command::new(nextest);
    // The whole workspace, as `ci` builds it: another choice of packages would be built anew.
    command.args(["nextest", "list", "--workspace", "--message-format", "json"]).args(filters(mutants));
    cargo::clean(&mut command);
    if offline {
        cargo::forbid_network(&mut command);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", nextest.display()))?;
    if !output.status.success() {
        bail!("the claims cannot be listed: nextest ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("nextest's list is no JSON")
}

/// The arguments that select the claims of these mutants.
fn filters(mutants: &[Mutant]) -> impl Iterator<Item = &str> {
    let distinct: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.filter.as_str()).collect();
    distinct.into_iter().flat_map(|filter| ["--filterset", filter])
}
