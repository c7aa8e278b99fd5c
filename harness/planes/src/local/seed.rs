//! The pre-seeded etcd directory: RBAC bootstrap, namespaces, CRDs, our rights, flows and priority classes.
//!
//! Built once per set of tools and fixtures, then copied for each control plane: bootstrapping five
//! apiservers at once takes longer than everything else, and KCM must know our kinds from its start.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use component::poll::{self, Look};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};

use super::Local;
use super::commands::Layout;
use crate::spec::ClusterSpec;
use crate::{Error, io, manifests, verify};
use harness_model::components::{APISERVER, ETCD};
use harness_processes::Key;

/// Must be raised with every change in what this file does to the data.
const VERSION: &str = "1";
/// Lease id and cluster name of the processes that build a seed.
const NAME: &str = "seed";
/// A seed (a few MiB) is rebuilt in seconds, so old ones may be removed whether or not they are still used.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Namespaces that the apiserver creates after it is ready.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

impl Local {
    /// Returns the seed's directory, and builds the seed first if this set of tools and fixtures has none yet. If the
    /// cache cannot be used, the seed is kept in the scratch directory, which costs each run a second or two.
    pub(super) async fn ensure_seed(&self) -> Result<PathBuf, Error> {
        let manifests = manifests::files(&self.places.fixtures)?;
        let digest = digest(&self.places.tools, &manifests)?;
        let mut seeds = self.places.seeds.clone();
        if let Err(error) = usable(&seeds, &digest) {
            tracing::warn!(seeds = %seeds.display(), %error, "the cache cannot be used; the seed is built for this run");
            seeds = self.places.scratch.join("seeds");
            std::fs::create_dir_all(&seeds).map_err(io("creating", &seeds))?;
        }
        let seed = seeds.join(&digest);
        if seed.is_dir() {
            return Ok(seed);
        }
        let _lock = lock(seeds.join(format!("{digest}.lock"))).await?;
        if seed.is_dir() {
            return Ok(seed);
        }
        tracing::info!(seed = %seed.display(), "building the pre-seeded etcd directory (once)");
        let built = self.build(&seed, &manifests).await;
        for key in self.table.running(Some(NAME)) {
            self.table.kill(&key).await?;
        }
        forget_old(&seeds);
        built.map(|()| seed)
    }

    async fn build(&self, seed: &Path, manifests: &[PathBuf]) -> Result<(), Error> {
        let spec = ClusterSpec::named(NAME);
        let dir = self.places.scratch.join(NAME);
        let layout = self.prepare(&dir, dir.join("logs"), None).await?;
        self.start_etcd(NAME, &spec, &layout).await?;
        let client = component::client::connect_unlimited(&dir.join("admin.kubeconfig"))
            .await
            .map_err(|e| Error::Internal(format!("{e:#}")))?;
        self.start_apiserver(NAME, &spec, &layout, &client).await?;
        for manifest in manifests {
            manifests::apply(&client, manifest, &BTreeMap::new()).await?;
        }
        manifests::established(&client, &ListParams::default()).await?;
        namespaces_exist(&client).await?;
        self.stop_and_keep(&layout, seed).await
    }

    /// Stops the apiserver and etcd, and keeps the data as the seed. The apiserver is stopped first: on SIGTERM without
    /// etcd it would hang for minutes. etcd is stopped by SIGTERM, so that its files are complete.
    async fn stop_and_keep(&self, layout: &Layout, seed: &Path) -> Result<(), Error> {
        for name in [APISERVER, ETCD] {
            self.table.end(&Key::of_cluster(NAME, NAME, name), Duration::from_secs(20)).await?;
        }
        let half = seed.with_extension(format!("{}.tmp", std::process::id()));
        copy(&layout.etcd_data(), &half)?;
        std::fs::rename(&half, seed).map_err(io("renaming to", seed))?;
        std::fs::remove_dir_all(&layout.dir).map_err(io("removing", &layout.dir))
    }
}

/// Checks that a seed can be read or created there: the cache may belong to another user, or be read-only.
fn usable(seeds: &Path, digest: &str) -> std::io::Result<()> {
    let seed = seeds.join(digest);
    if seed.exists() {
        return std::fs::read_dir(seed).map(drop);
    }
    std::fs::create_dir_all(seeds)?;
    tempfile::tempfile_in(seeds)?;
    // It may belong to another user, left over from a failed build.
    let lock = seeds.join(format!("{digest}.lock"));
    if lock.exists() { File::options().write(true).open(lock).map(drop) } else { Ok(()) }
}

/// Copies an etcd data directory, without the spare WAL segments, which etcd creates again.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(io("creating", to))?;
    restrict(to)?;
    for entry in std::fs::read_dir(from).map_err(io("listing", from))? {
        let entry = entry.map_err(io("listing", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else if source.extension().is_none_or(|extension| extension != "tmp") {
            std::fs::copy(&source, &target).map_err(io("copying to", &target))?;
        }
    }
    Ok(())
}

/// Removes seeds that were built long ago: every change of tools or fixtures leaves one behind. What cannot be removed
/// stays.
fn forget_old(seeds: &Path) {
    for entry in std::fs::read_dir(seeds).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > KEPT_FOR) {
            let path = entry.path();
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }
}

/// Restricts a directory to its owner: etcd warns about directories that others can read.
fn restrict(dir: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(io("restricting", dir))
}

/// Identifies a seed. The binaries are identified by size and time: reading 170 MB at every start would cost more than
/// it proves.
fn digest(tools: &Path, manifests: &[PathBuf]) -> Result<String, Error> {
    let mut hash = Sha256::new_with_prefix(VERSION);
    for name in [ETCD, APISERVER] {
        let path = tools.join(name);
        let metadata = std::fs::metadata(&path).map_err(io("reading", &path))?;
        let modified = metadata.modified().map_err(io("reading", &path))?;
        hash.update(format!("{name} {} {modified:?}\n", metadata.len()));
    }
    for path in manifests {
        let content = std::fs::read(path).map_err(io("reading", path))?;
        hash.update(format!("{:?} {}\n", path.file_name(), content.len()));
        hash.update(content);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

async fn lock(path: PathBuf) -> Result<File, Error> {
    let work = move || {
        let file = File::create(&path).map_err(io("creating", &path))?;
        file.lock().map_err(io("locking", &path))?;
        Ok(file)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(format!("locking: {e}")))?
}

async fn namespaces_exist(client: &Client) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = &namespaces;
    for name in NAMESPACES {
        let tick = Duration::from_millis(50);
        poll::until(&format!("the namespace {name}"), tick, verify::CEILING, || async move {
            match namespaces.get(name).await {
                Ok(_) => Look::Ready(()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        })
        .await
        .map_err(|e| Error::Environment(e.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_lacks_spare_segments() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        std::fs::create_dir_all(from.join("member/wal")).unwrap();
        std::fs::write(from.join("member/wal/0.wal"), "x").unwrap();
        std::fs::write(from.join("member/wal/0.tmp"), "x").unwrap();
        let to = dir.path().join("to");
        copy(&from, &to).unwrap();
        assert!(to.join("member/wal/0.wal").is_file() && !to.join("member/wal/0.tmp").exists());
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_usable_if_the_seed_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let seeds = dir.path().join("seeds");
        assert!(usable(&seeds, "d").is_ok());
        std::fs::create_dir(seeds.join("d")).unwrap();
        assert!(usable(&seeds, "d").is_ok());
        // A path that no user can use, not even root.
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(usable(&file, "d").is_err());
        std::fs::write(seeds.join("e"), "").unwrap();
        assert!(usable(&seeds, "e").is_err());
    }

    #[test]
    fn old_seeds_go_and_new_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            std::fs::create_dir_all(dir.path().join(name).join("member")).unwrap();
        }
        let long_ago = std::time::SystemTime::now() - KEPT_FOR - Duration::from_secs(60);
        File::open(dir.path().join("old")).unwrap().set_modified(long_ago).unwrap();
        forget_old(dir.path());
        assert!(!dir.path().join("old").exists() && dir.path().join("new/member").exists());
    }

    #[test]
    fn the_digest_follows_the_fixtures() {
        let dir = tempfile::tempdir().unwrap();
        for name in [ETCD, APISERVER, "crd.yaml"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let manifests = [dir.path().join("crd.yaml")];
        let before = digest(dir.path(), &manifests).unwrap();
        assert_eq!(before, digest(dir.path(), &manifests).unwrap());
        std::fs::write(&manifests[0], "changed").unwrap();
        assert_ne!(before, digest(dir.path(), &manifests).unwrap());
    }
}
