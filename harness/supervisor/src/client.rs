//! Typed client of the supervisor.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::protocol::{
    ComponentRequest, LogTail, ProcessInfo, Released, Request, Response, SpawnRequest, Spawned, Status, Verb,
};
use crate::Error;
use harness_planes::spec::{Lease, LeaseSpec};

/// A connection to a supervisor. Clones share it.
///
/// Leases belong to the connection: they are released when the last clone is dropped (or the process ends),
/// unless taken detached. Other requests use connections of their own, so they may run at the same time.
#[derive(Clone)]
pub struct Client {
    socket: PathBuf,
    held: Arc<Mutex<BufReader<UnixStream>>>,
}

impl Client {
    /// Connects to the supervisor behind `socket`.
    ///
    /// # Errors
    /// [`Error::Environment`] when nothing listens there.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let held = Arc::new(Mutex::new(open(socket).await?));
        Ok(Self { socket: socket.to_owned(), held })
    }

    /// Leases control planes; returns when they are verified ready.
    ///
    /// # Errors
    /// Wrong spec (usage); too little memory, or a component that failed (environment, with its last log
    /// lines).
    pub async fn lease(&self, spec: &LeaseSpec) -> Result<Lease, Error> {
        self.take(spec, false).await
    }

    /// Same as [`Client::lease`], but the lease outlives the connection.
    ///
    /// # Errors
    /// Same as [`Client::lease`].
    pub async fn lease_detached(&self, spec: &LeaseSpec) -> Result<Lease, Error> {
        self.take(spec, true).await
    }

    async fn take(&self, spec: &LeaseSpec, detached: bool) -> Result<Lease, Error> {
        let request = Request::Lease { spec: spec.clone(), detached };
        exchange(&mut *self.held.lock().await, &request).await
    }

    /// Releases everything in a lease. Returns what could not be removed.
    ///
    /// # Errors
    /// When there is no such lease.
    pub async fn release(&self, lease: &str) -> Result<Released, Error> {
        self.ask(&Request::Release { lease: lease.to_owned() }).await
    }

    /// Starts a program for a lease; waits for its ready file if `readyFile` is set.
    ///
    /// # Errors
    /// When it does not start, or ends or is late before it is ready (with its last log lines).
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Spawned, Error> {
        self.ask(&Request::Spawn(request)).await
    }

    /// Starts, stops, kills, pauses, continues or restarts a process of a lease.
    ///
    /// # Errors
    /// When there is no such process, or it is in the wrong state for that.
    pub async fn component(
        &self,
        lease: &str,
        cluster: Option<&str>,
        name: &str,
        verb: Verb,
    ) -> Result<ProcessInfo, Error> {
        let request = ComponentRequest {
            lease: lease.to_owned(),
            cluster: cluster.map(str::to_owned),
            name: name.to_owned(),
            verb,
        };
        self.ask(&Request::Component(request)).await
    }

    /// Returns the state of the supervisor.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn status(&self) -> Result<Status, Error> {
        self.ask(&Request::Status).await
    }

    /// Returns all processes of the run, including ended ones.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>, Error> {
        self.ask(&Request::Processes).await
    }

    /// Returns the last `lines` lines of a process's log.
    ///
    /// # Errors
    /// When there is no such process, or several and no cluster was named.
    pub async fn logs(&self, name: &str, cluster: Option<&str>, lines: usize) -> Result<LogTail, Error> {
        let cluster = cluster.map(str::to_owned);
        self.ask(&Request::Logs { name: name.to_owned(), cluster, lines: Some(lines) }).await
    }

    /// Shuts down the supervisor and everything it runs.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.ask::<Value>(&Request::Shutdown).await.map(|_| ())
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Error> {
        exchange(&mut open(&self.socket).await?, request).await
    }
}

async fn open(socket: &Path) -> Result<BufReader<UnixStream>, Error> {
    let stream = UnixStream::connect(socket).await.map_err(|e| {
        Error::Environment(format!(
            "connecting to the supervisor at {}: {e}; has it ended?",
            socket.display()
        ))
    })?;
    Ok(BufReader::new(stream))
}

async fn exchange<T: DeserializeOwned>(
    stream: &mut BufReader<UnixStream>,
    request: &Request,
) -> Result<T, Error> {
    let lost =
        |e: std::io::Error| Error::Environment(format!("talking to the supervisor: {e}; has it ended?"));
    let mut text = serde_json::to_string(request).map_err(|e| Error::internal(e.to_string()))?;
    text.push('\n');
    stream.get_mut().write_all(text.as_bytes()).await.map_err(lost)?;
    let mut line = String::new();
    if stream.read_line(&mut line).await.map_err(lost)? == 0 {
        return Err(Error::Environment("the supervisor ended before it answered; see its log".to_owned()));
    }
    match serde_json::from_str(&line).map_err(|e| Error::internal(format!("the supervisor's answer: {e}")))? {
        Response::Ok(value) => serde_json::from_value(value)
            .map_err(|e| Error::internal(format!("the supervisor's answer: {e}"))),
        Response::Error(body) => Err(body.into()),
    }
}
