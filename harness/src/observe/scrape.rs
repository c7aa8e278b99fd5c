//! Scraping the Prometheus endpoints of a run.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use kube::Client;

use harness_model::families;
use harness_model::prometheus::{self, Series};
use harness_model::record::Scrape;

/// Where a target's metrics are found.
#[derive(Clone)]
pub enum Endpoint {
    /// Plain HTTP on loopback.
    Http(String),
    /// A Kubernetes component, through a client whose base address is the component.
    Kube(Client),
}

/// A target with the last values that were written for it.
#[derive(Clone)]
pub struct Target {
    /// `shard`, `operator`, `kube-apiserver`, ...
    pub name: String,
    /// Its cluster, if it belongs to one.
    pub cluster: Option<String>,
    /// Where its metrics are found.
    pub endpoint: Endpoint,
    last: Series,
    /// Families that it showed in any scrape so far.
    shown: BTreeSet<String>,
}

impl Target {
    /// Creates a target.
    pub fn new(name: &str, cluster: Option<&str>, endpoint: Endpoint) -> Self {
        let (last, shown) = (Series::new(), BTreeSet::new());
        Self { name: name.to_owned(), cluster: cluster.map(str::to_owned), endpoint, last, shown }
    }

    /// Returns all series of the last scrape that was answered.
    pub fn series(&self) -> &Series {
        &self.last
    }

    /// Scrapes once. The result holds what changed since the last time, and the families that the target shows for the
    /// first time.
    pub async fn scrape(&mut self, at_us: u64) -> Scrape {
        let text = match &self.endpoint {
            Endpoint::Http(url) => get(url).await,
            Endpoint::Kube(client) => get_kube(client, "/metrics").await,
        };
        let mut scrape =
            Scrape { at_us, target: self.name.clone(), cluster: self.cluster.clone(), ..Scrape::default() };
        match text {
            Err(error) => scrape.error = Some(format!("{error:#}")),
            Ok(text) => self.take_in(&text, &mut scrape),
        }
        scrape
    }

    fn take_in(&mut self, text: &str, scrape: &mut Scrape) {
        let series = match self.endpoint {
            Endpoint::Http(_) => prometheus::parse(text, |_| true),
            Endpoint::Kube(_) => prometheus::parse(text, families::is_kept),
        };
        let changed = |(key, value): &(&String, &f64)| self.last.get(*key) != Some(*value);
        scrape.series = series.iter().filter(changed).map(|(k, v)| (k.clone(), *v)).collect();
        self.last = series;
        scrape.families = families::announced(text).difference(&self.shown).cloned().collect();
        self.shown.extend(scrape.families.iter().cloned());
    }
}

/// GETs a loopback address.
///
/// # Errors
/// When there is no answer within five seconds, or the answer is not a success.
pub async fn get(url: &str) -> anyhow::Result<String> {
    ask(url, |agent, url| agent.get(url).call()).await
}

/// POSTs an empty body to a loopback address.
///
/// # Errors
/// Same as [`get`].
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
/// When there is no answer within thirty seconds (an apiserver under load renders slowly), or the answer is not a
/// success.
pub async fn get_kube(client: &Client, path: &str) -> anyhow::Result<String> {
    let request = http_request(path)?;
    let answer = tokio::time::timeout(Duration::from_secs(30), client.request_text(request));
    answer
        .await
        .with_context(|| format!("no answer to GET {path} in 30 s"))?
        .with_context(|| format!("GET {path}"))
}

fn http_request(path: &str) -> anyhow::Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).with_context(|| format!("{path} is not a path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_told_once_even_if_it_has_no_series() {
        let mut target = Target::new("operator", None, Endpoint::Http(String::new()));
        let name = families::CLIENT_WAITED.name;
        let text = format!("# TYPE {name} histogram\n# TYPE another counter\nanother 1\n");
        let mut scrapes = [Scrape::default(), Scrape::default()];
        scrapes.iter_mut().for_each(|scrape| target.take_in(&text, scrape));
        assert_eq!((&scrapes[0].families[..], scrapes[0].series.len()), (&[name.to_owned()][..], 1));
        assert_eq!((scrapes[1].families.len(), scrapes[1].series.len()), (0, 0));
    }
}
