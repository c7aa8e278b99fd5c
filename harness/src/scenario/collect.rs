//! Writes what was observed.

use std::collections::BTreeMap;

use crate::observe::Observer;
use crate::scenario::account;
use crate::scenario::fleet::Fleet;
use crate::scenario::recorder::Recorder;
use harness_model::record::{Error, Event, RunDir, Tally, count_lines, write_lines_gz};

/// Writes Pods and Nodes as far as they were seen. What cannot be written is lost, and counted in the tally.
pub fn ledgers(observer: &Observer, dir: &RunDir, tally: &Tally) {
    let (mut pods, mut nodes) = (Vec::new(), Vec::new());
    for cluster in observer.clusters() {
        let Some(ledger) = observer.ledger(cluster) else { continue };
        pods.extend(ledger.pods().cloned());
        nodes.extend(ledger.nodes().cloned());
    }
    match tally.create(&dir.nodes()) {
        Ok(mut writer) => nodes.iter().for_each(|node| writer.write(node)),
        Err(error) => tally.lost(&dir.nodes(), nodes.len() as u64, &error),
    }
    pods.sort_by(|a, b| (&a.cluster, a.created_us, &a.name).cmp(&(&b.cluster, b.created_us, &b.name)));
    match write_lines_gz(&dir.pods(), &pods) {
        Ok(()) => tally.wrote(&dir.pods(), pods.len() as u64),
        Err(error) => tally.lost(&dir.pods(), pods.len() as u64, &error),
    }
}

/// Counts the lines of the files that other programs of the run wrote, once these programs have ended. Each of them
/// ends with an error if it cannot write a line, so the files are complete.
///
/// # Errors
/// When a file cannot be read.
pub fn foreign_files<'a>(
    clusters: impl Iterator<Item = &'a str>,
    dir: &RunDir,
    tally: &Tally,
) -> Result<(), Error> {
    let of_clusters = clusters.flat_map(|cluster| [dir.rollups(cluster), dir.load_events(cluster)]);
    for path in of_clusters.chain([dir.audit()]).filter(|path| path.exists()) {
        tally.wrote(&path, count_lines(&path)?);
    }
    Ok(())
}

/// Records the accounts of clusters, shard and drivers. Accounts that cannot be obtained are noted, and the judge finds
/// them missing.
pub async fn accounts(observer: &Observer, fleet: Option<&Fleet>, recorder: &Recorder) {
    let bare = fleet.map_or(&[][..], |fleet| &fleet.bare[..]);
    for cluster in observer.clusters() {
        match account::declared(observer, cluster, bare).await {
            Ok(workloads) => recorder.record(Event::Declared { cluster: cluster.to_owned(), workloads }),
            Err(error) => recorder.note(format!("{cluster}: {error:#}")),
        }
        match account::ledger_check(observer, cluster).await {
            Ok(event) => recorder.record(event),
            Err(error) => recorder.note(format!("{cluster}: {error:#}")),
        }
    }
    let Some(fleet) = fleet else { return };
    match account::shard(&fleet.shard_http).await {
        Ok(event) => recorder.record(event),
        Err(error) => recorder.note(format!("the shard's account is missing: {error:#}")),
    }
    for driver in &fleet.drivers {
        match driver.status().await {
            Ok(status) => {
                recorder.record(Event::DriverReport { cluster: driver.cluster().to_owned(), status })
            }
            Err(error) => recorder.note(format!("{error:#}")),
        }
    }
}

/// Returns the live Pods without a Node, by the scheduler's last message, most frequent first.
pub fn unbound_reasons(observer: &Observer) -> Vec<(String, u64)> {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for cluster in observer.clusters() {
        let Some(ledger) = observer.ledger(cluster) else { continue };
        for pod in ledger.pods().filter(|p| p.is_live() && p.bound_us.is_none()) {
            let reason = pod.reason.clone().unwrap_or_else(|| "the scheduler said nothing".into());
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    reasons
}
