//! The label that permits runs.

use anyhow::ensure;
use suites::block_on;

use crate::by_hand::{ByHand, LEFT_BY, succeeded};
use crate::everything;

/// Shows the changes, asks, makes them, and undoes them.
pub fn asks_first(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        let refused = cluster.adopt(&[])?;
        let told = String::from_utf8_lossy(&refused.stderr);
        ensure!(refused.status.code() == Some(2), "without a terminal: {}: {told}", refused.status);
        for part in
            ["--yes", "capacityrequests.bigfleet.lucy.sh", "e2e:node-creator", "Nothing stands in its way"]
        {
            ensure!(told.contains(part), "{part} is not shown: {told}");
        }
        everything::becomes(&cluster.client, &cluster.before, LEFT_BY).await?;

        cluster.let_in()?;
        let mut wanted = cluster.before.clone();
        let system = wanted.get_mut("Namespace /kube-system").expect("kube-system must be there");
        system["metadata"]["labels"]["e2e.bigfleet.lucy.sh/adopted"] = "true".into();
        everything::becomes(&cluster.client, &wanted, LEFT_BY).await?;
        succeeded(&cluster.adopt(&[])?)?;
        cluster.ends_as_it_began().await
    })
}
