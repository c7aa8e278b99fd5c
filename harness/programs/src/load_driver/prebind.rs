//! Pre-binding (ADR-0035): load-driver binds the first fill itself onto Nodes that were seeded Configured, so
//! that a run starts with all of them alike full. The scenario holds the scheduler back meanwhile; should it bind
//! some Pods first, that is no fault.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use api::inventory::SeedState;
use component::apiserver;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use tokio::time::MissedTickBehavior;

use super::cluster::Cluster;
use super::world::Seen;
use harness_model::plan::ClusterPlan;

/// Least time between two looks: a StatefulSet's next Pod comes when the one before it is bound and ready.
const INTERVAL: Duration = Duration::from_millis(100);

/// A Node with room for Pods of one archetype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Node name.
    pub node: String,
    /// Rack or zone, whichever the archetype's gangs share; else empty.
    pub domain: String,
    /// Pods that it still takes.
    pub free: u32,
}

/// Binds every unbound Pod that a seeded Node has room for, until the fill is bound. Begins once all seeded Nodes
/// are there: the first ones would get all Pods.
pub async fn run(cluster: &Cluster, plan: &ClusterPlan) {
    let nodes: Api<Node> = Api::all(cluster.client());
    let machines = &cluster.plan.inventory.machines;
    let serves = |m: &&api::inventory::SeedMachine| {
        m.state == SeedState::Configured && m.cluster.as_deref() == Some(plan.name.as_str())
    };
    let seeded = machines.iter().filter(serves).count();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Pods this program has put on each Node; each archetype has its Nodes to itself.
    let mut taken = BTreeMap::<String, u32>::new();
    // Pods this program has bound: the watch may not have told of it yet.
    let mut placed = HashSet::<String>::new();
    while cluster.world.totals().bound < plan.pods {
        cluster.world.until(|t| t.bound < t.live || t.bound >= plan.pods).await;
        ticks.tick().await;
        let listed = match nodes.list(&ListParams::default().labels(api::names::MACHINE_NODES)).await {
            Ok(list) => list.items,
            Err(error) => {
                tracing::warn!(%error, "listing Nodes failed; retrying");
                if matches!(apiserver::code(&error), Some(401 | 403)) {
                    cluster.failures.add("list Nodes", apiserver::words(&error));
                }
                continue;
            }
        };
        if listed.len() < seeded {
            tracing::debug!(there = listed.len(), seeded, "waiting for seeded Nodes");
            continue;
        }
        let mut bindings = Vec::new();
        for (workload, pods) in cluster.world.unbound() {
            let Some(w) = plan.workloads.iter().find(|w| w.name == workload) else { continue };
            let pods: Vec<Seen> = pods.into_iter().filter(|p| !placed.contains(&p.uid)).collect();
            let rooms = rooms(cluster, &w.archetype, &listed, &taken);
            for (pod, node) in assign(&rooms, &pods, w.gang.is_some()) {
                *taken.entry(node.clone()).or_default() += 1;
                placed.insert(pod.uid.clone());
                bindings.push((pod, node));
            }
        }
        let bound = bindings.iter().map(|(pod, node)| async move {
            if let Err(refused) = cluster.bind(pod, node).await {
                cluster.report(&refused);
            }
        });
        futures::future::join_all(bound).await;
    }
}

fn rooms(cluster: &Cluster, archetype: &str, nodes: &[Node], taken: &BTreeMap<String, u32>) -> Vec<Room> {
    let shape = &cluster.plan.catalog.archetypes[archetype];
    let holds = shape.pods_per_machine(cluster.plan.profile.density);
    let domain_key = shape.gang.as_ref().map(|g| g.scope.topology_key());
    let room = |node: &Node| {
        let labels = node.metadata.labels.as_ref()?;
        (labels.get(api::names::ARCHETYPE)? == archetype).then_some(())?;
        let name = node.metadata.name.clone()?;
        let domain = domain_key.and_then(|key| labels.get(key)).cloned().unwrap_or_default();
        let free = holds.saturating_sub(taken.get(&name).copied().unwrap_or(0));
        Some(Room { node: name, domain, free })
    };
    nodes.iter().filter_map(room).collect()
}

/// Where each Pod goes: always the Node with most room, so that all Nodes fill alike; a gang wholly into the
/// first domain that has room for it, or nowhere.
pub fn assign(rooms: &[Room], pods: &[Seen], gang: bool) -> Vec<(Seen, String)> {
    let mut domains = BTreeMap::<&str, Vec<Room>>::new();
    for room in rooms {
        domains.entry(if gang { &room.domain } else { "" }).or_default().push(room.clone());
    }
    for mut rooms in domains.into_values() {
        let free: u32 = rooms.iter().map(|r| r.free).sum();
        if gang && (free as usize) < pods.len() {
            continue;
        }
        let mut assigned = Vec::new();
        for pod in pods {
            let Some(most) = rooms.iter_mut().rev().max_by_key(|r| r.free).filter(|r| r.free > 0) else {
                break;
            };
            most.free -= 1;
            assigned.push((pod.clone(), most.node.clone()));
        }
        return assigned;
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(node: &str, domain: &str, free: u32) -> Room {
        Room { node: node.into(), domain: domain.into(), free }
    }

    fn pods(n: usize) -> Vec<Seen> {
        let pod = |i| Seen { created_s: 0, name: format!("p{i}"), uid: format!("u{i}"), bound: false };
        (0..n).map(pod).collect()
    }

    fn nodes(assigned: &[(Seen, String)]) -> Vec<&str> {
        assigned.iter().map(|(_, node)| node.as_str()).collect()
    }

    #[test]
    fn nodes_fill_alike_and_never_over() {
        let rooms = [room("a", "", 2), room("b", "", 1)];
        assert_eq!(nodes(&assign(&rooms, &pods(5), false)), ["a", "a", "b"]);
    }

    #[test]
    fn a_gang_goes_into_one_domain_or_nowhere() {
        let rooms = [room("a", "r1", 1), room("b", "r2", 1), room("c", "r2", 1)];
        let assigned = assign(&rooms, &pods(2), true);
        let mut placed = nodes(&assigned);
        placed.sort_unstable();
        assert_eq!(placed, ["b", "c"]);
        assert!(assign(&rooms, &pods(3), true).is_empty());
    }
}
