//! Work whose result several trials of a run share: the first trial that needs it leases control planes and runs a
//! scenario once, and every claim about it is a separate trial.
//!
//! Not only results are shared but also failures, and even an end without either. Otherwise the next trial would
//! silently repeat a run that was killed, and pass.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use harness_supervisor::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returns the result of `work`, which is done once per nextest run, name and state of `files`: the programs that it
/// starts and the fixtures that it reads. Must be called outside of any async runtime.
///
/// Shared files are in `shared/` of the run directory and stay there for inspection.
///
/// # Errors
/// Those of `work`, the same for all; or that the trial which did the work ended before it had a result.
pub fn once<T>(name: &str, files: &[PathBuf], work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T>
where
    T: Serialize + DeserializeOwned,
{
    let socket = crate::supervisor_socket()?;
    let run_dir =
        crate::block_on(async { anyhow::Ok(Client::connect(&socket).await?.status().await?.run_dir) })?;
    let this = std::env::current_exe().context("finding this program")?;
    let key = format!("{name}-{:016x}", digest(files.iter().chain([&this]))?);
    once_in(&run_dir.join("shared"), &key, work)
}

/// Hashes files by size and time, as seeds do: reading whole programs in every trial would cost more than it proves.
fn digest<'a>(files: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<u64> {
    let mut hasher = DefaultHasher::new();
    for path in files {
        let metadata = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
        (path, metadata.len(), metadata.modified()?).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn once_in<T>(dir: &Path, key: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T>
where
    T: Serialize + DeserializeOwned,
{
    let file = |extension: &str| dir.join(format!("{key}.{extension}"));
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    // Released together with the handle, even if this process is killed.
    let lock = File::create(file("lock")).with_context(|| format!("creating a lock in {}", dir.display()))?;
    lock.lock().with_context(|| format!("locking {}", file("lock").display()))?;
    let (claim, result) = (file("claim"), file("json"));
    if let Ok(text) = std::fs::read_to_string(&result) {
        let shared: Result<T, String> =
            serde_json::from_str(&text).with_context(|| format!("reading {}", result.display()))?;
        return shared.map_err(anyhow::Error::msg);
    }
    if let Ok(by) = std::fs::read_to_string(&claim) {
        bail!("{key} was begun by {by}, which ended before it had a result; look for that trial's failure");
    }
    std::fs::write(&claim, format!("process {}", std::process::id()))
        .with_context(|| format!("writing {}", claim.display()))?;
    let shared = work().map_err(|error| format!("{error:#}"));
    let half = file("tmp");
    std::fs::write(&half, serde_json::to_vec_pretty(&shared)?)
        .and_then(|()| std::fs::rename(&half, &result))
        .with_context(|| format!("writing {}", result.display()))?;
    shared.map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_per_key() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(once_in(dir.path(), "a", || Ok(1)).unwrap(), 1);
        assert_eq!(once_in(dir.path(), "a", || Ok(2)).unwrap(), 1);
        assert_eq!(once_in(dir.path(), "b", || Ok(2)).unwrap(), 2);
    }

    #[test]
    fn a_failure_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let first = once_in::<u32>(dir.path(), "a", || bail!("no tools")).unwrap_err().to_string();
        let second = once_in(dir.path(), "a", || Ok(2_u32)).unwrap_err().to_string();
        assert_eq!([first, second], ["no tools", "no tools"]);
    }

    #[test]
    fn an_end_without_a_result_is_not_made_good() {
        let dir = tempfile::tempdir().unwrap();
        let killed = std::panic::catch_unwind(|| once_in::<u32>(dir.path(), "a", || panic!("killed")));
        assert!(killed.is_err());
        let second = once_in(dir.path(), "a", || Ok(2_u32)).unwrap_err().to_string();
        assert!(second.contains("ended before it had a result"), "{second}");
    }
}
