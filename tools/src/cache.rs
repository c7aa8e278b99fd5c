//! The cache directory: locks, digests, atomic installation.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use crate::{Options, error::Error, progress::ProgressMode};

/// How long an unused entry is kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Returns the root of the cache for these options: `cache_dir`, otherwise `~/.cache/fleet-e2e`.
///
/// # Errors
/// [`Error::NoHome`] when neither `cache_dir` nor a home directory is known.
pub fn cache_root(options: &Options) -> Result<PathBuf, Error> {
    if let Some(dir) = &options.cache_dir {
        return std::path::absolute(dir).map_err(Error::io("resolve", dir));
    }
    let home = std::env::var_os("HOME").filter(|value| !value.is_empty());
    home.map(|home| PathBuf::from(home).join(".cache/fleet-e2e")).ok_or(Error::NoHome)
}

/// Takes the lock `<dir>/<name>.lock`, and waits for as long as another process holds it.
///
/// The kernel releases it when its holder dies, in whatever way.
pub(crate) fn lock(dir: &Path, name: &str, progress: ProgressMode) -> Result<File, Error> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let path = dir.join(format!("{name}.lock"));
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
    }
    progress.note(&format!("another process is preparing {name}; waiting for it"));
    file.lock().map_err(Error::io("lock", &path))?;
    Ok(file)
}

/// Creates a directory in which something is prepared, after removing what an interrupted predecessor left under the
/// same name.
///
/// Must be called with the lock held: only then is a directory with this prefix certain to be abandoned.
pub(crate) fn staging(dir: &Path, name: &str) -> Result<tempfile::TempDir, Error> {
    let prefix = format!(".staging-{name}-");
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
    }
    tempfile::Builder::new().prefix(&prefix).tempdir_in(dir).map_err(Error::io("create a directory in", dir))
}

/// Moves a prepared directory into place, completely or not at all. It replaces a predecessor.
pub(crate) fn install(staging: tempfile::TempDir, target: &Path) -> Result<(), Error> {
    if target.exists() {
        // Programs that still run from there keep their files; only the names disappear.
        let old = staging.path().with_extension("old");
        fs::rename(target, &old).map_err(Error::io("move away", target))?;
        fs::rename(staging.path(), target).map_err(Error::io("install", target))?;
        let _ = staging.keep();
        return fs::remove_dir_all(&old).map_err(Error::io("remove", old));
    }
    fs::rename(staging.path(), target).map_err(Error::io("install", target))?;
    let _ = staging.keep();
    Ok(())
}

/// Records that `<dir>/<name>` is in use, for [`forget_unused`]. A read-only cache does no harm.
pub(crate) fn mark_used(dir: &Path, name: &str) {
    let lock = File::options().write(true).open(dir.join(format!("{name}.lock")));
    let _ = lock.and_then(|lock| lock.set_modified(SystemTime::now()));
}

/// Removes what has not been used for [`KEPT_FOR`]: every change of pins leaves hundreds of megabytes behind. Entries
/// that are being prepared or cannot be removed stay. The empty locks stay, too, because another process may be waiting
/// for them.
pub(crate) fn forget_unused(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let lock = entry.path();
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if lock.extension().is_none_or(|of| of != "lock") || age.is_none_or(|age| age < KEPT_FOR) {
            continue;
        }
        let Ok(held) = File::open(&lock) else { continue };
        if held.try_lock().is_ok() {
            let _ = fs::remove_dir_all(lock.with_extension(""));
            let _ = fs::remove_file(lock.with_extension("tar"));
        }
    }
}

/// Returns the sha256 of a file in lower-case hex.
pub(crate) fn sha256_file(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
}

/// Returns the bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether at least one user may execute the file.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Makes the file executable by everyone and writable by its owner.
pub(crate) fn make_executable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(Error::io("make executable", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_replaces_its_predecessor_and_leaves_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("set");
        for content in ["one", "two"] {
            let staging = staging(root.path(), "set").unwrap();
            fs::write(staging.path().join("file"), content).unwrap();
            install(staging, &target).unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), content);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_nobody_uses_goes_and_what_is_used_or_being_made_stays() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        let long_ago = SystemTime::now() - KEPT_FOR - Duration::from_secs(60);
        let mut held = Vec::new();
        for name in ["old", "used", "made"] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(format!("{name}.tar")), "").unwrap();
            let lock = lock(dir, name, ProgressMode::Hidden).unwrap();
            lock.set_modified(long_ago).unwrap();
            if name == "made" {
                held.push(lock);
            }
        }
        mark_used(dir, "used");
        mark_used(dir, "never-made");
        forget_unused(dir);
        let mut left: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["made", "made.lock", "made.tar", "old.lock", "used", "used.lock", "used.tar"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_but_another_sets_staging_is_not() {
        let root = tempfile::tempdir().unwrap();
        for name in [".staging-a-dead", ".staging-b-alive"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let _staging = staging(root.path(), "a").unwrap();
        assert!(!root.path().join(".staging-a-dead").exists());
        assert!(root.path().join(".staging-b-alive").exists());
    }

    #[test]
    fn the_sha256_is_that_of_the_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_file(file.path()).unwrap(), expected);
    }
}
