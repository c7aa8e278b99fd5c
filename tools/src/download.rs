//! Downloads one artefact to a file and checks its digest before anyone can see it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    cache::{self, hex},
    error::Error,
    progress::{Progress, ProgressMode, Unit},
    releases::Artifact,
};

/// Short, because a closed network must not keep a build from source waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Per read; a stalled transfer counts as an unreachable host.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// How an attempt to download ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The program is in place and executable.
    Installed,
    /// It cannot be had there now: not published, cut off. Other ways may be tried.
    Unavailable(String),
    /// The host was not reached, so asking it for more is a waste of time.
    HostDown(String),
}

/// A client with bounded time-outs. It honours the proxy variables of the environment.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .build()
        .into()
}

/// The address at which the mirror serves what is published at `url`: `<mirror>/<host>/<path>`.
pub(crate) fn mirrored(url: &str, mirror: Option<&str>) -> String {
    match (mirror, url.split_once("://")) {
        (Some(mirror), Some((_, rest))) => format!("{}/{rest}", mirror.trim_end_matches('/')),
        _ => url.to_owned(),
    }
}

/// The host (with port) of an address.
pub(crate) fn host(url: &str) -> String {
    url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default().to_owned()
}

/// Installs the artefact's program as `target`, or leaves nothing there.
///
/// # Errors
/// A wrong digest, an archive without the member, and file errors: none of them is mended by trying elsewhere.
pub(crate) fn install(
    agent: &ureq::Agent,
    artifact: &Artifact,
    mirror: Option<&str>,
    target: &Path,
    progress: ProgressMode,
) -> Result<Outcome, Error> {
    let Some(expected) = &artifact.sha256 else {
        return Ok(Outcome::Unavailable("no digest is pinned for it".to_owned()));
    };
    let url = mirrored(&artifact.url, mirror);
    let partial = target.with_extension("partial");
    let outcome = fetch(agent, &url, &partial, &artifact.tool, progress).and_then(|fetched| match fetched {
        Err(outcome) => Ok(outcome),
        Ok(actual) if actual != *expected => Err(Error::WrongDigest {
            url: url.clone(),
            expected: expected.clone(),
            actual,
            published: artifact.digests.clone(),
        }),
        Ok(_) => unpack(&partial, artifact.member.as_deref(), &url, target).map(|()| Outcome::Installed),
    });
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &partial)(error))
        }
        _ => outcome,
    }
}

/// Writes what `url` serves to `path`. The inner result is its sha256, or how the attempt ended without one.
fn fetch(
    agent: &ureq::Agent,
    url: &str,
    path: &Path,
    label: &str,
    progress: ProgressMode,
) -> Result<Result<String, Outcome>, Error> {
    // Anything but the plain bytes would miss the digest.
    let response = match agent.get(url).header("accept-encoding", "identity").call() {
        Ok(response) => response,
        Err(ureq::Error::StatusCode(status)) => {
            return Ok(Err(Outcome::Unavailable(format!("{url} answers {status}"))));
        }
        Err(error) => return Ok(Err(Outcome::HostDown(format!("{url}: {error}")))),
    };
    let length = response.body().content_length();
    let cut_off = |received: u64, why: String| {
        Ok(Err(Outcome::Unavailable(format!("{url} was cut off after {received} bytes: {why}"))))
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

/// Moves a verified download into place, taking the program out of its archive first.
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
