//! `e2e-supervisor`: owns the control planes and every other process of a run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use harness::supervisor::{Error, server};

/// Owns the processes of a run; leaves nothing behind but the run directory.
///
/// Exit codes: 0 ended in order, 2 usage, 3 environment (missing tool, memory, port), 1 a bug.
#[derive(Parser)]
#[command(name = "e2e-supervisor", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a supervisor in the foreground until its owner ends, a signal comes, or a client says shutdown.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Names the run; in the environment (E2E_RUN_ID) of every process of it.
    #[arg(long)]
    run_id: String,
    /// Directory for supervisor.json and logs/; made if need be.
    #[arg(long)]
    run_dir: PathBuf,
    /// End when this process ends.
    #[arg(long, conflicts_with = "keep", required_unless_present = "keep")]
    owner_pid: Option<u32>,
    /// Stay until told to end.
    #[arg(long)]
    keep: bool,
    /// Directory of etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok.
    #[arg(long)]
    tools_dir: PathBuf,
    /// MiB that leases may take together [default: what is available at the start].
    #[arg(long)]
    memory_budget_mib: Option<u64>,
    /// The repository's fixtures.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures"))]
    fixtures_dir: PathBuf,
}

fn main() -> ExitCode {
    component::log::init();
    let result = match Cli::parse().command {
        Command::Serve(serve) => run_server(serve),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_server(serve: Serve) -> Result<(), Error> {
    let serve = absolute(serve)?;
    bear_the_run_id(&serve.run_id)?;
    // Out of the starter's session: a Ctrl-C there reaches the owner, and we end with the owner. Fails only
    // for a group leader, which is separate enough.
    let _ = rustix::process::setsid();
    let bin_dir = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(PathBuf::from))
        .ok_or_else(|| Error::Internal("cannot tell the directory of this program".to_owned()))?;
    let options = server::Options {
        run_id: serve.run_id,
        run_dir: serve.run_dir,
        owner: serve.owner_pid,
        tools_dir: serve.tools_dir,
        fixtures_dir: serve.fixtures_dir,
        seeds_dir: seeds_dir()?,
        bin_dir,
        memory_budget_mib: serve.memory_budget_mib,
    };
    // On the main thread alone: children die with the thread that forked them (see e2e-shim).
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::Internal(format!("starting the runtime: {e}")))?
        .block_on(server::serve(options))
}

/// Processes of a run are found by their environment; a supervisor that was started without the variable
/// starts itself again with it (same process id).
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

/// `$E2E_CACHE_DIR/seeds`, or below `~/.cache/fleet-e2e`.
fn seeds_dir() -> Result<PathBuf, Error> {
    if let Some(dir) = std::env::var_os("E2E_CACHE_DIR") {
        return Ok(PathBuf::from(dir).join("seeds"));
    }
    let home = std::env::var_os("HOME")
        .ok_or_else(|| Error::Usage("neither E2E_CACHE_DIR nor HOME is set; set one".to_owned()))?;
    Ok(PathBuf::from(home).join(".cache/fleet-e2e/seeds"))
}
