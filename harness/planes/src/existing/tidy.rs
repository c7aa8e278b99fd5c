//! Cleans clusters on behalf of the run and gives them back. What remains is reported on the terminal and in the run's
//! logs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use component::poll::{self, Look};
use futures::future::join_all;
use kube::Client;
use serde::{Deserialize, Serialize};

use super::cleanup::{self, Limits, Stuck};
use super::hold::Hold;
use super::left;
use super::record::{Held, Refused};
use super::sweep::Extent;
use crate::proof::connect;
use crate::{Error, io};
use harness_model::record::event::LeftBehind;

/// File in a cluster's scratch directory that says that there is something to remove.
const MARKER: &str = "existing.mark";
/// File next to the logs of a run with the reports of its clean-ups, line by line. xtask and `down` show it as it
/// grows.
pub const CLEANUP_LOG: &str = "cleanup.log";
/// Prefix of the files next to the logs that list what remains in one cluster, as JSON.
const LEFT_PREFIX: &str = "left-";

/// What a clean-up of a cluster has to know, kept in its scratch directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The mark of everything that belongs to the run.
    pub mark: String,
    /// The cluster's name in the run.
    pub cluster: String,
    /// Its apiserver.
    pub server: String,
    /// The owner's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Directory of the run's logs.
    pub logs: PathBuf,
}

/// Why a cluster was not given back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    /// It cannot be cleaned.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// It may belong to another run by now.
    #[error("the record of the run was lost ({0}), so that no more is removed there")]
    Lost(String),
}

impl Marker {
    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(MARKER);
        let text = serde_json::to_vec(self).map_err(|e| Error::Internal(format!("a marker: {e}")))?;
        std::fs::write(&path, text).map_err(io("writing", &path))
    }

    fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(MARKER);
        let text = std::fs::read(&path).map_err(io("reading", &path))?;
        serde_json::from_slice(&text).map_err(|e| Error::Internal(format!("{}: {e}", path.display())))
    }

    /// Removes the marker, once nothing is left to remove there.
    pub(super) fn remove(dir: &Path) {
        let path = dir.join(MARKER);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the mark of a clean cluster");
        }
    }

    /// Reports something about the cluster to those who watch the run.
    pub(super) fn say(&self, text: &str) {
        tracing::warn!(cluster = self.cluster, server = self.server, "{text}");
        let path = self.logs.join(CLEANUP_LOG);
        let line = format!("{} ({}): {text}\n", self.cluster, self.server);
        let file = std::fs::File::options().append(true).create(true).open(&path);
        // One write for each line: several clusters share the file.
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::warn!(path = %path.display(), %error, "a line about the clean-up was lost");
        }
    }

    /// Reports what remains to those who watch the run, and writes it next to the run's logs.
    pub(super) fn left(&self, why: &Why) -> LeftBehind {
        let left = left_behind(&self.cluster, &self.server, &self.kubeconfig, why);
        self.say(&format!("{left}"));
        let path = left_file(&self.logs, &self.cluster);
        let text = serde_json::to_vec_pretty(&left).unwrap_or_default();
        if let Err(error) = std::fs::write(&path, text) {
            tracing::warn!(path = %path.display(), %error, "the list of what remains could not be written");
        }
        left
    }
}

fn left_file(logs: &Path, cluster: &str) -> PathBuf {
    logs.join(format!("{LEFT_PREFIX}{cluster}.json"))
}

/// Reads what clean-ups of a run have left, from the files next to its logs.
pub fn left_in(logs: &Path) -> Vec<LeftBehind> {
    let entries = std::fs::read_dir(logs).into_iter().flatten().flatten();
    let files = entries.filter(|e| e.file_name().to_string_lossy().starts_with(LEFT_PREFIX));
    files.filter_map(|file| serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()).collect()
}

/// Describes what remains in a cluster, with the command that continues the clean-up.
pub(super) fn left_behind(cluster: &str, server: &str, kubeconfig: &Path, why: &Why) -> LeftBehind {
    let (objects, more, reason) = match why {
        Why::Stuck(Stuck::Objects { left, after_s }) => {
            let (objects, more) = left::told(left);
            (objects, more, format!("they were still there after {after_s} s of cleaning up"))
        }
        other => (Vec::new(), 0, format!("{other}; it is not known which objects")),
    };
    LeftBehind {
        cluster: cluster.to_owned(),
        server: server.to_owned(),
        objects,
        more,
        reason,
        next: format!("cargo xtask adopt --release --kubeconfig {}", kubeconfig.display()),
    }
}

/// Removes what is there on behalf of the cluster's holder, renews the record meanwhile, and gives the cluster back.
pub(super) async fn clear(
    client: &Client,
    hold: Hold,
    extent: Extent,
    limits: Limits,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), Why> {
    match hold.during(cleanup::until_nothing(client, extent, limits, say)).await {
        Ok(Ok(())) => {
            let removed = hold.end().remove(client).await;
            removed.map_err(|error| Why::Stuck(Stuck::Blind(error.to_string())))
        }
        Ok(Err(stuck)) => {
            hold.end().give_up(client).await;
            Err(Why::Stuck(stuck))
        }
        Err(lost) => Err(Why::Lost(lost)),
    }
}

/// Removes what the run of a scratch directory has created. The janitor uses it when the supervisor cannot clean up.
///
/// # Errors
/// When something remains in one of the clusters.
pub async fn sweep_scratch(scratch: &Path) -> Result<(), Error> {
    let below = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let leases = below(scratch);
    let dirs = leases.iter().flat_map(|lease| below(lease)).filter(|dir| dir.join(MARKER).is_file());
    let dirs: Vec<PathBuf> = dirs.collect();
    let limits = Limits::from_env()?;
    let cleaned = join_all(dirs.iter().map(|dir| clean(dir, None, limits))).await;
    let left = cleaned.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let left: Vec<String> = left.into_iter().flatten().map(|left| left.to_string()).collect();
    if left.is_empty() { Ok(()) } else { Err(Error::LeftBehind(left.join("\n"))) }
}

/// Cleans the cluster of a scratch directory and gives it back. Returns what remains.
///
/// # Errors
/// When the directory has no readable marker.
pub(super) async fn clean(
    dir: &Path,
    hold: Option<Hold>,
    limits: Limits,
) -> Result<Option<LeftBehind>, Error> {
    let marker = Marker::read(dir)?;
    let _ = std::fs::remove_file(left_file(&marker.logs, &marker.cluster));
    let cleaned = clean_as(&marker, dir, hold, limits).await;
    // There is only one attempt: what remains is reported, and the record in the cluster shows that the clean-up must
    // be continued.
    Marker::remove(dir);
    Ok(cleaned.err().map(|why| marker.left(&why)))
}

async fn clean_as(marker: &Marker, dir: &Path, hold: Option<Hold>, limits: Limits) -> Result<(), Why> {
    let blind = |error: Error| Why::Stuck(Stuck::Blind(error.to_string()));
    let client = connect(&dir.join("admin.kubeconfig")).await.map_err(blind)?;
    let hold = match hold.filter(|hold| hold.is_lost().is_none()) {
        Some(hold) => hold,
        None => Hold::keep(&client, take_over(&client, &marker.mark, limits).await?),
    };
    clear(&client, hold, Extent::Everything, limits, &|text| marker.say(text)).await?;
    tracing::info!(cluster = marker.cluster, "the cluster is as it was");
    Ok(())
}

/// Takes over the record of the run for this process, and asks again while the apiserver does not answer.
async fn take_over(client: &Client, mark: &str, limits: Limits) -> Result<Held, Why> {
    const REQUEST: Duration = Duration::from_secs(10);
    let taken = poll::until("the record of the run", Duration::from_secs(1), limits.patience(), || async {
        match tokio::time::timeout(REQUEST, Held::take_over(client, mark)).await {
            Ok(Ok(held)) => Look::Ready(held),
            Ok(Err(Refused::Lost(why))) => Look::Never(why),
            Ok(Err(Refused::Failed(why))) => Look::NotYet(why),
            Err(_) => Look::NotYet("no answer".to_owned()),
        }
    });
    taken.await.map_err(|error| match error {
        poll::Error::Never { reason, .. } => Why::Lost(reason),
        late @ poll::Error::TimedOut { .. } => Why::Stuck(Stuck::Blind(late.to_string())),
    })
}
