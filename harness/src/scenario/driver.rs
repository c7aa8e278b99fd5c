//! Talking to the load-drivers through their control sockets: one JSON request per line, one JSON response
//! per line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::scenario::fleet::flags;
use harness_model::record::LoadFailure;
use harness_programs::load_driver::{Request, Totals};

/// How long a driver may take to answer a question, however busy the machine is.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// The load-driver of one cluster.
#[derive(Clone, Debug)]
pub struct Driver {
    cluster: String,
    socket: PathBuf,
}

impl Driver {
    /// Addresses the driver behind `socket`.
    pub fn new(cluster: &str, socket: &Path) -> Self {
        Self { cluster: cluster.to_owned(), socket: socket.to_owned() }
    }

    /// Returns the flags that make a load-driver serve `cluster` as planned.
    pub fn args(cluster: &str, plan: &Path, socket: &Path, events: &Path) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        flags([
            ("cluster-id", cluster.to_owned()),
            ("plan", text(plan)),
            ("control-socket", text(socket)),
            ("events", text(events)),
        ])
    }

    /// Returns the name of its cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Declares all workloads, at the profile's pace.
    ///
    /// # Errors
    /// When the driver does not answer, or refuses.
    pub async fn fill(&self) -> anyhow::Result<()> {
        self.ask(&Request::Fill {}).await.map(drop)
    }

    /// Starts churn, ageing and the demand wave.
    ///
    /// # Errors
    /// Same as [`Self::fill`].
    pub async fn soak(&self) -> anyhow::Result<()> {
        self.ask(&Request::Soak { seconds: None }).await.map(drop)
    }

    /// Stops churn and wave; replicas return to the plan's.
    ///
    /// # Errors
    /// Same as [`Self::fill`].
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.ask(&Request::Stop {}).await.map(drop)
    }

    /// Returns what it has done so far.
    ///
    /// # Errors
    /// Same as [`Self::fill`].
    pub async fn status(&self) -> anyhow::Result<Value> {
        self.ask(&Request::Status {}).await
    }

    /// Returns what it could not do so far.
    ///
    /// # Errors
    /// When the driver does not answer in time, or not in this version's format.
    pub async fn failures(&self) -> anyhow::Result<Vec<LoadFailure>> {
        let status = tokio::time::timeout(ANSWERS_WITHIN, self.status()).await;
        let status = status.with_context(|| {
            format!(
                "the load-driver of {} did not answer within {} s",
                self.cluster,
                ANSWERS_WITHIN.as_secs()
            )
        })??;
        LoadFailure::in_status(&status).context("reading load-driver's status")
    }

    /// Returns replicas and Pods as the driver counts them.
    ///
    /// # Errors
    /// Same as [`Self::fill`], or when its status has no counts.
    pub async fn counts(&self) -> anyhow::Result<Totals> {
        let status = self.status().await?;
        Totals::deserialize(&status["counts"]).with_context(|| {
            format!("reading the counts in the status of {}'s load-driver: {status}", self.cluster)
        })
    }

    async fn ask(&self, request: &Request) -> anyhow::Result<Value> {
        let line = serde_json::to_string(request).context("a request must serialise")?;
        let what = || format!("asking the load-driver of {}: {line}", self.cluster);
        let stream = UnixStream::connect(&self.socket).await.with_context(what)?;
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(format!("{line}\n").as_bytes()).await.with_context(what)?;
        let mut answer = String::new();
        if stream.read_line(&mut answer).await.with_context(what)? == 0 {
            bail!("{}: it hung up; see logs/{}/load-driver.log", what(), self.cluster);
        }
        let mut answer: Value = serde_json::from_str(&answer).with_context(what)?;
        if let Some(error) = answer.get("error") {
            bail!("{}: {error}", what());
        }
        Ok(answer.get_mut("ok").map_or(Value::Null, Value::take))
    }
}
