//! Clusters that no run may use.

use anyhow::{bail, ensure};
use harness_planes::spec::{Lease, LeaseSpec};
use harness_supervisor::Error;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use suites::block_on;
use suites::world::World;

use crate::by_hand::{ByHand, LEFT_BY, THEIRS, create};
use crate::everything;

fn refusal(leased: Result<Lease, Error>, exit_code: u8, parts: &[&str]) -> anyhow::Result<()> {
    let Err(error) = leased else { bail!("leased, in spite of {parts:?}") };
    let told = error.to_string();
    ensure!(error.exit_code() == exit_code, "exit code {}: {told}", error.exit_code());
    for part in parts {
        ensure!(told.contains(part), "{part:?} is not told: {told}");
    }
    Ok(())
}

/// One obstacle after the other, on one cluster.
pub fn obstacles(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        let path = cluster.kubeconfig.display().to_string();
        let world =
            World::of_existing(label, &[cluster.kubeconfig.clone(), cluster.kubeconfig.clone()]).await?;
        let lease = async |count| world.client.lease(&LeaseSpec::of(count)).await;
        refusal(lease(1).await, 2, &[&path, "label", "cargo xtask adopt --kubeconfig"])?;
        everything::becomes(&cluster.client, &cluster.before, LEFT_BY).await?;

        cluster.let_in()?;
        let adopted = everything::at_rest(&cluster.client).await?;
        refusal(lease(2).await, 2, &["of the same cluster"])?;
        refusal(lease(3).await, 2, &["3 clusters are asked for", "2 are free"])?;
        let mut binds = LeaseSpec::of(1);
        binds.clusters[0].run_scheduler = false;
        refusal(world.client.lease(&binds).await, 2, &["pod-shim"])?;
        everything::becomes(&cluster.client, &adopted, LEFT_BY).await?;

        let (client, class) = (&cluster.client, json!({"metadata": {"name": "e2e-100"}, "value": 5}));
        create(client, "scheduling.k8s.io/v1", "PriorityClass", None, class).await?;
        refusal(lease(1).await, 2, &["PriorityClass e2e-100", "it has not made"])?;
        type Class = k8s_openapi::api::scheduling::v1::PriorityClass;
        Api::<Class>::all(client.clone()).delete("e2e-100", &DeleteParams::default()).await?;

        let quota = json!({"metadata": {"name": "theirs"}, "spec": {"hard": {"pods": "10"}}});
        create(client, "v1", "ResourceQuota", Some("default"), quota).await?;
        refusal(lease(1).await, 2, &["ResourceQuotas in the namespace default", "theirs"])?;
        type Quota = k8s_openapi::api::core::v1::ResourceQuota;
        Api::<Quota>::namespaced(client.clone(), "default")
            .delete("theirs", &DeleteParams::default())
            .await?;

        let spec = json!({"containers": [{"name": "c", "image": "none"}], "nodeName": cluster.node});
        let pod = json!({"metadata": {"name": "theirs"}, "spec": spec});
        create(client, "v1", "Pod", Some(THEIRS), pod).await?;
        refusal(lease(1).await, 2, &["count as load", "bystander/theirs"])?;
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), THEIRS);
        pods.delete("theirs", &DeleteParams::default().grace_period(0)).await?;
        everything::becomes(client, &adopted, LEFT_BY).await?;
        world.end().await?;
        cluster.ends_as_it_began().await
    })
}

/// While a cluster is in use, another supervisor and `adopt --release` are refused.
pub fn in_use(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        cluster.let_in()?;
        let first = cluster.world(&format!("{label}-1")).await?;
        let second = cluster.world(&format!("{label}-2")).await?;
        let lease = first.client.lease(&LeaseSpec::of(1)).await?;
        refusal(first.client.lease(&LeaseSpec::of(1)).await, 2, &["0 are free"])?;
        refusal(second.client.lease(&LeaseSpec::of(1)).await, 3, &["in use by run", &first.run_id])?;
        let released = cluster.adopt(&["--release"])?;
        let told = String::from_utf8_lossy(&released.stderr).into_owned();
        ensure!(released.status.code() == Some(3) && told.contains(&first.run_id), "{told}");
        first.client.release(&lease.id).await?;
        let again = second.client.lease(&LeaseSpec::of(1)).await?;
        second.client.release(&again.id).await?;
        first.end().await?;
        second.end().await?;
        cluster.ends_as_it_began().await
    })
}
