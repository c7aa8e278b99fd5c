//! Scraping the Prometheus endpoints of a run.

use std::time::Duration;

use anyhow::Context;
use kube::Client;

use crate::observe::prometheus::{self, Series};
use crate::record::Scrape;

/// Names of control-plane series worth keeping: an apiserver has tens of thousands.
const CONTROL_PLANE: [&str; 15] = [
    "apiserver_request_total",
    "apiserver_flowcontrol_rejected_requests_total",
    "apiserver_flowcontrol_dispatched_requests_total",
    "apiserver_storage_objects",
    "apiserver_terminated_watchers_total",
    "scheduler_schedule_attempts_total",
    "scheduler_pending_pods",
    "scheduler_preemption_attempts_total",
    "scheduler_preemption_victims_count",
    "scheduler_queue_incoming_pods_total",
    "rest_client_requests_total",
    "rest_client_rate_limiter_duration_seconds_sum",
    "workqueue_depth",
    "go_cpu_classes_gc_total_cpu_seconds_total",
    "go_cpu_classes_gc_mark_idle_cpu_seconds_total",
];

/// Where a target's metrics are.
#[derive(Clone)]
pub enum Endpoint {
    /// Plain HTTP on loopback.
    Http(String),
    /// A Kubernetes component, by a client whose base address is the component.
    Kube(Client),
}

/// A target with the last values that were written for it.
#[derive(Clone)]
pub struct Target {
    /// `shard`, `operator`, `kube-apiserver`, ...
    pub name: String,
    /// Its cluster, if it belongs to one.
    pub cluster: Option<String>,
    /// Where.
    pub endpoint: Endpoint,
    last: Series,
}

impl Target {
    /// A new target.
    pub fn new(name: &str, cluster: Option<&str>, endpoint: Endpoint) -> Self {
        Self { name: name.to_owned(), cluster: cluster.map(str::to_owned), endpoint, last: Series::new() }
    }

    /// All series of the last scrape that was answered.
    pub fn series(&self) -> &Series {
        &self.last
    }

    /// Scrapes once; the result holds what changed since the last time.
    pub async fn scrape(&mut self, at_us: u64) -> Scrape {
        let text = match &self.endpoint {
            Endpoint::Http(url) => get(url).await,
            Endpoint::Kube(client) => get_kube(client, "/metrics").await,
        };
        let mut scrape =
            Scrape { at_us, target: self.name.clone(), cluster: self.cluster.clone(), ..Scrape::default() };
        match text {
            Err(error) => scrape.error = Some(format!("{error:#}")),
            Ok(text) => {
                let series = match self.endpoint {
                    Endpoint::Http(_) => prometheus::parse(&text, |_| true),
                    Endpoint::Kube(_) => prometheus::parse(&text, |name| CONTROL_PLANE.contains(&name)),
                };
                let changed = |(key, value): &(&String, &f64)| self.last.get(*key) != Some(*value);
                scrape.series = series.iter().filter(changed).map(|(k, v)| (k.clone(), *v)).collect();
                self.last = series;
            }
        }
        scrape
    }
}

/// GETs a loopback address.
///
/// # Errors
/// When there is no answer within five seconds, or it is no success.
pub async fn get(url: &str) -> anyhow::Result<String> {
    ask(url, |agent, url| agent.get(url).call()).await
}

/// POSTs nothing to a loopback address.
///
/// # Errors
/// As [`get`].
pub async fn post(url: &str) -> anyhow::Result<String> {
    ask(url, |agent, url| agent.post(url).send_empty()).await
}

async fn ask(
    url: &str,
    request: fn(&ureq::Agent, &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<String> {
    let url = url.to_owned();
    let ask = move || -> anyhow::Result<String> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .proxy(None)
            .build()
            .new_agent();
        let mut response = request(&agent, &url).with_context(|| format!("asking {url}"))?;
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string();
        body.with_context(|| format!("reading the answer of {url}"))
    };
    tokio::task::spawn_blocking(ask).await.context("the request was cancelled")?
}

/// GETs `path` of the component that `client` talks to.
///
/// # Errors
/// When there is no answer within thirty seconds (an apiserver under load renders slowly), or no success.
pub async fn get_kube(client: &Client, path: &str) -> anyhow::Result<String> {
    let request = http_request(path)?;
    let answer = tokio::time::timeout(Duration::from_secs(30), client.request_text(request));
    answer
        .await
        .with_context(|| format!("no answer to GET {path} in 30 s"))?
        .with_context(|| format!("GET {path}"))
}

fn http_request(path: &str) -> anyhow::Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).with_context(|| format!("{path} is no path"))
}
