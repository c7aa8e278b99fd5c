//! `e2e-supervisor serve`: owns the processes, answers on the socket, ends with its owner.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::found::ANNOUNCEMENT;
use super::leases::Leases;
use super::protocol::{Announcement, ErrorBody, LogTail, ProcessState, Released, Request, Response, Status};
use super::scratch::Scratch;
use super::{Error, batch, budget};
use harness_model::record::event::LeftBehind;
use harness_planes::spec::LeaseSpec;
use harness_planes::{Choice, Places, Provider};
use harness_processes::birth::{Birth, Recorded};
use harness_processes::{PATH, Settings, Table, tail};

/// How long programs may take to end before SIGKILL, when the whole run ends.
const GRACE: Duration = Duration::from_secs(1);

/// Options of `serve`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Id of the run; in the environment of each of its processes.
    pub run_id: String,
    /// Directory of results and logs, which stays.
    pub run_dir: PathBuf,
    /// The process to end with; `None` to stay until asked to end (`--keep`).
    pub owner: Option<u32>,
    /// Directory of the six control-plane binaries.
    pub tools_dir: PathBuf,
    /// The repository's `fixtures`.
    pub fixtures_dir: PathBuf,
    /// Cache of pre-seeded etcd directories.
    pub seeds_dir: PathBuf,
    /// Directory of `e2e-shim` and `e2e-janitor`.
    pub bin_dir: PathBuf,
    /// How control planes are created.
    pub provider: Choice,
    /// MiB that leases may use together; by default what the machine has available at the start.
    pub memory_budget_mib: Option<u64>,
}

/// Serves until the owner ends, a signal arrives, or a client requests a shutdown; then stops everything.
///
/// Must run on a current-thread runtime on the main thread: children die with the thread that forked them.
///
/// # Errors
/// When it cannot start: no tools, no scratch directory, owner gone.
pub async fn serve(options: Options) -> Result<(), Error> {
    let stop = component::shutdown::token().map_err(|e| Error::internal(format!("{e:#}")))?;
    let owner = options.owner.map(watch_pid).transpose()?;
    let budget_mib = match options.memory_budget_mib {
        Some(mib) => mib,
        None => budget::available_mib()?,
    };
    let announcement = options.run_dir.join(ANNOUNCEMENT);
    let scratch = Scratch::new(&options.run_id, &options.bin_dir.join("e2e-janitor"), &announcement)?;
    let result = match Server::new(options, &scratch, budget_mib, stop.clone()) {
        Ok(server) => server.run(owner, &stop).await,
        Err(error) => Err(error),
    };
    scratch.remove();
    result
}

/// Returns a token that is cancelled when the process ends. It uses a separate thread that never forks, because tokio's
/// pollable descriptors cannot be made from a pidfd without `unsafe`.
fn watch_pid(pid: u32) -> Result<CancellationToken, Error> {
    let gone = |e: rustix::io::Errno| Error::Usage(format!("--owner-pid {pid}: {e}; is the owner gone?"));
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| gone(rustix::io::Errno::SRCH))?;
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(gone)?;
    let ended = CancellationToken::new();
    let cancel = ended.clone();
    std::thread::Builder::new()
        .name("owner-watch".to_owned())
        .spawn(move || {
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
            cancel.cancel();
        })
        .map_err(|e| Error::internal(format!("watching the owner {pid}: {e}")))?;
    Ok(ended)
}

/// State of a running supervisor.
struct Server {
    options: Options,
    scratch: PathBuf,
    janitor: Recorded,
    budget_mib: u64,
    leases: Leases,
    /// What remains in existing clusters and was not reported to any client.
    untold: Mutex<Vec<LeftBehind>>,
    stop: CancellationToken,
    /// Why programs do not run in the scheduling class SCHED_BATCH.
    not_batch: Option<String>,
}

impl Server {
    fn new(
        options: Options,
        scratch: &Scratch,
        budget_mib: u64,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let (janitor, scratch) = (scratch.janitor().clone(), scratch.path());
        let home = scratch.join("home");
        std::fs::create_dir_all(&home)
            .map_err(|e| Error::Environment(format!("creating {}: {e}", home.display())))?;
        let not_batch = batch::refused(PATH);
        if let Some(why) = &not_batch {
            tracing::warn!(why, "programs run without the scheduling class SCHED_BATCH");
        }
        let table = Table::new(Settings {
            run_id: options.run_id.clone(),
            shim: options.bin_dir.join("e2e-shim"),
            home,
            batch: not_batch.is_none(),
            log: std::env::var(component::log::VARIABLE).ok().filter(|level| !level.is_empty()),
        });
        let places = Places {
            tools: options.tools_dir.clone(),
            fixtures: options.fixtures_dir.clone(),
            scratch: scratch.to_owned(),
            seeds: options.seeds_dir.clone(),
        };
        let provider = Arc::new(Provider::new(places, table.clone(), options.provider.clone())?);
        let leases = Leases::new(table, provider, options.run_dir.join("logs"), scratch.to_owned());
        let (scratch, untold) = (scratch.to_owned(), Mutex::default());
        Ok(Arc::new(Self { options, scratch, janitor, budget_mib, leases, untold, stop, not_batch }))
    }

    async fn run(
        self: Arc<Self>,
        owner: Option<CancellationToken>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let socket = self.scratch.join("supervisor.sock");
        let listener = UnixListener::bind(&socket)
            .map_err(|e| Error::Environment(format!("listening on {}: {e}", socket.display())))?;
        self.announce(&socket)?;
        tracing::info!(run = self.options.run_id, socket = %socket.display(), "supervisor listening");
        let why = tokio::select! {
            () = stop.cancelled() => "asked to",
            () = gone(owner) => "the owner ended",
            error = self.accept(listener) => return Err(error),
        };
        tracing::info!(why, "ending");
        let mut left = self.leases.end_all(GRACE).await;
        left.append(&mut self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        // Supervisors are found by this file: without it, an ended one is not mistaken for a running one.
        let _ = std::fs::remove_file(self.options.run_dir.join(ANNOUNCEMENT));
        if left.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = left.iter().map(ToString::to_string).collect();
        Err(Error::LeftBehind(texts.join("\n")))
    }

    fn announce(&self, socket: &Path) -> Result<(), Error> {
        let announcement = Announcement {
            pid: std::process::id(),
            socket: socket.to_owned(),
            scratch: self.scratch.clone(),
            run_id: self.options.run_id.clone(),
            tools_dir: self.options.tools_dir.clone(),
            run_dir: self.options.run_dir.clone(),
            fixtures_dir: self.options.fixtures_dir.clone(),
            birth: Birth::of(std::process::id()),
            janitor: Some(self.janitor.clone()),
        };
        let text =
            serde_json::to_string_pretty(&announcement).map_err(|e| Error::internal(e.to_string()))? + "\n";
        // In the scratch directory for programs that search from another state directory; in the run directory last,
        // because callers wait for it there.
        for dir in [&self.scratch, &self.options.run_dir] {
            let path = dir.join(ANNOUNCEMENT);
            let half = path.with_extension("tmp");
            std::fs::write(&half, &text)
                .and_then(|()| std::fs::rename(&half, &path))
                .map_err(|e| Error::Environment(format!("writing {}: {e}", path.display())))?;
        }
        Ok(())
    }

    async fn accept(self: &Arc<Self>, listener: UnixListener) -> Error {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move { server.converse(stream).await });
                }
                Err(error) => return Error::Environment(format!("accepting a connection: {error}")),
            }
        }
    }

    /// Serves one connection; what it leased is released when it closes.
    async fn converse(self: Arc<Self>, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut held = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            // A client that goes away while we work for it must not leave a half-created lease behind.
            let response = tokio::select! {
                response = self.respond(&line, &mut held) => response,
                () = closed(&mut lines) => break,
            };
            let mut text = serde_json::to_string(&response).unwrap_or_else(|error| {
                format!(r#"{{"error":{{"message":"encoding the response: {error}","kind":"internal"}}}}"#)
            });
            text.push('\n');
            if write.write_all(text.as_bytes()).await.is_err() {
                break;
            }
        }
        for lease in held {
            self.release_untold(&lease).await;
        }
    }

    /// Releases a lease whose client can no longer be told what remains: that is reported at the end.
    async fn release_untold(&self, lease: &str) {
        let left = self.leases.release(lease).await;
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
    }

    async fn respond(&self, line: &str, held: &mut Vec<String>) -> Response {
        let result = match serde_json::from_str(line) {
            Ok(request) => self.handle(request, held).await,
            Err(error) => Err(Error::Usage(format!("not a request: {error}"))),
        };
        result.unwrap_or_else(|error| {
            tracing::warn!(kind = ?error.kind(), %error, "request failed");
            Response::Error(ErrorBody::from(&error))
        })
    }

    async fn handle(&self, request: Request, held: &mut Vec<String>) -> Result<Response, Error> {
        match request {
            Request::Lease { spec, detached } => self.lease(&spec, detached, held).await,
            Request::Release { lease } => {
                self.leases.known(&lease)?;
                let left = self.leases.release(&lease).await;
                held.retain(|id| *id != lease);
                ok(Released { left })
            }
            Request::Spawn(request) => ok(self.leases.spawn(request).await?),
            Request::Component(request) => ok(self.leases.component(request).await?),
            Request::Status => ok(self.status()),
            Request::Processes => ok(self.leases.processes()),
            Request::Logs { name, cluster, lines } => {
                self.leases.fetch_logs().await;
                ok(self.logs(&name, cluster.as_deref(), lines)?)
            }
            Request::Shutdown => {
                self.stop.cancel();
                ok(json!({}))
            }
        }
    }

    async fn lease(
        &self,
        spec: &LeaseSpec,
        detached: bool,
        held: &mut Vec<String>,
    ) -> Result<Response, Error> {
        let need_mib = self.leases.need_mib(spec);
        let leased_mib = self.leases.memory_mib();
        budget::check(spec.clusters.len(), need_mib, self.budget_mib, leased_mib, budget::available_mib()?)?;
        let id = self.leases.open(spec);
        // Held from the first moment: from here on, the connection may end, or the start fail, at any time.
        held.push(id.clone());
        let result = self.leases.start(&id, spec).await;
        if result.is_err() {
            self.release_untold(&id).await;
        }
        if result.is_err() || detached {
            held.retain(|other| *other != id);
        }
        ok(result?)
    }

    fn status(&self) -> Status {
        let processes = self.leases.processes();
        Status {
            run_id: self.options.run_id.clone(),
            pid: std::process::id(),
            run_dir: self.options.run_dir.clone(),
            scratch: self.scratch.clone(),
            memory_budget_mib: self.budget_mib,
            memory_leased_mib: self.leases.memory_mib(),
            leases: self.leases.ready(),
            provider: self.leases.provider(),
            processes_running: processes.iter().filter(|p| p.state != ProcessState::Exited).count(),
            not_batch: self.not_batch.clone(),
            holds: self.leases.holds(),
            unasked_exits: processes.into_iter().filter(|process| process.unasked).collect(),
        }
    }

    fn logs(&self, name: &str, cluster: Option<&str>, lines: Option<usize>) -> Result<LogTail, Error> {
        let all = self.leases.processes();
        let matches = |process: &&super::protocol::ProcessInfo| {
            process.name == name && cluster.is_none_or(|c| process.cluster.as_deref() == Some(c))
        };
        let found: Vec<_> = all.iter().filter(matches).collect();
        match found.as_slice() {
            [one] => Ok(LogTail {
                log_file: one.log_file.clone(),
                lines: tail(&one.log_file, lines.unwrap_or(50)),
            }),
            [] => {
                let known: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
                Err(Error::Usage(format!("no process {name}; known: {}", known.join(", "))))
            }
            many => {
                let clusters: Vec<&str> = many.iter().filter_map(|p| p.cluster.as_deref()).collect();
                Err(Error::Usage(format!(
                    "{name} runs in several clusters; name one of {}",
                    clusters.join(", ")
                )))
            }
        }
    }
}

fn ok(value: impl serde::Serialize) -> Result<Response, Error> {
    serde_json::to_value(value)
        .map(Response::Ok)
        .map_err(|e: serde_json::Error| Error::internal(e.to_string()))
}

/// Resolves when the client has closed the connection (or, against the protocol, sent a second request
/// before the first was answered, which ends the connection as well).
async fn closed(lines: &mut Lines<BufReader<OwnedReadHalf>>) {
    if let Ok(Some(_)) = lines.next_line().await {
        tracing::warn!("a client sent a request before the last was answered; closing its connection");
    }
}

async fn gone(owner: Option<CancellationToken>) {
    match owner {
        Some(ended) => ended.cancelled().await,
        None => std::future::pending().await,
    }
}
