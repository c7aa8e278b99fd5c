//! What a StatefulSet guarantees for its Pods while they are evicted: one Pod per ordinal, and in order.

use std::collections::BTreeMap;

use anyhow::ensure;
use harness_analysis::judge::eviction::ended_us;
use harness_model::record::PodRecord;

use crate::chain::Run;

/// The controller acts on its last known state, which may not include the eviction of another Pod a moment ago.
const SEEN_WITHIN_US: u64 = 1_000_000;

/// Pods of each StatefulSet by ordinal, in order of their creation.
type Ordinals<'a> = BTreeMap<&'a str, BTreeMap<u32, Vec<&'a PodRecord>>>;

fn ordinals(run: &Run) -> Ordinals<'_> {
    let mut sets = Ordinals::new();
    for pod in run.evidence.pods.iter().filter(|p| p.archetype == "stateful-set") {
        let ordinal = pod.name.rsplit_once('-').and_then(|(_, n)| n.parse().ok());
        if let Some(ordinal) = ordinal {
            sets.entry(&pod.workload).or_default().entry(ordinal).or_default().push(pod);
        }
    }
    sets.values_mut().flat_map(BTreeMap::values_mut).for_each(|pods| pods.sort_by_key(|p| p.created_us));
    sets
}

/// The claim is void unless ordinals were recreated at all.
fn recreated(sets: &Ordinals<'_>) -> anyhow::Result<()> {
    let again = sets.values().flat_map(BTreeMap::values).filter(|pods| pods.len() > 1).count();
    ensure!(again > 0, "void: no Pod of a StatefulSet was evicted");
    Ok(())
}

/// Each ordinal has only one object at a time, including Terminating ones: two would share an identity.
pub fn never_twice(run: &Run) -> anyhow::Result<()> {
    let sets = ordinals(run);
    recreated(&sets)?;
    for (ordinal, pods) in sets.values().flatten() {
        for pair in pods.windows(2) {
            ensure!(
                pair[0].gone_us.is_some_and(|gone| gone <= pair[1].created_us),
                "two Pods were ordinal {ordinal} at once: {:?} and {:?}",
                pair[0],
                pair[1]
            );
        }
    }
    Ok(())
}

/// Ordinal i is created when all before it are Ready, even in the middle of a wave.
pub fn in_order(run: &Run) -> anyhow::Result<()> {
    let sets = ordinals(run);
    recreated(&sets)?;
    for set in sets.values() {
        for (ordinal, pods) in set {
            for pod in pods {
                let at = pod.created_us;
                let ready = |p: &&PodRecord| {
                    p.running_us.is_some_and(|t| t <= at)
                        && ended_us(p).is_none_or(|t| t + SEEN_WITHIN_US > at)
                };
                let missing =
                    (0..*ordinal).find(|before| !set.get(before).is_some_and(|pods| pods.iter().any(ready)));
                ensure!(missing.is_none(), "{} came before ordinal {missing:?} was Ready: {pod:?}", pod.name);
            }
        }
    }
    Ok(())
}
