//! The image of a kind node, built without a registry, a base image or root: `docs/kind.md` describes its content and
//! the reasons.
//!
//! It consists of Go programs from their modules, busybox and runc from Debian's archive, our own init, and the images
//! of a control plane, which containerd imports when the node starts. It is written as an archive and loaded into
//! Docker.

mod archive;
mod build;
mod debs;
mod pins;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    Options, Toolset,
    cache::{self, cache_root},
    docker::Docker,
    error::Error,
    pins::Pins,
    provision::ensure_pins,
};

/// The repository in which every node image is tagged.
const REPOSITORY: &str = "fleet-e2e/node";
/// Changes when the way in which an image is assembled changes.
const LAYOUT: &str = "fleet-e2e node image 1";

/// A node image in Docker, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeImage {
    /// Name and tag, for `kind create cluster --image`.
    pub reference: String,
    /// The id by which Docker knows it, `sha256:…`.
    pub id: String,
    /// The kind program.
    pub kind: PathBuf,
    /// The images inside it.
    pub preloaded: Preloaded,
}

/// Images that a node has from the start, in addition to those that kubeadm names after the Kubernetes version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preloaded {
    /// For kubeadm's `etcd.local.imageTag`, e.g. `3.7.3-0`.
    pub etcd_tag: String,
    /// For a static Pod that runs kwok, e.g. `registry.k8s.io/kwok/kwok:v0.8.0`.
    pub kwok: String,
}

/// Makes sure that Docker has the node image of these tools: it is there already, loaded from the cache, or built
/// first.
///
/// # Errors
/// [`Error`]; each says what is missing and what to do.
pub fn ensure(options: &Options, set: &Toolset, docker: &Docker) -> Result<NodeImage, Error> {
    let recipe = Recipe::new(set)?;
    if docker.image_id(&recipe.reference)?.is_none() {
        docker.load(&recipe.archive(options, set)?, options.progress)?;
    }
    recipe.loaded(options, docker)
}

/// Like [`ensure`], but with an archive that [`to_archive`] wrote, here or on another machine.
///
/// # Errors
/// [`Error::ForeignArchive`] when it does not hold the image that these tools produce.
pub fn from_archive(
    options: &Options,
    set: &Toolset,
    docker: &Docker,
    archive: &Path,
) -> Result<NodeImage, Error> {
    let recipe = Recipe::new(set)?;
    let found = archive::references(archive)?;
    if found != [recipe.reference.as_str()] {
        let (path, expected) = (archive.to_owned(), recipe.reference);
        return Err(Error::ForeignArchive { path, found: found.join(", "), expected });
    }
    docker.load(archive, options.progress)?;
    recipe.loaded(options, docker)
}

/// Writes the image to a file, for [`from_archive`], and returns its reference. Docker is not needed.
///
/// # Errors
/// [`Error`]; each says what is missing and what to do.
pub fn to_archive(options: &Options, set: &Toolset, file: &Path) -> Result<String, Error> {
    let recipe = Recipe::new(set)?;
    let archive = recipe.archive(options, set)?;
    fs::copy(&archive, file).map_err(Error::io("write", file))?;
    Ok(recipe.reference)
}

/// Everything that determines an image.
struct Recipe {
    /// Name and tag; the tag holds the digest of all inputs.
    reference: String,
    digest: String,
    pins: Pins,
    preloaded: Preloaded,
}

impl Recipe {
    fn new(set: &Toolset) -> Result<Recipe, Error> {
        let pins = pins::node()?;
        let version = pins::kubernetes_version(&pins).to_owned();
        let reported = set.tool("kube-apiserver").version.clone();
        if reported != version {
            return Err(Error::OtherKubernetes { version, reported });
        }
        let digest = digest(&set.digest, &pins.digest());
        Ok(Recipe {
            reference: format!("{REPOSITORY}:{version}-{}", &digest[..12]),
            digest,
            pins,
            preloaded: build::preloaded(set),
        })
    }

    /// Returns the archive in the cache, which is built if it is missing.
    fn archive(&self, options: &Options, set: &Toolset) -> Result<PathBuf, Error> {
        let dir = cache_root(options)?.join("node-images");
        let path = dir.join(format!("{}.tar", self.digest));
        cache::mark_used(&dir, &self.digest);
        if path.exists() {
            return Ok(path);
        }
        let programs = ensure_pins(&self.pins, &options.beside_the_set())?;
        let _lock = cache::lock(&dir, &self.digest, options.progress)?;
        // The previous holder of the lock may have built it.
        if path.exists() {
            return Ok(path);
        }
        if options.offline {
            return Err(Error::OfflineNode { path });
        }
        let staging = cache::staging(&dir, &self.digest)?;
        let parts = build::Parts { set, programs: &programs, digest: &self.digest };
        let made = parts.build(&self.reference, staging.path(), options.progress)?;
        fs::rename(&made, &path).map_err(Error::io("install", &path))?;
        cache::forget_unused(&dir);
        Ok(path)
    }

    /// Returns the image, which Docker must have by now.
    fn loaded(self, options: &Options, docker: &Docker) -> Result<NodeImage, Error> {
        let id = docker.image_id(&self.reference)?;
        let id = id.ok_or_else(|| Error::NotLoaded { reference: self.reference.clone() })?;
        let kind = ensure_pins(&pins::kind()?, &options.beside_the_set())?.path("kind").to_owned();
        Ok(NodeImage { reference: self.reference, id, kind, preloaded: self.preloaded })
    }
}

/// Returns 64 hex digits over all inputs of an image, except the versions of Debian's packages.
fn digest(set: &str, programs: &str) -> String {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for text in [LAYOUT, std::env::consts::ARCH, set, programs] {
        add(text);
    }
    for text in pins::PACKAGES.into_iter().chain(pins::APPLETS) {
        add(text);
    }
    for (path, content, mode) in build::FILES {
        add(path);
        add(content);
        add(&format!("{mode:o}"));
    }
    cache::hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolset::{Source, Tool};

    fn set(version: &str) -> Toolset {
        let tool = |name: &str, version: &str| Tool {
            name: name.to_owned(),
            version: version.to_owned(),
            path: PathBuf::from("/nowhere").join(name),
            sha256: String::new(),
            source: Source::Built,
        };
        let tools = vec![tool("etcd", "v3.7.3"), tool("kube-apiserver", version), tool("kwok", "v0.8.0")];
        Toolset { digest: "0123456789abcdef".to_owned(), dir: PathBuf::from("/nowhere"), tools }
    }

    #[test]
    fn the_tag_says_the_version_and_what_went_in() {
        let recipe = Recipe::new(&set("v1.36.3")).unwrap();
        let (name, tag) = recipe.reference.split_once(':').unwrap();
        assert_eq!(name, "fleet-e2e/node");
        assert_eq!(tag, format!("v1.36.3-{}", &recipe.digest[..12]));
        assert_eq!(recipe.preloaded.etcd_tag, "3.7.3-0");
        assert_eq!(recipe.preloaded.kwok, "registry.k8s.io/kwok/kwok:v0.8.0");
    }

    #[test]
    fn other_inputs_make_another_tag() {
        assert_ne!(digest("a", "b"), digest("b", "a"));
        assert_ne!(digest("a", "b"), digest("a", "c"));
        assert_eq!(digest("a", "b"), digest("a", "b"));
    }

    #[test]
    fn tools_of_another_kubernetes_are_refused() {
        let message = Recipe::new(&set("v1.35.0")).err().unwrap().to_string();
        assert!(message.contains("v1.35.0") && message.contains("v1.36.3"), "{message}");
    }
}
