//! What prevents a cluster from being released: an object that cannot be deleted, and another holder.

use anyhow::{Context, bail, ensure};
use api::names;
use component::poll::{self, Look};
use harness_model::components::KWOK;
use harness_planes::existing::CLEANUP_LOG;
use harness_planes::spec::LeaseSpec;
use harness_supervisor::protocol::ProcessState;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use suites::block_on;
use suites::world::World;

use crate::by_hand::{ByHand, CEILING, TICK, create};

const HOLD: &str = "example.com/hold";
/// Seconds after which clean-ups here give up.
const PATIENCE_S: u64 = 5;

async fn finalizers(client: &Client, held: &[&str]) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": held}}));
    Api::<Node>::all(client.clone()).patch("m-1", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Reported by the run, by the next one, and by `adopt --release`.
pub fn by_a_finalizer(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        cluster.let_in()?;
        let given = std::slice::from_ref(&cluster.kubeconfig);
        let world = World::of_existing_within(label, given, Some(PATIENCE_S)).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let annotations = json!({names::KWOK_NODE: names::KWOK_FAKE});
        let node = json!({"metadata": {"name": "m-1", "annotations": annotations}});
        create(&cluster.client, "v1", "Node", None, node).await?;
        finalizers(&cluster.client, &[HOLD]).await?;

        let released = world.client.release(&lease.id).await?;
        let left = released.left.first().context("nothing is told to stay")?;
        let told = left.to_string();
        let next = format!("cargo xtask adopt --release --kubeconfig {}", cluster.kubeconfig.display());
        for part in ["Node m-1", HOLD, "being deleted since", &next] {
            ensure!(told.contains(part), "{part}: {told}");
        }
        let log = std::fs::read_to_string(world.run_dir.join("logs").join(CLEANUP_LOG))?;
        ensure!(log.contains("still there: Node m-1"), "nothing was said while it waited: {log}");

        let Err(error) = world.client.lease(&LeaseSpec::of(1)).await else { bail!("leased all the same") };
        ensure!(error.exit_code() == 5 && error.to_string().contains(HOLD), "{error:?}");

        let vars = [("E2E_CLEANUP_PATIENCE_S", "5")];
        let stuck = cluster.adopt_with(&["--release"], &vars)?;
        let told = String::from_utf8_lossy(&stuck.stderr);
        ensure!(stuck.status.code() == Some(5), "{}: {told}", stuck.status);
        ensure!(told.contains("still there: Node m-1") && told.contains(&next), "{told}");

        finalizers(&cluster.client, &[]).await?;
        world.end().await?;
        cluster.ends_as_it_began().await
    })
}

/// The run is notified, its kwok ends, and nothing is removed from a cluster that another run holds.
pub fn by_another(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        cluster.let_in()?;
        let world = cluster.world(label).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let node = json!({"metadata": {"name": "m-1", "annotations": {names::KWOK_NODE: names::KWOK_FAKE}}});
        create(&cluster.client, "v1", "Node", None, node).await?;
        let records: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-system");
        let change = async |patch: serde_json::Value| {
            records.patch("e2e-run", &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        };
        change(json!({"spec": {"holderIdentity": "another"}})).await?;

        poll::until("the loss to be told, and kwok to end", TICK, CEILING, || async {
            let (status, processes) = (world.client.status().await, world.client.processes().await);
            let (Ok(status), Ok(processes)) = (status, processes) else { return Look::NotYet(String::new()) };
            let lost = status.holds.first().and_then(|hold| hold.lost.clone());
            let kwok = processes.iter().find(|process| process.name == KWOK);
            let ended = kwok.is_some_and(|kwok| kwok.state == ProcessState::Exited && !kwok.unasked);
            match lost.filter(|_| ended) {
                Some(why) if why.contains("is held by") => Look::Ready(()),
                _ => Look::NotYet(format!("{:?}, kwok ended: {ended}", status.holds)),
            }
        })
        .await?;
        let left = world.client.release(&lease.id).await?.left;
        let told = left.first().context("nothing is told")?.to_string();
        ensure!(told.contains("was lost") && told.contains("no more is removed"), "{told}");
        Api::<Node>::all(cluster.client.clone()).get("m-1").await.context("it was removed")?;
        world.end().await?;

        // As if the other run had given up.
        change(json!({"metadata": {"annotations": {"e2e.bigfleet.lucy.sh/given-up": "now"}}})).await?;
        cluster.ends_as_it_began().await
    })
}
