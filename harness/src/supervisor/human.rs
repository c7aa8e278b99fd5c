//! `e2e-supervisor down|status|logs|kubectl`: looking at control planes that run, and ending them.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use component::poll::{self, Look};

use super::client::Client;
use super::protocol::{Announcement, ProcessState};
use super::starter;
use super::{Error, internal};

/// What an end may take: clusters that are not ours are to be cleaned first.
const DOWN_CEILING: Duration = Duration::from_secs(600);

/// Which supervisor is meant.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// Directory whose sub-directories are run directories.
    #[arg(long, default_value = "target/e2e")]
    pub state_dir: PathBuf,
    /// Run id; needed when several supervisors run.
    #[arg(long)]
    pub run: Option<String>,
}

/// Ends a supervisor, or all that run.
///
/// # Errors
/// When none runs, several do and neither one nor all are meant, or one does not end.
pub async fn down(which: &Which, all: bool) -> Result<String, Error> {
    let found = if all { starter::running(&which.state_dir)? } else { vec![find(which)?] };
    let mut text = String::new();
    for (_, announcement) in found {
        Client::connect(&announcement.socket).await?.shutdown().await?;
        let goal = format!("the supervisor {} to end", announcement.pid);
        let waited = poll::until(&goal, Duration::from_millis(20), DOWN_CEILING, || {
            // Its last act is to remove this directory.
            let gone = !announcement.scratch.exists();
            std::future::ready(if gone { Look::Ready(()) } else { Look::NotYet("running") })
        });
        waited.await.map_err(|e| Error::Environment(e.to_string()))?;
        line(&mut text, format_args!("ended {}", announcement.run_id));
    }
    Ok(text)
}

/// What runs, in all supervisors or the one that is meant.
///
/// # Errors
/// When a supervisor does not answer.
pub async fn status(which: &Which) -> Result<String, Error> {
    let mut text = String::new();
    for (dir, announcement) in starter::running(&which.state_dir)? {
        if which.run.as_ref().is_some_and(|run| *run != announcement.run_id) {
            continue;
        }
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
        line(&mut text, format_args!("nothing runs (looked in {})", which.state_dir.display()));
    }
    Ok(text)
}

/// The end of a process's log.
///
/// # Errors
/// When there is no such process, or several and no cluster was named.
pub async fn logs(which: &Which, name: &str, cluster: Option<&str>, count: usize) -> Result<String, Error> {
    let (_, announcement) = find(which)?;
    let tail = Client::connect(&announcement.socket).await?.logs(name, cluster, count).await?;
    Ok(format!("{}\n==> {}\n", tail.lines.join("\n"), tail.log_file.display()))
}

/// Becomes kubectl, as `admin` of a cluster; returns only if it cannot.
///
/// # Errors
/// When no supervisor or no such cluster runs, or several do and none was named.
pub async fn kubectl(which: &Which, cluster: Option<&str>, args: &[String]) -> Result<String, Error> {
    let (_, announcement) = find(which)?;
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
    let kubeconfig = chosen.kubeconfigs.get("admin").ok_or_else(|| internal("no admin kubeconfig"))?;
    // A run on clusters that are there has brought none; then it is the caller's.
    let given =
        std::env::var_os("E2E_TOOLS_DIR").map(PathBuf::from).filter(|dir| !dir.as_os_str().is_empty());
    let program = kubectl_in(std::iter::once(announcement.tools_dir).chain(given))?;
    let error = std::process::Command::new(&program).arg("--kubeconfig").arg(kubeconfig).args(args).exec();
    Err(Error::Environment(format!("starting {}: {error}", program.display())))
}

fn kubectl_in(dirs: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Error> {
    let mut programs = dirs.map(|dir| dir.join("kubectl"));
    programs.find(|program| tools::is_executable(program)).ok_or_else(|| {
        Error::Environment("no kubectl is there; call it as `cargo xtask kubectl`, which gets one".to_owned())
    })
}

fn find(which: &Which) -> Result<(PathBuf, Announcement), Error> {
    let mut found = starter::running(&which.state_dir)?;
    let ids: Vec<String> = found.iter().map(|(_, a)| a.run_id.clone()).collect();
    if let Some(run) = &which.run {
        found.retain(|(_, announcement)| announcement.run_id == *run);
    }
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => {
            Err(Error::Usage(format!("several runs; name one with --run: {}", ids.join(", "))))
        }
        (None, _) if ids.is_empty() => Err(Error::Usage(format!(
            "no supervisor runs (looked in {}); start one with `cargo xtask up`",
            which.state_dir.display()
        ))),
        (None, _) => Err(Error::Usage(format!("no such run; there are: {}", ids.join(", ")))),
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string must succeed");
}
