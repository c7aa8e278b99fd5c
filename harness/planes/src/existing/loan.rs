//! Clusters on loan: taken by a record in each, held as long as the lease lasts, and given back as they were.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::cleanup::{self, Limits};
use super::given::Given;
use super::hold::Hold;
use super::record::{Held, Refused, State};
use super::sweep::Extent;
use super::tidy::{self, Marker, Why};
use super::{Existing, Found};
use crate::Error;
use crate::spec::ClusterSpec;
use harness_model::components::KWOK;
use harness_model::record::event::{self, LeftBehind};
use harness_processes::Key;

/// How long kwok may take to stop once the cluster is no longer ours.
const LOST_GRACE: Duration = Duration::from_secs(1);

/// State of the record of an existing cluster that is leased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// The lease.
    pub lease: String,
    /// How the record was kept.
    pub hold: event::Hold,
    /// Why it is lost, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

impl Existing {
    /// Returns what a clean-up of the cluster must know. `logs` is the run's directory of logs, and `dir` is named
    /// after the cluster.
    pub(super) fn marker(&self, given: &Given, dir: &Path, logs: &Path) -> Marker {
        Marker {
            mark: self.mark.clone(),
            cluster: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            server: given.server().to_owned(),
            kubeconfig: given.path.clone(),
            logs: logs.to_owned(),
        }
    }

    /// Notes for a later clean-up that the cluster is about to be changed, creates the record, and removes what an
    /// earlier run has left.
    pub(super) async fn claim(
        &self,
        lease: &str,
        spec: &ClusterSpec,
        found: &Found,
        dir: &Path,
        logs: &Path,
    ) -> Result<(), Error> {
        let marker = self.marker(&found.given, dir, logs.parent().unwrap_or(logs));
        marker.write(dir)?;
        self.touch(found.index, true);
        let client = &found.client;
        let (over, extent) = match &found.state {
            State::Over(old) => (Some(&**old), Extent::Everything),
            // Without a record, only objects with the label of a run are known to be a run's.
            _ => (None, Extent::Installed),
        };
        let held = Held::claim(client, &self.mark, over).await.inspect_err(|refused| {
            if matches!(refused, Refused::Lost(_)) {
                self.untouch(found.index, dir);
            }
        })?;
        let hold = Hold::keep(client, held);
        if over.is_some() {
            marker.say("removing what an earlier run left behind");
        }
        let say = |text: &str| marker.say(text);
        match hold.during(cleanup::until_nothing(client, extent, self.limits(), &say)).await {
            Ok(Ok(())) => {}
            Ok(Err(stuck)) => {
                // One attempt is enough: the next run continues.
                hold.end().give_up(client).await;
                self.untouch(found.index, dir);
                return Err(Error::LeftBehind(marker.left(&Why::Stuck(stuck)).to_string()));
            }
            Err(why) => return Err(Error::Environment(format!("the cluster was lost: {why}"))),
        }
        let was_over = over.is_some();
        self.keep(lease, spec, found.index, hold);
        if was_over { self.refuse_obstacles(&found.given, client).await } else { Ok(()) }
    }

    fn limits(&self) -> Limits {
        Limits::with_patience(self.settings.cleanup_patience_s)
    }

    fn touch(&self, index: usize, touched: bool) {
        if let Some(taken) = self.lock().get_mut(&index) {
            taken.touched = touched;
        }
    }

    /// Notes that there is nothing of ours to remove.
    fn untouch(&self, index: usize, dir: &Path) {
        Marker::remove(dir);
        self.touch(index, false);
    }

    /// Continues to hold a cluster. If it is lost, its kwok is stopped at once, so that two never act there.
    fn keep(&self, lease: &str, spec: &ClusterSpec, index: usize, hold: Hold) {
        let (loss, local) = (hold.loss(), self.local.clone());
        let kwok = Key::of_cluster(lease, &spec.name, KWOK);
        tokio::spawn(async move {
            let Some(why) = loss.await else { return };
            tracing::error!(%kwok, why, "the cluster was lost");
            if let Err(error) = local.table.end(&kwok, LOST_GRACE).await {
                tracing::warn!(%kwok, %error, "it could not be stopped");
            }
        });
        if let Some(taken) = self.lock().get_mut(&index) {
            taken.hold = Some(hold);
        }
    }

    /// Returns the state of our records.
    pub(crate) fn holds(&self) -> Vec<HoldStatus> {
        let all = self.lock();
        let held = all.values().filter_map(|taken| Some((taken, taken.hold.as_ref()?)));
        held.map(|(taken, hold)| HoldStatus {
            lease: taken.lease.clone(),
            hold: hold.account(&taken.cluster),
            lost: hold.is_lost(),
        })
        .collect()
    }

    /// Removes what was created in the clusters of a lease, or of all leases, and gives them back. Returns what
    /// remains.
    pub(crate) async fn release(&self, lease: Option<&str>) -> Vec<LeftBehind> {
        let _one_at_a_time = self.releasing.lock().await;
        let of_lease: Vec<(usize, Option<PathBuf>, Option<Hold>)> = {
            let mut all = self.lock();
            let wanted = all.iter_mut().filter(|(_, taken)| lease.is_none_or(|lease| taken.lease == lease));
            let wanted = wanted
                .map(|(index, taken)| (*index, taken.touched.then(|| taken.dir.clone()), taken.hold.take()));
            wanted.collect()
        };
        let indices: Vec<usize> = of_lease.iter().map(|(index, ..)| *index).collect();
        let limits = self.limits();
        let touched = of_lease.into_iter().filter_map(|(_, dir, hold)| Some((dir?, hold)));
        let cleaned =
            join_all(touched.map(|(dir, hold)| async move { tidy::clean(&dir, hold, limits).await })).await;
        let mut left = Vec::new();
        for cleaned in cleaned {
            match cleaned {
                Ok(stays) => left.extend(stays),
                Err(error) => tracing::error!(%error, "a cluster was not cleaned; left to the next run"),
            }
        }
        let mut all = self.lock();
        indices.iter().for_each(|index| drop(all.remove(index)));
        left
    }
}
