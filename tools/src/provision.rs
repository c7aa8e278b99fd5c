//! Makes sure of a tool set: directory, cache, releases, source, in this order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Options,
    cache::{self, cache_root},
    download::{self, Client, Unavailable},
    error::Error,
    gobuild,
    pins::{Pins, TOOL_NAMES},
    releases::Artifact,
    toolset::{Check, Source, Toolset, reported_version},
    trust::{self, Origin},
};

impl Toolset {
    /// Finds the pinned tools, or downloads or builds them: minutes the first time, milliseconds afterwards.
    ///
    /// # Errors
    /// [`Error`]; each says what is missing and what to do.
    pub fn ensure(options: &Options) -> Result<Toolset, Error> {
        ensure_programs(options, &TOOL_NAMES)
    }
}

/// Like [`Toolset::ensure`], for some of the six programs: others are neither required nor built. A set in the cache
/// that has more is used as it is.
///
/// # Errors
/// As for [`Toolset::ensure`].
pub fn ensure_programs(options: &Options, names: &[&str]) -> Result<Toolset, Error> {
    if let Some(dir) = &options.tools_dir {
        return Toolset::open_with(dir, names);
    }
    let pins = Pins::embedded()?;
    let some = pins.only(names);
    let whole = cached_dir(&pins, options)?;
    if some.digest() != pins.digest()
        && let Some(set) = usable(&whole, &pins, options)
    {
        return Ok(set);
    }
    ensure_pins(&some, options)
}

/// Returns the directory in which the cache keeps the set of these pins; it need not exist yet.
fn cached_dir(pins: &Pins, options: &Options) -> Result<PathBuf, Error> {
    Ok(cache_root(options)?.join("tools").join(pins.digest()))
}

/// Returns the directory in which [`ensure_programs`] finds those programs, or would put them.
///
/// # Errors
/// [`Error::NoHome`] when there is no place for a cache.
pub fn programs_dir(options: &Options, names: &[&str]) -> Result<PathBuf, Error> {
    if let Some(dir) = &options.tools_dir {
        return Ok(dir.clone());
    }
    let pins = Pins::embedded()?;
    let whole = cached_dir(&pins, options)?;
    if whole.exists() { Ok(whole) } else { cached_dir(&pins.only(names), options) }
}

/// Like [`Toolset::ensure`], for given pins.
///
/// # Errors
/// As for [`Toolset::ensure`].
pub fn ensure_pins(pins: &Pins, options: &Options) -> Result<Toolset, Error> {
    if let Some(dir) = &options.tools_dir {
        let names: Vec<_> = pins.tools().iter().map(|(tool, _)| tool.name.as_str()).collect();
        return Toolset::open_with(dir, &names);
    }
    let dir = cached_dir(pins, options)?;
    let digest = pins.digest();
    let parent = dir.parent().expect("must have one: it was joined to the root");
    cache::mark_used(parent, &digest);
    if let Some(set) = usable(&dir, pins, options) {
        return Ok(set);
    }
    let _lock = cache::lock(parent, &digest, options.progress)?;
    // The previous holder of the lock may have filled it.
    if let Some(set) = usable(&dir, pins, options) {
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

/// Returns the set in the cache if it is complete and unchanged, and these options permit its use. Any other set is
/// replaced.
fn usable(dir: &Path, pins: &Pins, options: &Options) -> Option<Toolset> {
    let set = Toolset::read_manifest(dir, Check::Cheap).ok().flatten()?;
    let complete = pins.tools().iter().all(|(tool, _)| set.tools.iter().any(|t| t.name == tool.name));
    let reviewed = !options.pinned_only || set.tools.iter().all(|tool| tool.source != Source::Published);
    (complete && reviewed).then_some(set)
}

/// Puts every program into `staging`, and returns the version and source of each.
fn fill(
    pins: &Pins,
    options: &Options,
    old: &Path,
    staging: &Path,
) -> Result<Vec<(String, String, Source)>, Error> {
    let downloaded = if options.offline { BTreeMap::new() } else { download(pins, options, staging)? };
    let workdir = tempfile::Builder::new().prefix("module-").tempdir_in(staging);
    let workdir = workdir.map_err(Error::io("create a directory in", staging))?;
    let mut found = Vec::new();
    for module in &pins.modules {
        let missing: Vec<_> =
            module.tools.iter().filter(|tool| !downloaded.contains_key(&tool.name)).collect();
        gobuild::build(module, &missing, workdir.path(), staging, options.offline, options.progress)?;
        for tool in &module.tools {
            let path = staging.join(&tool.name);
            cache::make_executable(&path)?;
            let reported = reported_version(&path)?;
            if reported != module.version {
                let (name, expected) = (tool.name.clone(), module.version.clone());
                return Err(Error::VersionMismatch { name, expected, reported });
            }
            let built = if module.patches.is_empty() { Source::Built } else { Source::Patched };
            let source = downloaded.get(&tool.name).copied().unwrap_or(built);
            found.push((tool.name.clone(), reported, source));
        }
    }
    if old.exists() {
        options.progress.note(&format!("{} was incomplete or changed; replaced", old.display()));
    }
    drop(fs::remove_dir_all(workdir.path()));
    Ok(found)
}

/// Downloads what is available with an accepted digest, and prints the result.
fn download(pins: &Pins, options: &Options, staging: &Path) -> Result<BTreeMap<String, Source>, Error> {
    let client = Client::new(options.mirror.as_deref());
    let mut downloaded = BTreeMap::new();
    let (mut on_trust, mut lacking) = (Vec::new(), BTreeMap::<String, Vec<&str>>::new());
    for artifact in to_download(pins, gobuild::has_go()) {
        match download::install(&client, artifact, options, &staging.join(&artifact.tool))? {
            Ok(Origin::Pinned) => {
                downloaded.insert(artifact.tool.clone(), Source::Release);
            }
            Ok(Origin::Kept(_) | Origin::Published) => {
                downloaded.insert(artifact.tool.clone(), Source::Published);
                on_trust.push(artifact);
            }
            Err(Unavailable(reason)) => lacking.entry(reason).or_default().push(&artifact.tool),
        }
    }
    tell_trust(&on_trust, options)?;
    tell_unpatched(pins, &downloaded, options);
    for (reason, names) in lacking {
        options.progress.note(&format!("{}: {reason}; built from source instead", names.join(", ")));
    }
    Ok(downloaded)
}

/// Returns what to download: everything that is published, but programs of changed modules only if they cannot be
/// built.
fn to_download(pins: &Pins, has_go: bool) -> Vec<&Artifact> {
    let changed = |artifact: &Artifact| pins.patches_of(&artifact.tool).next().is_some();
    pins.artifacts.iter().filter(|artifact| !(has_go && changed(artifact))).collect()
}

/// Prints which downloaded programs lack the changes that they would have if they were built.
fn tell_unpatched(pins: &Pins, downloaded: &BTreeMap<String, Source>, options: &Options) {
    for name in downloaded.keys() {
        let patches: Vec<_> = pins.patches_of(name).map(|patch| patch.name.as_str()).collect();
        if !patches.is_empty() {
            options.progress.note(&format!(
                "{name}: as published, without {} of fixtures/controlplane; it lags under load. If Go is installed, \
                 it is built with them",
                patches.join(" and ")
            ));
        }
    }
}

/// Prints which artefacts were accepted by a digest that has not been reviewed.
pub(crate) fn tell_trust(artifacts: &[&Artifact], options: &Options) -> Result<(), Error> {
    if artifacts.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = artifacts.iter().map(|artifact| artifact.tool.as_str()).collect();
    let hosts: BTreeSet<_> = artifacts.iter().map(|artifact| download::host(&artifact.digests)).collect();
    let hosts: Vec<_> = hosts.into_iter().collect();
    options.progress.note(&format!(
        "{}: checked against the sha256 that {} published over TLS, since none is pinned in \
         fixtures/controlplane/releases.yaml; kept in {}, and nothing else is accepted from now on",
        names.join(", "),
        hosts.join(" and "),
        trust::kept_dir(options)?.display()
    ));
    Ok(())
}

/// Returns why one of those programs cannot be downloaded here and now; `None` if all of them can. Only digests are
/// transferred.
///
/// # Errors
/// When the pins or the cache cannot be parsed.
pub fn refused_downloads(options: &Options, names: &[&str]) -> Result<Option<String>, Error> {
    if options.offline {
        return Ok(Some("offline".to_owned()));
    }
    let client = Client::new(options.mirror.as_deref());
    for artifact in Pins::embedded()?.only(names).artifacts {
        let expected = trust::expected(&client, &artifact, options)?;
        // A publisher that has just served the digest can be reached.
        let reached = expected.and_then(|expected| match expected.origin {
            Origin::Published => Ok(()),
            Origin::Pinned | Origin::Kept(_) => client.probe(&artifact.url),
        });
        if let Err(Unavailable(reason)) = reached {
            return Ok(Some(format!("{}: {reason}", artifact.tool)));
        }
    }
    Ok(None)
}
