//! The fake provider: takes its time, and sometimes fails, both by a seed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::shard::args::Args;

/// A provider whose operations are waits.
#[derive(Debug)]
pub struct Provider {
    create: Operation,
    configure: Operation,
    drain: Operation,
    jitter: f64,
    rng: Mutex<ChaCha8Rng>,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    name: &'static str,
    latency: Duration,
    failure_rate: f64,
}

/// The provider's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider failed to {operation} machine {machine} (injected by its failure rate)")]
pub struct Error {
    operation: &'static str,
    machine: String,
}

impl Provider {
    /// A provider with the latencies, failure rates and seed of the command line.
    pub fn new(args: &Args) -> Self {
        let operation = |name, latency, failure_rate| Operation { name, latency, failure_rate };
        Self {
            create: operation("create", args.create_latency, args.create_failure_rate),
            configure: operation("configure", args.configure_latency, args.configure_failure_rate),
            drain: operation("drain", args.drain_latency, 0.0),
            jitter: args.latency_jitter,
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(args.seed)),
        }
    }

    /// Creates a machine.
    ///
    /// # Errors
    /// As often as `--create-failure-rate` says.
    pub async fn create(&self, machine: &str) -> Result<(), Error> {
        self.run(self.create, machine).await
    }

    /// Configures a machine for a cluster.
    ///
    /// # Errors
    /// As often as `--configure-failure-rate` says.
    pub async fn configure(&self, machine: &str) -> Result<(), Error> {
        self.run(self.configure, machine).await
    }

    /// Takes a machine from its cluster.
    ///
    /// # Errors
    /// Never, so far.
    pub async fn drain(&self, machine: &str) -> Result<(), Error> {
        self.run(self.drain, machine).await
    }

    async fn run(&self, operation: Operation, machine: &str) -> Result<(), Error> {
        let (vary, fail) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            (rng.random_range(-1.0..=1.0), rng.random_bool(operation.failure_rate))
        };
        let latency = operation.latency.mul_f64((1.0 + self.jitter * vary).max(0.0));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if fail {
            return Err(Error { operation: operation.name, machine: machine.to_owned() });
        }
        Ok(())
    }
}
