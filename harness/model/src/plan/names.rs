//! Names and label values that contain a cluster's and an archetype's name; known only once objects are counted.

use std::collections::BTreeMap;

use super::error::Refusal;
use super::{ClusterPlan, Workload};
use crate::profile::Kind;
use crate::profile::kubernetes::LABEL_MAX;

/// Length that the StatefulSet controller adds to the name for the label `controller-revision-hash`: `-` and up to ten
/// characters. Without room for it, the apiserver refuses every Pod of the set.
const REVISION_HASH: usize = 11;

/// Returns, for each archetype, the name that exceeds the limit of Kubernetes the most.
pub fn refusals(clusters: &[ClusterPlan]) -> Vec<Refusal> {
    let mut worst = BTreeMap::<&str, (usize, Refusal)>::new();
    for workload in clusters.iter().flat_map(|c| &c.workloads) {
        for (what, text, max) in names(workload) {
            let over = text.len().saturating_sub(max);
            let known = worst.get(workload.archetype.as_str()).map_or(0, |(over, _)| *over);
            if over > known {
                let archetype = workload.archetype.clone();
                let refusal = Refusal::Name { archetype, what, text: text.to_owned(), max, over };
                worst.insert(&workload.archetype, (over, refusal));
            }
        }
    }
    worst.into_values().map(|(_, refusal)| refusal).collect()
}

fn names(workload: &Workload) -> impl Iterator<Item = (&'static str, &str, usize)> {
    let own = match workload.kind {
        Kind::Deployment => ("Deployment", workload.name.as_str(), LABEL_MAX),
        Kind::StatefulSet => ("StatefulSet", workload.name.as_str(), LABEL_MAX - REVISION_HASH),
    };
    let gang = workload.gang.as_deref().map(|gang| ("gang", gang, LABEL_MAX));
    [own].into_iter().chain(gang)
}
