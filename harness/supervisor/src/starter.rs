//! Starts a supervisor, for programs that are not supervisors themselves.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use component::poll::{self, Look};

use super::protocol::Announcement;
use crate::Error;
use harness_planes::Choice;
use harness_processes::tail;

/// How long a supervisor may take until it listens: it only creates a directory and a socket.
const CEILING: Duration = Duration::from_secs(20);

/// What the supervisor's lifetime depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It ends with that process.
    Pid(u32),
    /// It stays until it is asked to end.
    Keep,
}

/// What a new supervisor needs to know.
#[derive(Clone, Debug)]
pub struct Start {
    /// Id of the run.
    pub run_id: String,
    /// Directory of results and logs; the supervisor's own log is `logs/supervisor.log` there.
    pub run_dir: PathBuf,
    /// What its lifetime depends on.
    pub owner: Owner,
    /// Directory of `e2e-supervisor`, `e2e-shim` and `e2e-janitor`.
    pub bin_dir: PathBuf,
    /// Directory of the six control-plane programs.
    pub tools_dir: PathBuf,
    /// How it creates control planes.
    pub provider: Choice,
    /// MiB that leases may use together; by default what is available.
    pub memory_budget_mib: Option<u64>,
}

/// Starts a supervisor and waits until it listens.
///
/// # Errors
/// When it cannot be started or ends at once; the message has the end of its log.
pub async fn start(start: &Start) -> Result<(Child, Announcement), Error> {
    let log = start.run_dir.join("logs/supervisor.log");
    let mut child = spawn(start, &log)?;
    let file = start.run_dir.join("supervisor.json");
    let pid = child.id();
    let waited = poll::until("the supervisor to listen", Duration::from_millis(20), CEILING, || {
        // Evaluated before the file is read: otherwise an end between the two would go unnoticed.
        let ended = child.try_wait().ok().flatten();
        let look = match (read(&file), ended) {
            (Ok(found), None) if found.pid == pid => Look::Ready(found),
            (_, Some(status)) => {
                Look::Never(format!("it ended ({status}); {}:\n{}", log.display(), tail(&log, 12).join("\n")))
            }
            (Ok(found), None) => Look::NotYet(format!("a file of process {}", found.pid)),
            (Err(error), None) => Look::NotYet(error),
        };
        std::future::ready(look)
    });
    let announcement = waited.await.map_err(|e| Error::Environment(e.to_string()))?;
    Ok((child, announcement))
}

fn spawn(start: &Start, log: &Path) -> Result<Child, Error> {
    let failed = |what: &str, path: &Path, e: std::io::Error| {
        Error::Environment(format!("{what} {}: {e}", path.display()))
    };
    let dir = start.run_dir.join("logs");
    std::fs::create_dir_all(&dir).map_err(|e| failed("creating", &dir, e))?;
    let out =
        OpenOptions::new().create(true).append(true).open(log).map_err(|e| failed("opening", log, e))?;
    let err = out.try_clone().map_err(|e| failed("opening", log, e))?;
    let program = start.bin_dir.join("e2e-supervisor");
    let mut command = Command::new(&program);
    command.arg("serve").arg("--run-id").arg(&start.run_id).arg("--run-dir").arg(&start.run_dir);
    command.arg("--tools-dir").arg(&start.tools_dir);
    match start.owner {
        Owner::Pid(pid) => command.arg("--owner-pid").arg(pid.to_string()),
        Owner::Keep => command.arg("--keep"),
    };
    if let Some(mib) = start.memory_budget_mib {
        command.arg("--memory-budget-mib").arg(mib.to_string());
    }
    command
        .envs(start.provider.variables())
        .env("E2E_RUN_ID", &start.run_id)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|e| failed("starting", &program, e))
}

/// Reads a `supervisor.json`.
pub(super) fn read(path: &Path) -> Result<Announcement, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Returns the directory of the harness's programs: `$E2E_BIN_DIR`, or where this program is (test programs are in
/// `deps` below it).
///
/// # Errors
/// When `e2e-supervisor` is not there.
pub fn bin_dir() -> Result<PathBuf, Error> {
    let dir = match std::env::var_os("E2E_BIN_DIR").filter(|value| !value.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            let exe =
                std::env::current_exe().map_err(|e| Error::Internal(format!("finding this program: {e}")))?;
            let dir = exe.parent().unwrap_or(Path::new("/"));
            if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir }.to_owned()
        }
    };
    if dir.join("e2e-supervisor").is_file() {
        return Ok(dir);
    }
    Err(Error::Environment(format!(
        "no e2e-supervisor in {}; build it (`cargo build --workspace --bins`) or set E2E_BIN_DIR",
        dir.display()
    )))
}

/// Returns the directory of the control-plane programs that the provider starts: `$E2E_TOOLS_DIR`, or the cache.
/// Fetches or builds them if needed (takes minutes, once).
///
/// # Errors
/// What is missing, as reported by `tools`.
pub fn tools_dir(provider: &Choice) -> Result<PathBuf, Error> {
    let options = tools::Options::from_env();
    let small = options.tools_dir.is_some() || matches!(provider, Choice::Existing(_));
    // For control planes of our own, everything is fetched or built: also kubectl, and the content of a node image.
    let names = if small { provider.programs() } else { &tools::pins::TOOL_NAMES };
    let tools = tools::ensure_programs(&options, names);
    tools.map(|set| set.dir).map_err(|e| Error::Environment(e.to_string()))
}
