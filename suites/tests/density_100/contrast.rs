//! How the scheduler's configuration affects one Deployment, on Nodes that exist before it: packing needs both
//! MostAllocated and the spreading override (`docs/adr/0004-spreading-override.md`).

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use harness::scenario::prepare::lease_spec;
use harness_model::profile::{self, fixtures_dir};
use harness_planes::spec::{Cluster, ClusterSpec, LeaseSpec};
use harness_supervisor::Client as Supervisor;
use libtest_mimic::Trial;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use suites::nodes_first::{Load, bind, make_nodes, pods_per_node};
use suites::shared::once;

const NODES: usize = 20;
const PODS_PER_NODE: usize = 50;
/// These fill exactly three Nodes, or put seven to eight on each of the twenty.
const PODS: usize = 150;
/// Maximum number of Pods on one Node that still counts as spread: twice the mean. Calibrated: see [`spread`].
const SPREAD_MAX: u64 = 15;

/// Each configuration with the profile and the overrides that select it.
const CONFIGURATIONS: [(&str, &str, &[&str]); 4] = [
    ("most-allocated", "density", &[]),
    ("no-spreading-override", "density", &["harness.schedulerConfig=no-spreading-override.yaml"]),
    ("least-allocated", "density", &["harness.schedulerConfig=least-allocated.yaml"]),
    ("two-schedulers", "two-schedulers", &[]),
];

/// What was seen with one configuration.
#[derive(Serialize, Deserialize)]
struct Seen {
    /// Pods per used Node of a Deployment under the default scheduler, the fullest first.
    plain: Vec<u64>,
    /// The same for a second Deployment under `spread-scheduler`, if there is one.
    spread_out: Vec<u64>,
    /// The profiles that the running scheduler itself reports.
    profiles: Value,
}

pub fn trials() -> Vec<Trial> {
    vec![
        suites::trial("most_allocated::fills_three_of_twenty_nodes", || {
            let seen = seen("most-allocated")?;
            ensure!(seen.plain == [50, 50, 50], "Pods per Node are {:?}", seen.plain);
            Ok(())
        }),
        suites::trial("no_spreading_override::uses_every_node", || {
            spread(&seen("no-spreading-override")?.plain, NODES)
        }),
        suites::trial("least_allocated::uses_every_node", || spread(&seen("least-allocated")?.plain, NODES)),
        suites::trial("overlay::a_second_scheduler_spreads_beside_one_that_packs", || {
            let seen = seen("two-schedulers")?;
            ensure!(seen.plain == [50, 50, 50], "Pods of the default scheduler: {:?}", seen.plain);
            // On the Nodes that the other Pods left free.
            spread(&seen.spread_out, NODES - 3)
        }),
        suites::trial("overlay::what_runs_is_what_the_profile_says", || {
            let seen = seen("two-schedulers")?;
            let strategies: BTreeMap<&str, &str> =
                seen.profiles.as_array().into_iter().flatten().filter_map(scoring_strategy).collect();
            let expected = [("default-scheduler", "MostAllocated"), ("spread-scheduler", "LeastAllocated")];
            ensure!(strategies == expected.into(), "kube-scheduler says that it runs {strategies:?}");
            Ok(())
        }),
    ]
}

/// Checks that every Node is used, and none by more than twice the mean.
fn spread(pods_per_node: &[u64], nodes: usize) -> anyhow::Result<()> {
    ensure!(
        pods_per_node.len() == nodes && pods_per_node[0] <= SPREAD_MAX,
        "Pods per Node are {pods_per_node:?}: not all {nodes} Nodes with at most {SPREAD_MAX} each"
    );
    Ok(())
}

fn scoring_strategy(profile: &Value) -> Option<(&str, &str)> {
    let plugins = profile["pluginConfig"].as_array()?;
    let fit = plugins.iter().find(|plugin| plugin["name"] == "NodeResourcesFit")?;
    Some((profile["schedulerName"].as_str()?, fit.pointer("/args/scoringStrategy/type")?.as_str()?))
}

fn seen(configuration: &str) -> anyhow::Result<Seen> {
    let mut all: BTreeMap<String, Seen> =
        once("density_100-contrast", &[], || suites::block_on(look_at_all()))?;
    all.remove(configuration).with_context(|| format!("nothing was seen of {configuration}"))
}

/// Leases one control plane per configuration, all at once, because nothing here is about speed.
async fn look_at_all() -> anyhow::Result<BTreeMap<String, Seen>> {
    let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
    let clusters = CONFIGURATIONS.iter().map(|(name, profile, set)| cluster(name, profile, set));
    let clusters = clusters.collect::<anyhow::Result<Vec<ClusterSpec>>>()?;
    let lease = supervisor.lease(&LeaseSpec { clusters }).await?;
    let seen = try_join_all(lease.clusters.iter().map(look)).await?;
    supervisor.release(&lease.id).await?;
    Ok(lease.clusters.iter().map(|cluster| cluster.name.clone()).zip(seen).collect())
}

/// Returns the control plane that a run of the profile would have.
fn cluster(name: &str, profile: &str, set: &[&str]) -> anyhow::Result<ClusterSpec> {
    let overrides: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
    let loaded = profile::load(&fixtures_dir(), profile, &overrides)?;
    let limit_mib = loaded.profile.control_plane.gomemlimit_mib();
    let mut clusters = lease_spec(&loaded.profile, limit_mib).clusters;
    let spec = clusters.pop().with_context(|| format!("profile {profile} has no cluster"))?;
    Ok(ClusterSpec { name: name.to_owned(), ..spec })
}

async fn look(cluster: &Cluster) -> anyhow::Result<Seen> {
    let admin = component::client::connect_unlimited(&cluster.kubeconfigs["admin"]).await?;
    make_nodes(&admin, NODES, PODS_PER_NODE).await?;
    let plain = bind(&admin, Load { name: "plain", replicas: PODS, scheduler: None }).await?;
    let profiles = cluster.read_back["kube-scheduler"]["profiles"].clone();
    let scheduler = Some("spread-scheduler");
    let has_second =
        profiles.as_array().into_iter().flatten().any(|p| p["schedulerName"] == "spread-scheduler");
    let spread_out = match has_second {
        true => bind(&admin, Load { name: "spread-out", replicas: PODS, scheduler }).await?,
        false => Vec::new(),
    };
    Ok(Seen { plain: pods_per_node(&plain), spread_out: pods_per_node(&spread_out), profiles })
}
