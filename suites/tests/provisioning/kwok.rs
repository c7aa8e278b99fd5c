//! What kwok may do to Pods: it deletes by name, and by then a name may belong to a different Pod.

use anyhow::{Context, ensure};
use component::poll::{self, Look};
use component::{apiserver, client::connect_unlimited};
use harness_planes::spec::LeaseSpec;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use suites::block_on;

use suites::world::{World, client};

use crate::planes::{CEILING, TICK, make_node};

/// kwok's identity cannot delete a running Pod. Once another client has deleted it, kwok removes it.
pub fn removes_only_what_is_to_go(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let world = World::new(label, None, None).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        let cluster = &lease.clusters[0];
        let admin = client(cluster, "admin").await?;
        make_node(&admin, "m-1").await?;
        let pods: Api<Pod> = Api::namespaced(admin, "default");
        let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"nodeName": "m-1",
            "containers": [{"name": "c", "image": "none"}]}}))?;
        let uid = pods.create(&PostParams::default(), &pod).await?.uid();

        let kubeconfig = cluster.kubeconfigs["admin"].with_file_name("kwok.kubeconfig");
        let as_kwok: Api<Pod> = Api::namespaced(connect_unlimited(&kubeconfig).await?, "default");
        let as_kwok = &as_kwok;
        // The apiserver takes a moment to read its policies. 422, not 403: kwok has the right, the policy refuses this
        // use of it.
        let dry_run = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }.dry_run();
        let dry_run = &dry_run;
        poll::until("a deletion as kwok to be refused", TICK, CEILING, || async move {
            match as_kwok.delete("p", dry_run).await {
                Err(error) if apiserver::code(&error) == Some(422) => Look::Ready(()),
                other => Look::NotYet(format!("{:?}", other.map(drop))),
            }
        })
        .await?;
        let there = pods.get("p").await.context("the Pod that kwok may not delete")?;
        ensure!(there.uid() == uid && there.metadata.deletion_timestamp.is_none(), "{:?}", there.metadata);

        pods.delete("p", &DeleteParams::default()).await?;
        let pods = &pods;
        poll::until("kwok to remove the deleted Pod", TICK, CEILING, || async move {
            match pods.get_opt("p").await {
                Ok(None) => Look::Ready(()),
                other => Look::NotYet(format!("{:?}", other.map(|pod| pod.map(|pod| pod.metadata)))),
            }
        })
        .await?;
        world.end().await
    })
}
