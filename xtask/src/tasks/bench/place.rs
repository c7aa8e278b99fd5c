//! A directory with clusters that end with this process, however it ends.
//!
//! The components of a kwokctl cluster are daemons, which no parent-death signal reaches, and control planes that `up`
//! created stay until `down`. Therefore a second process waits for the end of a pipe from this one, which comes with
//! any kind of death. It then stops the clusters and removes the directory. There is no other way to stop them, so that
//! each measurement proves that this one works.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Signal, setsid};

use super::processes;

/// Prefix of the directory's name. No other directory is ever removed.
const PREFIX: &str = "e2e-bench-";
/// The subdirectory with the run directories of our own control planes.
const OURS: &str = "ours";
/// The process that stops control planes in an orderly way on request.
const SUPERVISOR: &str = "e2e-supervisor";
/// Time for that before what is left is killed. If as much time passes again, it is an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// Number of consecutive polls that must find no process: a process that was about to start another one may have been
/// stopped between two polls.
const LOOKS_IN_A_ROW: u32 = 3;
/// Time between two polls.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of the hidden `cargo xtask bench-keeper`.
#[derive(Debug, clap::Args)]
pub struct KeeperArgs {
    /// The directory of the clusters.
    dir: PathBuf,
}

/// A directory with clusters.
pub struct Place {
    dir: PathBuf,
    keeper: Child,
}

impl Place {
    /// Creates the directory and starts the process that cleans it up.
    ///
    /// # Errors
    /// When either fails.
    pub fn new() -> anyhow::Result<Place> {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let dir =
            dir.context("cannot create a directory for the clusters; set TMPDIR to one that is writable")?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.arg("bench-keeper").arg(dir.path()).env_remove("E2E_RUN_ID");
        // A Ctrl-C at the terminal is not meant for the keeper.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let keeper = command.spawn().context("cannot start this program a second time, to tidy up")?;
        Ok(Place { dir: dir.keep(), keeper })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns the directory for the run directories of our own control planes.
    pub fn ours(&self) -> PathBuf {
        self.dir.join(OURS)
    }

    /// Returns the `E2E_RUN_ID` of every process that is started here, except our own control planes, which have their
    /// own.
    pub fn run_id(&self) -> String {
        name(&self.dir)
    }

    /// Returns the CPU time that the components of the clusters here have used so far, in milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        let clients = ["kubectl", "kwokctl", SUPERVISOR, "e2e-janitor"];
        let found = processes::of(&run_ids(&self.dir));
        let components = found.iter().filter(|process| !clients.contains(&process.name.as_str()));
        components.map(processes::Process::cpu_ms).sum()
    }

    /// Stops the clusters and removes the directory.
    ///
    /// # Errors
    /// When something was left, which stderr then names.
    pub fn close(mut self) -> anyhow::Result<()> {
        drop(self.keeper.stdin.take());
        let status = self.keeper.wait().context("cannot wait for the keeper")?;
        ensure!(status.success(), "{} was not tidied up ({status})", self.dir.display());
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The place is closed already, or we are returning an error. The keeper itself reports what it cannot do.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Waits until the process that started this one has ended, then stops the clusters and removes their directory.
pub fn keep(args: &KeeperArgs) -> anyhow::Result<u8> {
    let dir = &args.dir;
    if !dir.is_absolute() || !name(dir).starts_with(PREFIX) {
        bail!("{} is not a bench directory (expected /…/{PREFIX}…); not touching it", dir.display());
    }
    // Leave the terminal's session. This fails only for a group leader, which is separate enough.
    let _ = setsid();
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot wait for the end of the bench")?;
    end_processes(dir)?;
    remove(dir)?;
    Ok(0)
}

fn end_processes(dir: &Path) -> anyhow::Result<()> {
    let start = Instant::now();
    let (mut quiet_looks, mut told) = (0, false);
    while quiet_looks < LOOKS_IN_A_ROW {
        let left = processes::of(&run_ids(dir));
        quiet_looks = if left.is_empty() { quiet_looks + 1 } else { 0 };
        if start.elapsed() > 2 * PATIENCE {
            let names: Vec<_> = left.iter().map(|process| process.name.as_str()).collect();
            bail!("processes of {} do not end: {}; kill them by hand", dir.display(), names.join(", "));
        }
        for process in &left {
            let is_daemon = process.run_id == name(dir);
            if is_daemon || start.elapsed() > PATIENCE {
                process.signal(Signal::KILL);
            } else if process.name == SUPERVISOR && !told {
                // Everything that it started ends with it.
                process.signal(Signal::TERM);
                told = true;
            }
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Returns the run ids of everything that runs here: the directory's own, and one for each run directory of our control
/// planes.
fn run_ids(dir: &Path) -> Vec<String> {
    let ours = fs::read_dir(dir.join(OURS)).into_iter().flatten().flatten();
    ours.filter_map(|entry| entry.file_name().into_string().ok()).chain([name(dir)]).collect()
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}; remove it by hand", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bears_its_name_ends_with_it_and_the_directory_goes() {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap().keep();
        fs::create_dir_all(dir.join(OURS).join("a-run")).unwrap();
        assert_eq!(run_ids(&dir), ["a-run".to_owned(), name(&dir)]);
        let mut command = Command::new("sleep");
        let mut child = command.arg("60").env("E2E_RUN_ID", name(&dir)).spawn().unwrap();
        // Reaped while the test polls for it, as init does with daemons.
        let reaper = thread::spawn(move || child.wait().unwrap());
        end_processes(&dir).unwrap();
        assert!(!reaper.join().unwrap().success());
        remove(&dir).unwrap();
        remove(&dir).unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn no_other_directory_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let error = keep(&KeeperArgs { dir: dir.path().to_owned() }).unwrap_err().to_string();
        assert!(error.contains("not touching it") && dir.path().exists(), "{error}");
    }
}
