//! Which digest an artefact must have, and the source of that digest: a pin, the cache, or the publisher over TLS.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    Options,
    cache::cache_root,
    download::{Client, Unavailable},
    error::Error,
    published,
    releases::{Artifact, is_sha256},
};

/// The source of the digest that an artefact must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `fixtures/controlplane/releases.yaml`.
    Pinned,
    /// The cache, which kept it when the artefact was first downloaded.
    Kept(PathBuf),
    /// The publisher, just now.
    Published,
}

/// The digest that an artefact must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Lower-case hex.
    pub(crate) sha256: String,
    pub(crate) origin: Origin,
}

/// Finds the digest: pinned, kept, published. The inner error says why none is available now.
///
/// # Errors
/// When the cache holds something that is not a digest, or cannot be read.
pub(crate) fn expected(
    client: &Client,
    artifact: &Artifact,
    options: &Options,
) -> Result<Result<Expected, Unavailable>, Error> {
    if let Some(sha256) = artifact.sha256.clone() {
        return Ok(Ok(Expected { sha256, origin: Origin::Pinned }));
    }
    if options.pinned_only {
        return Ok(Err(Unavailable(
            "no digest is pinned in fixtures/controlplane/releases.yaml, and no other is accepted when CI is set"
                .to_owned(),
        )));
    }
    if let Some((sha256, file)) = kept(artifact, options)? {
        return Ok(Ok(Expected { sha256, origin: Origin::Kept(file) }));
    }
    let published = published::digest(client, artifact);
    Ok(published.map(|sha256| Expected { sha256, origin: Origin::Published }))
}

/// Returns the digest that the cache keeps for an artefact, and the file that it is in.
///
/// # Errors
/// When that file holds something else, or cannot be read.
pub(crate) fn kept(artifact: &Artifact, options: &Options) -> Result<Option<(String, PathBuf)>, Error> {
    let file = kept_file(artifact, options)?;
    Ok(read(&file)?.map(|digest| (digest, file)))
}

/// Keeps the digest of an artefact that matched it, so that no other is accepted later.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn keep(artifact: &Artifact, sha256: &str, options: &Options) -> Result<(), Error> {
    let file = kept_file(artifact, options)?;
    let dir = file.parent().expect("must have one: it was joined to a directory");
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let text = format!("{sha256}  {}\n# as published at {}\n", artifact.file_name(), artifact.digests);
    // Readable by everyone, because users may share a cache.
    let mode = fs::Permissions::from_mode(0o644);
    let written = tempfile::Builder::new().permissions(mode).tempfile_in(dir).and_then(|mut temporary| {
        temporary.write_all(text.as_bytes())?;
        temporary.persist(&file).map_err(|error| error.error)
    });
    written.map(drop).map_err(Error::io("write", &file))
}

/// Returns the directory of the digests that are kept.
pub(crate) fn kept_dir(options: &Options) -> Result<PathBuf, Error> {
    Ok(cache_root(options)?.join("digests"))
}

/// Returns the file for an artefact's digest. It is named after the artefact's address, which a mirror does not change.
fn kept_file(artifact: &Artifact, options: &Options) -> Result<PathBuf, Error> {
    let address = artifact.url.split_once("://").map_or(artifact.url.as_str(), |(_, rest)| rest);
    let safe = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    Ok(kept_dir(options)?.join(address.split('/').filter(safe).collect::<PathBuf>()))
}

fn read(file: &Path) -> Result<Option<String>, Error> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", file)(error)),
    };
    match text.split_whitespace().next() {
        Some(digest) if is_sha256(digest) => Ok(Some(digest.to_owned())),
        _ => Err(Error::KeptDigest { path: file.to_owned() }),
    }
}

impl Expected {
    /// Returns the error for an artefact that has a different digest.
    pub(crate) fn missed(&self, artifact: &Artifact, url: &str, actual: String) -> Error {
        let published = &artifact.digests;
        let (whose, advice) = match &self.origin {
            Origin::Pinned => (
                "is pinned in fixtures/controlplane/releases.yaml".to_owned(),
                format!("Either the pin is wrong or the download was tampered with: compare with {published}"),
            ),
            Origin::Kept(file) => (
                format!("was published when it was first downloaded here (kept in {})", file.display()),
                format!(
                    "Either the release was replaced or the download was tampered with: compare with {published}, \
                     and remove that file to trust what is published now"
                ),
            ),
            Origin::Published => (
                format!("is what its publisher says at {published}"),
                "The download, or the digest, was tampered with or is out of step: try again later, or build it \
                 from source with `CI=true cargo xtask tools`"
                    .to_owned(),
            ),
        };
        let (url, expected) = (url.to_owned(), self.sha256.clone());
        Error::WrongDigest { url, expected, actual, whose, advice }
    }
}
