//! Builds the scratch copy and runs claims in it, in child processes that end when this process does.

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

/// How often silent work is reported.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What commands are run with.
pub struct Runner<'a> {
    /// The path of `cargo-nextest`.
    pub nextest: &'a Path,
    /// The scratch copy.
    pub tree: &'a Path,
    /// The build directory of the copy. It is separate, because otherwise broken programs would replace those of the
    /// repository.
    pub build_dir: PathBuf,
    /// The directory for the output of each run.
    pub log_dir: PathBuf,
    /// An explicit directory of control-plane programs.
    pub tools_dir: Option<&'a Path>,
    /// Whether cargo is forbidden to use the network.
    pub offline: bool,
    /// Passes a Ctrl-C on while a command runs.
    pub signals: &'a Signals,
}

/// A run of claims that has finished.
pub struct Ran {
    /// The results of the claims.
    pub results: Results,
    /// nextest's exit code, unless it was killed.
    pub exit_code: Option<i32>,
}

impl Runner<'_> {
    /// Creates the directories for builds and logs.
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
        // As the setup scripts build them: a different choice of packages has different features, and causes a rebuild.
        for packages in [&["xtask"][..], &["harness", "fleet"][..]] {
            let mut command = cargo::cargo(&["build", "--bins"]);
            command.args(packages.iter().flat_map(|&package| ["--package", package]));
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let status = self.drive(command, &format!("{name}: build"), |line| {
                // A log that cannot be written is not a reason to stop.
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
        // With the shim, the kernel kills it when we die, and its supervisor watches it.
        let mut command = supervisor::shim(&self.build_dir.join("debug"), std::process::id(), self.nextest);
        command.args(["nextest", "run", "--no-fail-fast", "--message-format", "libtest-json-plus"]);
        let packages: BTreeSet<&str> = mutants.iter().flat_map(Mutant::packages).collect();
        command.args(packages.into_iter().flat_map(|package| ["--package", package]));
        command.args(filters(mutants));
        cargo::clean(&mut command);
        // Pinned together with nextest itself. In this format, each claim is named as it ends.
        command.env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1");
        // A mutant must not leave snapshots for review. A backtrace makes a red claim six times slower.
        command.env("INSTA_UPDATE", "no").env("RUST_BACKTRACE", "0").env_remove("KUBECONFIG");
        if let Some(dir) = self.tools_dir {
            command.env("E2E_TOOLS_DIR", dir);
        }
        // In its own process group, so that a Ctrl-C at the terminal reaches only us, and we pass it on exactly once.
        // cargo, above, stays in our group, because it relies on the terminal to signal the compilers.
        command.process_group(0).stdout(Stdio::piped()).stderr(file);
        let mut results = Results::default();
        let status = self.drive(command, &format!("{name}: claims"), |line| {
            if let Some((claim, held)) = results.read(line) {
                println!("      {} {claim}", if held { "green" } else { "red  " });
            }
        })?;
        Ok(Ran { results, exit_code: status.code() })
    }

    /// Returns the path of the output of [`Runner::run`].
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.log_dir.join(format!("{name}.log"))
    }

    /// Runs a command in the copy, and passes each line of its piped output to `on_line`.
    ///
    /// Must be called from the main thread, because a child dies with the thread that forks it.
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
            // Fails only when the receiver has gone.
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

/// Lists the claims that the mutants' filters select, using the repository's own build.
pub fn list(nextest: &Path, mutants: &[Mutant], offline: bool) -> anyhow::Result<Value> {
    let mut command = Command::new(nextest);
    // The whole workspace, as `ci` builds it: a different choice of packages would cause a rebuild.
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
    serde_json::from_slice(&output.stdout).context("nextest's list is not JSON")
}

/// Returns the arguments that select the claims of these mutants.
fn filters(mutants: &[Mutant]) -> impl Iterator<Item = &str> {
    let distinct: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.filter.as_str()).collect();
    distinct.into_iter().flat_map(|filter| ["--filterset", filter])
}
