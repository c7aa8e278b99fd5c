//! What happens when more requests come at once than an apiserver works on: they wait, and none is rejected.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use component::{apiserver, client::connect_unlimited};
use futures::future::{join, join_all};
use harness_planes::spec::LeaseSpec;
use harness_supervisor::protocol::Verb;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use serde_json::Value;
use suites::block_on;

use suites::world::World;

/// More requests of one user than the built-in level `workload-high` works on and queues: about 240 seats, and 50 in
/// each of the user's 6 queues (Kubernetes docs, "API Priority and Fairness").
const BURST: usize = 1_000;
/// How long etcd stands still, as it does when its disk is busy.
const STALL: Duration = Duration::from_secs(2);

/// The scheduler and the controllers write to an etcd that stands still for a moment.
pub fn bursts_wait(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let admin = &lease.clusters[0].kubeconfigs["admin"];
        let scheduler = connect_unlimited(&admin.with_file_name("kube-scheduler.kubeconfig")).await?;
        let replica_sets =
            connect_as(admin, "system:serviceaccount:kube-system:replicaset-controller").await?;
        let etcd = |verb| world.client.component(&lease.id, Some("kwok-cluster-0"), "etcd", verb);
        etcd(Verb::Pause).await?;
        let resumed = async {
            tokio::time::sleep(STALL).await;
            etcd(Verb::Continue).await
        };
        let bursts = join(burst(&scheduler, "s"), burst(&replica_sets, "r"));
        let ((by_scheduler, by_replica_sets), resumed) = join(bursts, resumed).await;
        resumed?;
        for (who, refused) in [("kube-scheduler", by_scheduler), ("replicaset-controller", by_replica_sets)] {
            ensure!(
                refused.is_empty(),
                "{} of {BURST} requests of {who} were refused, such as: {}",
                refused.len(),
                refused[0]
            );
        }
        world.end().await
    })
}

/// Creates that many Events at once, and returns the errors of those that failed.
async fn burst(client: &Client, prefix: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let create = |number: usize| {
        let events = events.clone();
        let named = ObjectMeta { name: Some(format!("{prefix}-{number}")), ..ObjectMeta::default() };
        let event = Event { metadata: named, ..Event::default() };
        async move {
            let made = events.create(&PostParams::default(), &event).await;
            made.err().map(|error| format!("{:?}: {error}", apiserver::code(&error)))
        }
    };
    join_all((0..BURST).map(create)).await.into_iter().flatten().collect()
}

/// Returns a client for a user that the administrator may impersonate.
async fn connect_as(admin: &Path, user: &str) -> anyhow::Result<Client> {
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(admin)?)?;
    let credentials = kubeconfig.pointer_mut("/users/0/user").context("no user in the kubeconfig")?;
    credentials["as"] = user.into();
    let file = admin.with_file_name("as.kubeconfig");
    std::fs::write(&file, kubeconfig.to_string())?;
    connect_unlimited(&file).await
}
