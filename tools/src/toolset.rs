//! A set of tools in one directory, and the manifest that records what was installed there.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{cache, error::Error, pins::TOOL_NAMES};

/// Name of the manifest in a tool directory.
const MANIFEST: &str = "toolset.json";

/// The programs of a control plane; serialised as a run directory's `tools.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolset {
    /// Identity of the set: [`crate::pins::Pins::digest`], or for an explicit directory the digest of its files.
    pub digest: String,
    /// The directory that holds all of them.
    pub dir: PathBuf,
    /// The tools, sorted by name.
    pub tools: Vec<Tool>,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// File name, e.g. `kube-apiserver`.
    pub name: String,
    /// Version as the program reports it, with a leading `v`.
    pub version: String,
    /// Absolute path.
    pub path: PathBuf,
    /// sha256 of the file, hex.
    pub sha256: String,
    /// Where it came from.
    pub source: Source,
}

/// Where a program came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Found in an explicit directory.
    Directory,
    /// Downloaded, with the pinned digest.
    Release,
    /// Downloaded, with a digest that has not been reviewed: its publisher served it at the first download.
    Published,
    /// Built from the pinned module.
    Built,
    /// Built from the pinned module, with the changes next to its pin.
    Patched,
}

/// How closely an installed file is compared with its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Size and modification time; the digest only if these differ.
    Cheap,
    /// The digest.
    Full,
}

/// The content of [`MANIFEST`]. It has file times so that a check need not read 400 MB.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    digest: String,
    tools: Vec<Record>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    version: String,
    sha256: String,
    source: Source,
    size_bytes: u64,
    mtime_ns: i64,
}

impl Toolset {
    /// Opens the tools in a directory: by the manifest for a directory in the cache, otherwise by asking each program
    /// for its version.
    ///
    /// # Errors
    /// [`Error::DirIncomplete`] naming what is missing, [`Error::Corrupt`] when a cached file was changed.
    pub fn open(dir: &Path) -> Result<Toolset, Error> {
        Toolset::open_with(dir, &TOOL_NAMES)
    }

    /// Like [`Toolset::open`], but only `names` are required. Others of the six are described, too, if they exist.
    ///
    /// # Errors
    /// As for [`Toolset::open`].
    pub fn open_with(dir: &Path, names: &[&str]) -> Result<Toolset, Error> {
        let dir = std::path::absolute(dir).map_err(Error::io("resolve", dir))?;
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !cache::is_executable(&dir.join(name)))
            .map(|n| (*n).to_owned())
            .collect();
        if !missing.is_empty() {
            return Err(Error::DirIncomplete { dir, missing });
        }
        match Toolset::read_manifest(&dir, Check::Cheap)? {
            Some(set) => Ok(set),
            None => Toolset::inspect(dir),
        }
    }

    /// Returns the path of a program.
    ///
    /// # Panics
    /// When the set has no such program.
    pub fn path(&self, name: &str) -> &Path {
        &self.tool(name).path
    }

    /// Returns a program by name.
    ///
    /// # Panics
    /// When the set has no such program.
    pub fn tool(&self, name: &str) -> &Tool {
        self.tools.iter().find(|tool| tool.name == name).expect("must be one of those that were asked for")
    }

    /// Reads every file and compares it with the recorded digest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first file that differs.
    pub fn verify(&self) -> Result<(), Error> {
        self.tools.iter().try_for_each(|tool| {
            let actual = cache::sha256_file(&tool.path)?;
            expect_digest(&tool.path, &tool.sha256, actual)
        })
    }

    /// Reads the manifest of a directory in the cache and checks the files; `None` if there is no usable one.
    pub(crate) fn read_manifest(dir: &Path, check: Check) -> Result<Option<Toolset>, Error> {
        let Ok(text) = fs::read(dir.join(MANIFEST)) else { return Ok(None) };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { return Ok(None) };
        let tools = manifest.tools.into_iter().map(|record| record.check(dir, check));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Toolset { digest: manifest.digest, dir: dir.to_owned(), tools }))
    }

    /// Records the content of a freshly filled directory. `found` is (name, version, source).
    pub(crate) fn write_manifest(
        dir: &Path,
        digest: &str,
        found: &[(String, String, Source)],
    ) -> Result<(), Error> {
        let mut tools = Vec::new();
        for (name, version, source) in found {
            let path = dir.join(name);
            let meta = fs::metadata(&path).map_err(Error::io("read", &path))?;
            tools.push(Record {
                name: name.clone(),
                version: version.clone(),
                sha256: cache::sha256_file(&path)?,
                source: *source,
                size_bytes: meta.len(),
                mtime_ns: mtime_ns(&meta),
            });
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest { digest: digest.to_owned(), tools };
        let json = serde_json::to_vec_pretty(&manifest).expect("must serialise: plain data");
        fs::write(dir.join(MANIFEST), json).map_err(Error::io("write", dir.join(MANIFEST)))
    }

    /// Describes a directory without a manifest: the programs report their versions, and the digest is over the files.
    fn inspect(dir: PathBuf) -> Result<Toolset, Error> {
        let mut hasher = Sha256::new();
        let mut tools = Vec::new();
        for name in TOOL_NAMES {
            let path = dir.join(name);
            if !cache::is_executable(&path) {
                continue;
            }
            let sha256 = cache::sha256_file(&path)?;
            hasher.update(format!("{name} {sha256}\n"));
            let version = reported_version(&path)?;
            tools.push(Tool { name: name.to_owned(), version, path, sha256, source: Source::Directory });
        }
        let mut digest = cache::hex(&hasher.finalize());
        digest.truncate(16);
        Ok(Toolset { digest, dir, tools })
    }
}

impl Record {
    fn check(self, dir: &Path, check: Check) -> Result<Tool, Error> {
        let path = dir.join(&self.name);
        let meta = fs::metadata(&path).map_err(Error::io("read", &path))?;
        // A cache that was archived and restored has lost the fraction of its times; then the digest decides.
        let untouched = meta.len() == self.size_bytes && mtime_ns(&meta) == self.mtime_ns;
        if check == Check::Full || !untouched {
            expect_digest(&path, &self.sha256, cache::sha256_file(&path)?)?;
        }
        Ok(Tool { name: self.name, version: self.version, path, sha256: self.sha256, source: self.source })
    }
}

fn mtime_ns(meta: &fs::Metadata) -> i64 {
    meta.mtime() * 1_000_000_000 + meta.mtime_nsec()
}

fn expect_digest(path: &Path, expected: &str, actual: String) -> Result<(), Error> {
    if actual == expected {
        return Ok(());
    }
    Err(Error::Corrupt { path: path.to_owned(), expected: expected.to_owned(), actual })
}

/// Asks a program for its version: the first word of its output that looks like one, with a leading `v`.
pub(crate) fn reported_version(path: &Path) -> Result<String, Error> {
    let no_version = |detail: String| Error::NoVersion { path: path.to_owned(), detail };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let args: &[&str] = match name {
        "kubectl" => &["version", "--client"],
        "kubeadm" => &["version", "--output", "short"],
        _ => &["--version"],
    };
    let output = Command::new(path)
        .args(args)
        // Otherwise kubectl would read the ambient kubeconfig.
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| no_version(format!("cannot start it: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = version_in(&text).map(|version| format!("v{version}"));
    version.ok_or_else(|| {
        no_version(format!("it answered `{}{}`", text.trim(), String::from_utf8_lossy(&output.stderr).trim()))
    })
}

/// Returns the first word that looks like a version, without its `v`.
pub(crate) fn version_in(text: &str) -> Option<String> {
    text.split_whitespace().map(|word| word.trim_start_matches('v')).find_map(|word| {
        let numeric = word.split('.').count() >= 3 && word.starts_with(|c: char| c.is_ascii_digit());
        numeric.then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_really_print() {
        for (text, expected) in [
            ("kwok version v0.8.0 go1.26.8 (linux/amd64)", "0.8.0"),
            ("etcd Version: 3.7.3\nGit SHA: Not provided (use ./build instead of go build)", "3.7.3"),
            ("Kubernetes v1.36.3", "1.36.3"),
            ("Client Version: v1.36.3\nKustomize Version: v5.8.1", "1.36.3"),
            ("v1.36.3", "1.36.3"),
            ("kind version 0.33.0", "0.33.0"),
            ("containerd github.com/containerd/containerd/v2 v2.3.7 ", "2.3.7"),
            ("containerd-shim-runc-v2:\n  Version:  v2.3.7\n  Revision: \n  Go version: go1.26.8\n", "2.3.7"),
        ] {
            assert_eq!(version_in(text).as_deref(), Some(expected));
        }
        assert_eq!(version_in("usage: etcd [flags]"), None);
    }
}
