//! Downloads one artefact to a file and checks its digest before the file becomes visible to others.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    Options,
    cache::{self, hex},
    error::Error,
    progress::{Progress, ProgressMode, Unit},
    releases::Artifact,
    trust::{self, Origin},
};

/// Short, because a closed network must not delay a build from source.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Time for each read. A stalled transfer counts as an unreachable host.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum length of a list of digests, in bytes; GitHub's description of a release is the longest.
const DIGESTS_MAX: u64 = 4 << 20;

/// Why something is not available now: not published, cut off, or no host that answers. Other sources may be tried.
#[derive(Debug)]
pub(crate) struct Unavailable(pub(crate) String);

/// Connects to publishers, or to a mirror that replaces them, with bounded timeouts and through the proxy that the
/// environment names. A host that could not be reached is not tried again.
pub(crate) struct Client {
    files: ureq::Agent,
    /// Follows no redirect that leaves TLS.
    digests: ureq::Agent,
    mirror: Option<String>,
    /// The reasons, by host.
    down: RefCell<BTreeMap<String, String>>,
}

impl Client {
    pub(crate) fn new(mirror: Option<&str>) -> Client {
        // A mirror on loopback belongs to a test, or is a tunnel: reaching this machine needs neither TLS nor a proxy.
        let here = mirror.is_some_and(is_loopback);
        Client {
            files: agent(false, here),
            digests: agent(!here, here),
            mirror: mirror.map(str::to_owned),
            down: RefCell::default(),
        }
    }

    /// Returns the address for what is published at `url`: that URL, or `<mirror>/<host>/<path>` on the mirror.
    pub(crate) fn address(&self, url: &str) -> String {
        match (&self.mirror, url.split_once("://")) {
            (Some(mirror), Some((_, rest))) => format!("{}/{rest}", mirror.trim_end_matches('/')),
            _ => url.to_owned(),
        }
    }

    /// Returns the list of digests at `url`. It is accepted only over TLS or from loopback, because otherwise it would
    /// prove nothing.
    pub(crate) fn digests(&self, url: &str) -> Result<String, Unavailable> {
        let address = self.address(url);
        if !address.starts_with("https://") && !is_loopback(&address) {
            return Err(Unavailable(format!(
                "{address} is not served over TLS, and a digest from there proves nothing"
            )));
        }
        let response = self.get(&self.digests, &address)?;
        let text = response.into_body().into_with_config().limit(DIGESTS_MAX).read_to_string();
        text.map_err(|error| Unavailable(format!("{address} was cut off: {error}")))
    }

    /// Checks whether an artefact exists, without transferring it.
    pub(crate) fn probe(&self, url: &str) -> Result<(), Unavailable> {
        let address = self.address(url);
        self.ask(&address, || self.files.head(&address).call()).map(drop)
    }

    fn get(
        &self,
        agent: &ureq::Agent,
        address: &str,
    ) -> Result<ureq::http::Response<ureq::Body>, Unavailable> {
        // Anything but the plain bytes would not match the digest.
        self.ask(address, || agent.get(address).header("accept-encoding", "identity").call())
    }

    fn ask<T>(&self, address: &str, request: impl Fn() -> Result<T, ureq::Error>) -> Result<T, Unavailable> {
        let host = host(address);
        if let Some(reason) = self.down.borrow().get(&host) {
            return Err(Unavailable(reason.clone()));
        }
        request().map_err(|error| match error {
            ureq::Error::StatusCode(status) => Unavailable(format!("{address} answers {status}")),
            ureq::Error::RequireHttpsOnly(_) | ureq::Error::TooManyRedirects => {
                Unavailable(format!("{address}: {error}"))
            }
            error => {
                let reason = format!("{host} cannot be reached ({error})");
                self.down.borrow_mut().insert(host, reason.clone());
                Unavailable(reason)
            }
        })
    }
}

fn agent(only_tls: bool, direct: bool) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .https_only(only_tls)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT));
    // By default, the agent uses the proxy of the environment (HTTPS_PROXY and the like, NO_PROXY).
    if direct { config.proxy(None).build().into() } else { config.build().into() }
}

/// Returns the host (with port) of an address.
pub(crate) fn host(url: &str) -> String {
    url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default().to_owned()
}

fn is_loopback(url: &str) -> bool {
    let host = host(url);
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Installs the artefact's program as `target`, executable, or leaves nothing there. Returns the origin of the digest
/// that it must have.
///
/// # Errors
/// A wrong digest, an archive without the member, and file errors: another source would not help with any of them.
pub(crate) fn install(
    client: &Client,
    artifact: &Artifact,
    options: &Options,
    target: &Path,
) -> Result<Result<Origin, Unavailable>, Error> {
    let expected = match trust::expected(client, artifact, options)? {
        Ok(expected) => expected,
        Err(unavailable) => return Ok(Err(unavailable)),
    };
    let url = client.address(&artifact.url);
    let partial = target.with_extension("partial");
    let outcome =
        fetch(client, &url, &partial, &artifact.tool, options.progress).and_then(|fetched| match fetched {
            Err(unavailable) => Ok(Err(unavailable)),
            Ok(actual) if actual != expected.sha256 => Err(expected.missed(artifact, &url, actual)),
            Ok(_) => unpack(&partial, artifact.member.as_deref(), &url, target)
                .and_then(|()| match &expected.origin {
                    Origin::Published => trust::keep(artifact, &expected.sha256, options),
                    Origin::Pinned | Origin::Kept(_) => Ok(()),
                })
                .map(|()| Ok(expected.origin.clone())),
        });
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &partial)(error))
        }
        _ => outcome,
    }
}

/// Writes what `url` serves to `path`. The inner result is its sha256.
fn fetch(
    client: &Client,
    url: &str,
    path: &Path,
    label: &str,
    progress: ProgressMode,
) -> Result<Result<String, Unavailable>, Error> {
    let response = match client.get(&client.files, url) {
        Ok(response) => response,
        Err(unavailable) => return Ok(Err(unavailable)),
    };
    let length = response.body().content_length();
    let cut_off = |received: u64, why: String| {
        Ok(Err(Unavailable(format!("{url} was cut off after {received} bytes: {why}"))))
    };
    let progress = Progress::start(progress, &format!("download {label}"), Unit::Bytes);
    if let Some(length) = length {
        progress.total(length);
    }
    let mut reader = response.into_body().into_reader();
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    let (mut hasher, mut received) = (Sha256::new(), 0u64);
    let mut buffer = vec![0; 1 << 17];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return cut_off(received, error.to_string()),
        };
        file.write_all(&buffer[..n]).map_err(Error::io("write", path))?;
        hasher.update(&buffer[..n]);
        received += n as u64;
        progress.advance(n as u64);
    }
    if let Some(length) = length.filter(|length| *length != received) {
        return cut_off(received, format!("{length} were announced"));
    }
    Ok(Ok(hex(&hasher.finalize())))
}

/// Moves a verified download into place, after extracting the program from its archive.
fn unpack(download: &Path, member: Option<&str>, url: &str, target: &Path) -> Result<(), Error> {
    let Some(member) = member else {
        cache::make_executable(download)?;
        return fs::rename(download, target).map_err(Error::io("install", target));
    };
    let file = File::open(download).map_err(Error::io("read", download))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().map_err(Error::io("unpack", download))? {
        let mut entry = entry.map_err(Error::io("unpack", download))?;
        if entry.path().is_ok_and(|path| path == Path::new(member)) {
            let unpacked = target.with_extension("unpacked");
            let mut out = File::create(&unpacked).map_err(Error::io("create", &unpacked))?;
            std::io::copy(&mut entry, &mut out).map_err(Error::io("unpack to", &unpacked))?;
            cache::make_executable(&unpacked)?;
            return fs::rename(&unpacked, target).map_err(Error::io("install", target));
        }
    }
    Err(Error::NoMember { url: url.to_owned(), member: member.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_serve_digests_without_tls() {
        for url in ["http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:8080/x", "http://127.1.2.3"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://mirror.invalid/x", "http://localhost.invalid", "http://127.0.0.1.invalid:80/x"] {
            assert!(!is_loopback(url), "{url}");
        }
        let refused = Client::new(Some("http://mirror.invalid")).digests("https://host.invalid/sums");
        let Err(Unavailable(why)) = refused else { panic!("{refused:?}") };
        assert!(why.starts_with("http://mirror.invalid/host.invalid/sums is not served over TLS"), "{why}");
    }
}
