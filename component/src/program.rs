//! The frame of a component's `main`: logger, orderly end, metrics, client, ready file.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::args::ComponentArgs;
use crate::metrics::{self, Buckets};
use crate::{client, log, ready, shutdown};

/// A component that is about to work.
pub struct Program {
    /// Its client, limited as the flags say.
    pub client: Client,
    stop: CancellationToken,
    metrics: SocketAddr,
    ready_file: Option<PathBuf>,
}

impl Program {
    /// Installs logger, signal handlers and metrics, and connects as the flags say.
    ///
    /// # Errors
    /// When a handler cannot be installed, the metrics address is taken, or the kubeconfig does not load.
    pub async fn start(args: &ComponentArgs, buckets: &[Buckets]) -> anyhow::Result<Self> {
        log::init();
        let stop = shutdown::token()?;
        let metrics = metrics::serve(args.metrics_addr, metrics::install(buckets)?).await?;
        let client = client::connect(&args.kubeconfig, args.qps, args.burst).await?;
        Ok(Self { client, stop, metrics, ready_file: args.ready_file.clone() })
    }

    /// Tells the starter that the component works, and where its metrics are.
    ///
    /// # Errors
    /// When the ready file cannot be written.
    pub fn announce(&self) -> anyhow::Result<()> {
        ready::announce(self.ready_file.as_deref(), &[("metrics", self.metrics)])
    }

    /// Works until SIGTERM or SIGINT, or until the work ends by itself.
    ///
    /// # Errors
    /// The work's.
    pub async fn run(
        &self,
        name: &str,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            ended = work => ended.with_context(|| format!("{name} ended; see the lines above")),
        }
    }
}
