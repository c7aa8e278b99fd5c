//! One control plane with node-creator on it, for claims that are not stories.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use api::upcoming_node::UpcomingNodeSpec;
use api::{UpcomingNode, names};
use component::apiserver;
use component::poll::{self, Look};
use futures::{StreamExt, TryStreamExt, stream};
use harness_planes::spec::{Cluster, ClusterSpec, Lease, LeaseSpec};
use harness_supervisor::Client as Supervisor;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::program::{NODE_CREATOR, Program};

/// Time between two polls.
pub const TICK: Duration = Duration::from_millis(20);
/// Only a bug reaches it.
pub const CEILING: Duration = Duration::from_secs(60);
/// Number of our requests in flight.
const IN_FLIGHT: usize = 32;

/// A leased control plane.
pub struct Plane {
    supervisor: Supervisor,
    lease: Lease,
    /// A client of the administrator.
    pub admin: Client,
    /// All Nodes, as the administrator.
    pub nodes: Api<Node>,
}

impl Plane {
    /// Leases a control plane with kwok, and with the real scheduler if there are Pods to bind.
    ///
    /// # Errors
    /// Those of the supervisor.
    pub async fn lease(run_scheduler: bool) -> anyhow::Result<Self> {
        let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
        let cluster = ClusterSpec { run_scheduler, ..ClusterSpec::named(NODE_CREATOR.name) };
        let lease = supervisor.lease(&LeaseSpec { clusters: vec![cluster] }).await?;
        let admin = component::client::connect_unlimited(&lease.clusters[0].kubeconfigs["admin"]).await?;
        Ok(Self { supervisor, nodes: Api::all(admin.clone()), admin, lease })
    }

    fn cluster(&self) -> &Cluster {
        &self.lease.clusters[0]
    }

    /// Returns a node-creator for it, which is not started yet.
    ///
    /// # Errors
    /// As for [`Program::new`].
    pub fn node_creator(&self, flags: &[&str]) -> anyhow::Result<Program> {
        Program::new(&NODE_CREATOR, &self.supervisor, &self.lease.id, self.cluster(), flags)
    }

    /// Returns a client with node-creator's identity.
    ///
    /// # Errors
    /// When its kubeconfig cannot be used.
    pub async fn as_node_creator(&self) -> anyhow::Result<Client> {
        component::client::connect_unlimited(&self.cluster().kubeconfigs[NODE_CREATOR.name]).await
    }

    /// Creates UpcomingNodes of ordinary machines, Ready.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn machines(&self, ids: &[String]) -> anyhow::Result<()> {
        let make = async |id: &String| {
            let name = api::names::upcoming_node_name(id);
            let spec = UpcomingNodeSpec {
                labels: BTreeMap::from([(api::names::INSTANCE_TYPE.to_owned(), "m6i.large".to_owned())]),
                resources: [("cpu", "40"), ("memory", "50000Mi")]
                    .map(|(resource, amount)| (resource.to_owned(), Quantity(amount.to_owned())))
                    .into(),
                taints: Vec::new(),
            };
            apiserver::create(&self.admin, &UpcomingNode::new(&name, spec)).await?;
            let ready = json!({"status": {"phase": "Ready"}});
            apiserver::patch_status::<UpcomingNode>(&self.admin, None, &name, &ready).await
        };
        let made = stream::iter(ids).map(make).buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await;
        made.context("creating UpcomingNodes")?;
        Ok(())
    }

    /// Returns the uid of each machine's Node, by name.
    ///
    /// # Errors
    /// When Nodes cannot be listed.
    pub async fn node_uids(&self) -> Result<BTreeMap<String, String>, kube::Error> {
        let nodes = self.nodes.list_metadata(&machines()).await?;
        Ok(nodes.iter().map(|n| (n.name_any(), n.uid().unwrap_or_default())).collect())
    }

    /// Waits until `wanted` returns true for the Nodes (uid by name).
    ///
    /// # Errors
    /// When it does not in time; the error has the number of Nodes.
    pub async fn wait_for_nodes(
        &self,
        what: &str,
        wanted: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let wanted = &wanted;
        let waited = poll::until(what, TICK, CEILING, || async move {
            match self.node_uids().await {
                Ok(nodes) if wanted(&nodes) => Look::Ready(nodes),
                Ok(nodes) => Look::NotYet(format!("{} Nodes", nodes.len())),
                Err(error) => Look::NotYet(error.to_string()),
            }
        });
        Ok(waited.await?)
    }

    /// Releases the lease.
    ///
    /// # Errors
    /// When the supervisor does not know it.
    pub async fn release(self) -> anyhow::Result<()> {
        self.supervisor.release(&self.lease.id).await?;
        Ok(())
    }
}

/// Selects the Nodes that are machines, and not a control plane's own.
pub fn machines() -> ListParams {
    ListParams::default().labels(names::MACHINE_NODES)
}
