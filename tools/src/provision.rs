//! Makes sure of a tool set: directory, cache, releases, source, in this order.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Options,
    cache::{self, cache_root},
    download::{self, Outcome},
    error::Error,
    gobuild,
    pins::Pins,
    toolset::{Check, Source, Toolset, reported_version},
};

impl Toolset {
    /// Finds the pinned tools, or makes them: minutes the first time, milliseconds afterwards.
    ///
    /// # Errors
    /// [`Error`]; each says what is missing and what to do.
    pub fn ensure(options: &Options) -> Result<Toolset, Error> {
        ensure_pins(&Pins::embedded()?, options)
    }
}

/// Where the cache keeps the set of these pins; it need not exist yet.
///
/// # Errors
/// [`Error::NoHome`] when there is no place for a cache.
pub fn cached_dir(pins: &Pins, options: &Options) -> Result<PathBuf, Error> {
    Ok(cache_root(options)?.join("tools").join(pins.digest()))
}

/// As [`Toolset::ensure`], for given pins.
///
/// # Errors
/// As [`Toolset::ensure`].
pub fn ensure_pins(pins: &Pins, options: &Options) -> Result<Toolset, Error> {
    if let Some(dir) = &options.tools_dir {
        return Toolset::open(dir);
    }
    let dir = cached_dir(pins, options)?;
    let digest = pins.digest();
    let parent = dir.parent().expect("must have one: it was joined to the root");
    cache::mark_used(parent, &digest);
    if let Some(set) = usable(&dir, pins) {
        return Ok(set);
    }
    let _lock = cache::lock(parent, &digest, options.progress)?;
    // Whoever held the lock may have done it.
    if let Some(set) = usable(&dir, pins) {
        return Ok(set);
    }
    let staging = cache::staging(parent, &digest)?;
    let found = fill(pins, options, &dir, staging.path())?;
    Toolset::write_manifest(staging.path(), &digest, &found)?;
    cache::install(staging, &dir)?;
    cache::forget_unused(parent);
    let set = Toolset::read_manifest(&dir, Check::Cheap)?;
    Ok(set.expect("must be readable: it was written just now"))
}

/// The set in the cache, if it is complete and unchanged. Anything else is made anew.
fn usable(dir: &Path, pins: &Pins) -> Option<Toolset> {
    let set = Toolset::read_manifest(dir, Check::Cheap).ok().flatten()?;
    let complete = pins.tools().iter().all(|(tool, _)| set.tools.iter().any(|t| t.name == tool.name));
    complete.then_some(set)
}

/// Puts every program into `staging`; tells each one's version and source.
fn fill(
    pins: &Pins,
    options: &Options,
    old: &Path,
    staging: &Path,
) -> Result<Vec<(String, String, Source)>, Error> {
    let downloaded = if options.offline { Vec::new() } else { download_pinned(pins, options, staging)? };
    let workdir = tempfile::Builder::new().prefix("module-").tempdir_in(staging);
    let workdir = workdir.map_err(Error::io("create a directory in", staging))?;
    let mut found = Vec::new();
    for module in &pins.modules {
        let missing: Vec<_> = module.tools.iter().filter(|tool| !downloaded.contains(&tool.name)).collect();
        gobuild::build(module, &missing, workdir.path(), staging, options.offline, options.progress)?;
        for tool in &module.tools {
            let path = staging.join(&tool.name);
            cache::make_executable(&path)?;
            let reported = reported_version(&path)?;
            if reported != module.version {
                let (name, expected) = (tool.name.clone(), module.version.clone());
                return Err(Error::VersionMismatch { name, expected, reported });
            }
            let source = if downloaded.contains(&tool.name) { Source::Release } else { Source::Built };
            found.push((tool.name.clone(), reported, source));
        }
    }
    if old.exists() {
        options.progress.note(&format!("{} was incomplete or changed; replaced", old.display()));
    }
    drop(fs::remove_dir_all(workdir.path()));
    Ok(found)
}

/// Downloads what has a pinned digest; a host that was not reached is not asked again.
fn download_pinned(pins: &Pins, options: &Options, staging: &Path) -> Result<Vec<String>, Error> {
    let (pinned, unpinned): (Vec<_>, Vec<_>) = pins.artifacts.iter().partition(|a| a.sha256.is_some());
    if !unpinned.is_empty() {
        let names: Vec<_> = unpinned.iter().map(|artifact| artifact.tool.as_str()).collect();
        options.progress.note(&format!(
            "no release digest is pinned for {} ({}) in fixtures/controlplane/releases.yaml: built from source instead",
            names.join(", "),
            std::env::consts::ARCH
        ));
    }
    let agent = download::agent();
    let (mut downloaded, mut down) = (Vec::new(), Vec::new());
    for artifact in pinned {
        let host = download::host(&download::mirrored(&artifact.url, options.mirror.as_deref()));
        if down.contains(&host) {
            continue;
        }
        let target = staging.join(&artifact.tool);
        match download::install(&agent, artifact, options.mirror.as_deref(), &target, options.progress)? {
            Outcome::Installed => downloaded.push(artifact.tool.clone()),
            Outcome::Unavailable(reason) => {
                let what = &artifact.tool;
                options.progress.note(&format!("{what} cannot be downloaded ({reason}): built instead"));
            }
            Outcome::HostDown(reason) => {
                options
                    .progress
                    .note(&format!("{host} cannot be reached ({reason}): building from source instead"));
                down.push(host);
            }
        }
    }
    Ok(downloaded)
}
