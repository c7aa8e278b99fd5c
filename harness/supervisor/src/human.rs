//! `e2e-supervisor down|status|logs|kubectl`: inspects running control planes and stops them.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use component::poll::{self, Look};

use super::client::Client;
use super::found::{self, Found, Scope};
use super::protocol::{Announcement, ProcessState};
use crate::Error;
use crate::tail::Tail;
use harness_model::profile;
use harness_planes::existing;
use harness_processes::birth::{Life, Recorded};

/// Longest time for a shutdown: clusters that are not ours have to be cleaned first.
const DOWN_CEILING: Duration = Duration::from_secs(600);

/// Selects a supervisor.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// Directory whose subdirectories are run directories; no others are searched [default: all runs of this checkout,
    /// wherever their directories are].
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// The directory of run directories that is searched in any case.
    #[arg(long, hide = true, default_value = "target/e2e")]
    pub near: PathBuf,
    /// Run id; needed when several supervisors are running. May also name a run of this user from another checkout.
    #[arg(long)]
    pub run: Option<String>,
}

/// Stops a supervisor, or all that are running.
///
/// # Errors
/// When none is running, several are running and neither one nor all are selected, or one does not end.
pub async fn down(which: &Which, all: bool) -> Result<String, Error> {
    let found = if all { which.running()? } else { vec![find(which)?] };
    let mut text = String::new();
    let (mut far, mut left) = (None, Vec::new());
    for found in found {
        let announcement = match found.reach {
            Ok(announcement) => announcement,
            Err(why) => {
                far = Some(Error::Environment(format!("run {}: {why}", found.run_id)));
                continue;
            }
        };
        let logs = found.run_dir.join("logs");
        let mut cleaning = Tail::of(logs.join(existing::CLEANUP_LOG));
        Client::connect(&announcement.socket).await?.shutdown().await?;
        let goal = format!("the supervisor {} to end", announcement.pid);
        let waited = poll::until(&goal, Duration::from_millis(20), DOWN_CEILING, || {
            // Its last act is to remove this directory; its janitor ends after it.
            let gone = !announcement.scratch.exists() && have_ended(&announcement);
            cleaning.new_lines().iter().for_each(|line| eprintln!("{line}"));
            std::future::ready(if gone { Look::Ready(()) } else { Look::NotYet("running") })
        });
        waited.await.map_err(|e| Error::Environment(e.to_string()))?;
        left.extend(existing::left_in(&logs).iter().map(ToString::to_string));
        line(&mut text, format_args!("ended {}", announcement.run_id));
    }
    if !left.is_empty() {
        return Err(Error::LeftBehind(format!("{text}{}", left.join("\n"))));
    }
    far.map_or(Ok(text), Err)
}

/// Whether a supervisor and its janitor have ended; what is out of sight in another pid namespace counts as ended.
fn have_ended(announcement: &Announcement) -> bool {
    let supervisor = Recorded { pid: announcement.pid, birth: announcement.birth.clone() };
    [Some(&supervisor), announcement.janitor.as_ref()]
        .into_iter()
        .flatten()
        .all(|process| process.life() != Life::Runs)
}

/// Shows what is running, in all supervisors or in the selected one.
///
/// # Errors
/// When a supervisor does not answer.
pub async fn status(which: &Which) -> Result<String, Error> {
    let mut text = String::new();
    for found in which.meant()? {
        let Found { run_id, run_dir: dir, reach } = found;
        let announcement = match reach {
            Ok(announcement) => announcement,
            Err(why) => {
                line(&mut text, format_args!("run {run_id}  {}  {why}", dir.display()));
                continue;
            }
        };
        let client = Client::connect(&announcement.socket).await?;
        let status = client.status().await?;
        line(
            &mut text,
            format_args!(
                "run {}  supervisor {}  {} processes  {} of {} MiB leased  {}",
                status.run_id,
                status.pid,
                status.processes_running,
                status.memory_leased_mib,
                status.memory_budget_mib,
                dir.display()
            ),
        );
        for process in client.processes().await? {
            let state = match process.state {
                ProcessState::Running => "running".to_owned(),
                ProcessState::Paused => "paused".to_owned(),
                ProcessState::Exited => {
                    let asked = if process.unasked { " UNASKED" } else { "" };
                    format!("exited{asked} (code {:?}, signal {:?})", process.exit_code, process.signal)
                }
            };
            let cluster = process.cluster.as_deref().unwrap_or("-");
            line(&mut text, format_args!("  {cluster:16} {:32} {:>8} {state}", process.name, process.pid));
        }
    }
    if text.is_empty() {
        line(&mut text, format_args!("nothing is running ({})", which.looked()));
    }
    which.elsewhere()?.iter().for_each(|run| line(&mut text, format_args!("elsewhere: run {run}")));
    Ok(text)
}

/// Returns the end of a process's log.
///
/// # Errors
/// When there is no such process, or several and no cluster was named.
pub async fn logs(which: &Which, name: &str, cluster: Option<&str>, count: usize) -> Result<String, Error> {
    let announcement = reach(which)?;
    let tail = Client::connect(&announcement.socket).await?.logs(name, cluster, count).await?;
    Ok(format!("{}\n==> {}\n", tail.lines.join("\n"), tail.log_file.display()))
}

/// Becomes kubectl, as `admin` of a cluster; returns only if it cannot.
///
/// # Errors
/// When no supervisor or no such cluster is running, or several are and none was named.
pub async fn kubectl(which: &Which, cluster: Option<&str>, args: &[String]) -> Result<String, Error> {
    let announcement = reach(which)?;
    let status = Client::connect(&announcement.socket).await?.status().await?;
    let all: Vec<_> = status.leases.iter().flat_map(|lease| &lease.clusters).collect();
    let names: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
    let chosen = match cluster {
        Some(name) => all.iter().find(|c| c.name == name),
        None if all.len() == 1 => all.first(),
        None => None,
    };
    let chosen =
        chosen.ok_or_else(|| Error::Usage(format!("name a cluster with --cluster: {}", names.join(", "))))?;
    let kubeconfig = chosen.kubeconfigs.get("admin").ok_or_else(|| Error::internal("no admin kubeconfig"))?;
    // A run on existing clusters has no kubectl of its own; then the caller's is used.
    let given =
        std::env::var_os("E2E_TOOLS_DIR").map(PathBuf::from).filter(|dir| !dir.as_os_str().is_empty());
    let program = kubectl_in(std::iter::once(announcement.tools_dir).chain(given))?;
    let error = std::process::Command::new(&program).arg("--kubeconfig").arg(kubeconfig).args(args).exec();
    Err(Error::Environment(format!("starting {}: {error}", program.display())))
}

fn kubectl_in(dirs: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Error> {
    let mut programs = dirs.map(|dir| dir.join("kubectl"));
    programs.find(|program| tools::is_executable(program)).ok_or_else(|| {
        Error::Environment("there is no kubectl; use `cargo xtask kubectl`, which fetches one".to_owned())
    })
}

impl Which {
    /// Returns the supervisors of this checkout, or with `--state-dir` those in that directory.
    fn running(&self) -> Result<Vec<Found>, Error> {
        match &self.state_dir {
            Some(dir) => found::running(&Scope::In(dir)),
            None => found::running(&Scope::Ours(&self.near, &fixtures())),
        }
    }

    /// Returns the supervisor that `--run` names, even of another checkout; without `--run`, all of this checkout.
    fn meant(&self) -> Result<Vec<Found>, Error> {
        let mut found = self.running()?;
        let Some(run) = &self.run else { return Ok(found) };
        found.retain(|found| found.run_id == *run);
        if found.is_empty() && self.state_dir.is_none() {
            found = found::running(&Scope::All(&self.near))?;
            found.retain(|found| found.run_id == *run);
        }
        Ok(found)
    }

    /// Returns the runs of this user that other checkouts started, each with its directory; none with `--state-dir` or
    /// `--run`.
    fn elsewhere(&self) -> Result<Vec<String>, Error> {
        if self.state_dir.is_some() || self.run.is_some() {
            return Ok(Vec::new());
        }
        let ours = self.running()?;
        let others =
            found::running(&Scope::All(&self.near))?.into_iter().filter(|found| !ours.contains(found));
        Ok(others.map(|found| format!("{} ({})", found.run_id, found.run_dir.display())).collect())
    }

    fn looked(&self) -> String {
        match &self.state_dir {
            Some(dir) => format!("looked in {}", dir.display()),
            None => format!("looked in {} and for other runs of this checkout", self.near.display()),
        }
    }
}

fn fixtures() -> PathBuf {
    let dir = profile::fixtures_dir();
    dir.canonicalize().unwrap_or(dir)
}

fn find(which: &Which) -> Result<Found, Error> {
    let mut found = which.meant()?;
    let ids: Vec<String> = found.iter().map(|found| found.run_id.clone()).collect();
    if let (Some(one), true) = (found.pop(), found.is_empty()) {
        return Ok(one);
    }
    if !ids.is_empty() {
        return Err(Error::Usage(format!("several runs; name one with --run: {}", ids.join(", "))));
    }
    let known: Vec<String> = which.running()?.into_iter().map(|found| found.run_id).collect();
    let others = which.elsewhere()?;
    Err(Error::Usage(match (known.is_empty(), others.is_empty()) {
        (false, _) => format!("no such run; there are: {}", known.join(", ")),
        (true, false) => format!(
            "no supervisor of this checkout is running; name one of the others with --run: {}",
            others.join(", ")
        ),
        (true, true) => {
            format!("no supervisor is running ({}); start one with `cargo xtask up`", which.looked())
        }
    }))
}

/// Same as [`find`], but the supervisor must be reachable.
fn reach(which: &Which) -> Result<Announcement, Error> {
    let found = find(which)?;
    found.reach.map_err(|why| Error::Environment(format!("run {}: {why}", found.run_id)))
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string must succeed");
}
