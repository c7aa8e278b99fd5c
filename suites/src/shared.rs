//! Work whose result several trials of a run share: control planes are leased and a scenario is played once,
//! by the first trial that needs it, and every claim about it is a trial of its own.
//!
//! A failure is shared as well as a result, and so is an end without either: else a run that was killed would
//! silently be done again by the next trial, and pass.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use harness_supervisor::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The result of `work`, which is done once per nextest run, name and state of `files`: the programs that it
/// starts and the fixtures that it reads. To be called outside of any async runtime.
///
/// What is shared lies in `shared/` of the run directory and stays there to be looked at.
///
/// # Errors
/// `work`'s, the same for all; or that the trial which did it ended before it had a result.
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

/// Files count by size and time, as seeds do: reading whole programs in every trial would cost more than it
/// proves.
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
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    // Released with the handle, also when this process is killed.
    let lock = File::create(file("lock")).with_context(|| format!("making a lock in {}", dir.display()))?;
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
