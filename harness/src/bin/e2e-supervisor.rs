//! `e2e-supervisor`: owns the control planes and every other process of a run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use harness::up::{self, Up};
use harness_planes::Choice;
use harness_planes::existing::{self, Adopt};
use harness_supervisor::human::{self, Which};
use harness_supervisor::{Error, server, starter};

/// Owns the processes of a run; leaves only the run directory behind.
///
/// Exit codes: 0 ended normally, 2 usage, 3 environment (missing tool, memory, port), 5 objects of a run remain in an
/// existing cluster (they and the next command are listed), 1 a bug.
#[derive(Parser)]
#[command(name = "e2e-supervisor", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a supervisor in the foreground until its owner ends, a signal arrives, or a client requests its shutdown.
    Serve(Serve),
    /// Starts control planes that stay until `down`, optionally with a profile's programs.
    Up(Up),
    /// Shows what a run does to an existing cluster, and sets or removes the label that allows it.
    Adopt(Adopt),
    /// Removes what the run of a scratch directory has created in existing clusters; the janitor calls it.
    #[command(hide = true)]
    Sweep {
        /// The scratch directory.
        scratch: PathBuf,
    },
    /// Stops control planes that `up` started.
    Down {
        #[command(flatten)]
        which: Which,
        /// All supervisors, including those of running scenarios.
        #[arg(long)]
        all: bool,
    },
    /// Shows what is running.
    Status(Which),
    /// Shows the end of a process's log.
    Logs {
        #[command(flatten)]
        which: Which,
        /// Component, e.g. kube-apiserver.
        name: String,
        /// Cluster, e.g. kwok-cluster-0; needed when there are several.
        #[arg(long)]
        cluster: Option<String>,
        /// Number of lines.
        #[arg(long, default_value_t = 50)]
        lines: usize,
    },
    /// Runs kubectl as admin of a cluster.
    Kubectl {
        #[command(flatten)]
        which: Which,
        /// Cluster, e.g. kwok-cluster-0; needed when there are several.
        #[arg(long)]
        cluster: Option<String>,
        /// Arguments of kubectl, after `--`.
        #[arg(last = true)]
        args: Vec<String>,
    },
}

#[derive(Args)]
struct Serve {
    /// Id of the run; in the environment (E2E_RUN_ID) of each of its processes.
    #[arg(long)]
    run_id: String,
    /// Directory for supervisor.json and logs/; created if needed.
    #[arg(long)]
    run_dir: PathBuf,
    /// End when this process ends.
    #[arg(long, conflicts_with = "keep", required_unless_present = "keep")]
    owner_pid: Option<u32>,
    /// Stay until asked to end.
    #[arg(long)]
    keep: bool,
    /// Directory of etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok.
    #[arg(long)]
    tools_dir: PathBuf,
    /// MiB that leases may use together [default: what is available at the start].
    #[arg(long)]
    memory_budget_mib: Option<u64>,
    /// The repository's fixtures.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures"))]
    fixtures_dir: PathBuf,
}

fn main() -> ExitCode {
    component::log::init_asked();
    match run(Cli::parse().command) {
        Ok(()) => platform::output::end(0),
        Err(error) => {
            platform::tell!("Error: {error}");
            platform::output::end(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    if let Command::Serve(serve) = command {
        return run_server(serve);
    }
    let text = runtime()?.block_on(async {
        match &command {
            Command::Up(args) => up::up(args).await,
            Command::Adopt(args) => existing::adopt(args).await,
            Command::Sweep { scratch } => existing::sweep_scratch(scratch).await.map(|()| String::new()),
            Command::Down { which, all } => human::down(which, *all).await,
            Command::Logs { which, name, cluster, lines } => {
                human::logs(which, name, cluster.as_deref(), *lines).await
            }
            Command::Kubectl { which, cluster, args } => {
                human::kubectl(which, cluster.as_deref(), args).await
            }
            Command::Status(which) => human::status(which).await,
            Command::Serve(_) => Ok(String::new()),
        }
    })?;
    platform::output::write(text.as_bytes());
    Ok(())
}

/// Creates a runtime on this thread alone: children die with the thread that forked them (see e2e-shim).
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::Internal(format!("starting the runtime: {e}")))
}

fn run_server(serve: Serve) -> Result<(), Error> {
    let serve = absolute(serve)?;
    bear_the_run_id(&serve.run_id)?;
    // Leave the starter's session: a Ctrl-C there reaches the owner, and we end with the owner. This fails only for a
    // group leader, which is separate enough.
    let _ = rustix::process::setsid();
    let options = server::Options {
        run_id: serve.run_id,
        run_dir: serve.run_dir,
        owner: serve.owner_pid,
        tools_dir: serve.tools_dir,
        fixtures_dir: serve.fixtures_dir,
        seeds_dir: seeds_dir()?,
        bin_dir: starter::bin_dir()?,
        provider: Choice::from_env()?,
        memory_budget_mib: serve.memory_budget_mib,
    };
    runtime()?.block_on(server::serve(options))
}

/// Ensures that this process has the run id in its environment, by which processes of a run are found. A supervisor
/// that was started without the variable starts itself again with it (same process id).
fn bear_the_run_id(run_id: &str) -> Result<(), Error> {
    use std::os::unix::process::CommandExt;
    if std::env::var("E2E_RUN_ID").is_ok_and(|value| value == run_id) {
        return Ok(());
    }
    let exe = std::env::current_exe().map_err(|e| Error::Internal(format!("finding this program: {e}")))?;
    let error =
        std::process::Command::new(exe).args(std::env::args_os().skip(1)).env("E2E_RUN_ID", run_id).exec();
    Err(Error::Internal(format!("starting again with E2E_RUN_ID: {error}")))
}

fn absolute(mut serve: Serve) -> Result<Serve, Error> {
    let wrong = |path: &PathBuf, e: std::io::Error| Error::Usage(format!("{}: {e}", path.display()));
    std::fs::create_dir_all(&serve.run_dir).map_err(|e| wrong(&serve.run_dir, e))?;
    for path in [&mut serve.run_dir, &mut serve.tools_dir, &mut serve.fixtures_dir] {
        *path = path.canonicalize().map_err(|e| wrong(path, e))?;
    }
    Ok(serve)
}

/// Returns the directory next to the tools in the cache: `$E2E_CACHE_DIR/seeds`, or below `~/.cache/fleet-e2e`.
fn seeds_dir() -> Result<PathBuf, Error> {
    let root = tools::cache_root(&tools::Options::from_env()).map_err(|e| Error::Usage(e.to_string()))?;
    Ok(root.join("seeds"))
}
