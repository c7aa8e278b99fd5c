//! Finds, downloads or builds cargo-nextest, the test runner that the suites need.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Options,
    cache::{self, cache_root},
    download::{self, Client, Unavailable},
    error::Error,
    provision::tell_trust,
    quiet::run_quietly,
    releases::Releases,
    toolset::version_in,
    trust::Origin,
};

/// The file that marks the program next to it as accepted by a digest that has not been reviewed.
const ON_TRUST: &str = "digest-not-pinned";

/// A usable cargo-nextest. Run it as `<path> nextest run …`; `cargo nextest` works only when it is on `PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nextest {
    /// Absolute path of `cargo-nextest`.
    pub path: PathBuf,
    /// Its version, without a `v`.
    pub version: String,
}

/// Returns the version pinned in `fixtures/controlplane/releases.yaml`, without a `v`.
///
/// # Errors
/// [`Error::Pins`] when the file cannot be parsed.
pub fn pinned_version() -> Result<String, Error> {
    Ok(Releases::embedded()?.nextest.version)
}

/// Finds an existing cargo-nextest: on `PATH` at the pinned version or newer, otherwise in the cache.
///
/// # Errors
/// [`Error::NoHome`] and [`Error::Pins`].
pub fn find(options: &Options) -> Result<Option<Nextest>, Error> {
    let wanted = pinned_version()?;
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&on_path).map(|dir| dir.join("cargo-nextest"));
    let cached = cached_path(options, &wanted)?;
    let cached = Some(cached).filter(|path| !(options.pinned_only && path.with_file_name(ON_TRUST).exists()));
    Ok(candidates.chain(cached).filter(|path| cache::is_executable(path)).find_map(|path| {
        let version = version_of(&path)?;
        (numbers(&version) >= numbers(&wanted)).then_some(Nextest { path, version })
    }))
}

/// Finds cargo-nextest, or downloads it, or builds it (minutes on 2 cores, once).
///
/// # Errors
/// [`Error`]; each says what is missing and what to do.
pub fn ensure(options: &Options) -> Result<Nextest, Error> {
    if let Some(found) = find(options)? {
        return Ok(found);
    }
    let releases = Releases::embedded()?;
    let version = releases.nextest.version.clone();
    let target = cached_path(options, &version)?;
    let dir = target.parent().expect("must have one: it was joined to a directory");
    let root = dir.parent().expect("must have one: it was joined to the root");
    let _lock = cache::lock(root, "cargo-nextest", options.progress)?;
    if let Some(found) = find(options)? {
        return Ok(found);
    }
    let staging = cache::staging(root, "cargo-nextest")?;
    let program = staging.path().join("cargo-nextest");
    let artifact = releases.nextest_artifact();
    let mut installed = false;
    if !options.offline {
        let client = Client::new(options.mirror.as_deref());
        match download::install(&client, &artifact, options, &program)? {
            Ok(Origin::Pinned) => installed = true,
            Ok(Origin::Kept(_) | Origin::Published) => {
                installed = true;
                let mark = staging.path().join(ON_TRUST);
                fs::write(&mark, "").map_err(Error::io("write", &mark))?;
                tell_trust(&[&artifact], options)?;
            }
            Err(Unavailable(reason)) => {
                options.progress.note(&format!("cargo-nextest: {reason}; built from source instead"));
            }
        }
    }
    if !installed {
        build(&version, staging.path(), options)?;
        fs::rename(staging.path().join("root/bin/cargo-nextest"), &program)
            .map_err(Error::io("install", &program))?;
        fs::remove_dir_all(staging.path().join("root")).map_err(Error::io("clean", staging.path()))?;
    }
    cache::install(staging, dir)?;
    Ok(Nextest { path: target, version })
}

fn cached_path(options: &Options, version: &str) -> Result<PathBuf, Error> {
    Ok(cache_root(options)?.join("nextest").join(version).join("cargo-nextest"))
}

fn build(version: &str, staging: &Path, options: &Options) -> Result<(), Error> {
    let mut command = Command::new("cargo");
    command.args(["install", "cargo-nextest", "--locked", "--no-track", "--version", &format!("={version}")]);
    command.arg("--root").arg(staging.join("root")).arg("--target-dir").arg(staging.join("target"));
    // Built for one machine that waits for it: without self-update and tracing (which is all that the default features
    // are), and without the lengthy optimisation of a release.
    command.arg("--no-default-features");
    for (key, value) in [("OPT_LEVEL", "1"), ("LTO", "false"), ("CODEGEN_UNITS", "16"), ("DEBUG", "false")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    if options.offline {
        command.arg("--offline");
    }
    // Not in a workspace: its .cargo/config.toml and the flags of our own build must not affect it.
    command.current_dir(staging).stdin(Stdio::null()).env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    let label = format!("build cargo-nextest {version} from source");
    match run_quietly(&mut command, &label, options.progress) {
        Ok(None) => fs::remove_dir_all(staging.join("target")).map_err(Error::io("clean", staging)),
        Ok(Some(output)) => Err(Error::BuildFailed {
            what: format!("cargo-nextest {version}"),
            command: format!("cargo install cargo-nextest --locked --version ={version}"),
            output,
            offline: options.offline,
        }),
        Err(source) => Err(Error::NoCargo { version: version.to_owned(), source }),
    }
}

fn version_of(path: &Path) -> Option<String> {
    let output = Command::new(path).args(["nextest", "--version"]).stdin(Stdio::null()).output().ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProgressMode;

    fn options(cache: &Path) -> Options {
        Options {
            tools_dir: None,
            cache_dir: Some(cache.to_owned()),
            offline: true,
            pinned_only: false,
            mirror: None,
            progress: ProgressMode::Hidden,
        }
    }

    #[test]
    fn a_cached_one_is_used_when_it_is_new_enough() {
        let cache = tempfile::tempdir().unwrap();
        let options = options(cache.path());
        let path = cached_path(&options, &pinned_version().unwrap()).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (version, expected) in [("0.9.1", None), ("99.0.0", Some("99.0.0"))] {
            fs::write(&path, format!("#!/bin/sh\necho 'cargo-nextest {version} (abc 2026-01-01)'\n"))
                .unwrap();
            cache::make_executable(&path).unwrap();
            let version = version_of(&path).unwrap();
            assert_eq!(numbers(&version) >= numbers(&pinned_version().unwrap()), expected.is_some());
        }
        assert!(find(&options).unwrap().is_some());
        fs::write(path.with_file_name(ON_TRUST), "").unwrap();
        let ci = Options { pinned_only: true, ..options };
        assert!(find(&ci).unwrap().is_none_or(|found| found.path != path), "nobody has reviewed its digest");
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("0.9.151") > numbers("0.9.99"));
        assert!(numbers("0.10.0") > numbers("0.9.151"));
    }
}
