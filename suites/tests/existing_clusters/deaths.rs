//! `kill -9`, and what is left in the cluster.

use std::time::Duration;

use anyhow::{Context, ensure};
use harness_planes::spec::LeaseSpec;
use rustix::process::{Pid, Signal, kill_process};
use suites::block_on;
use suites::world::client;

use crate::by_hand::{ByHand, LEFT_BY};
use crate::{everything, runs};

/// The janitor has the files that it needs.
pub fn supervisor(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        cluster.let_in()?;
        let adopted = everything::at_rest(&cluster.client).await?;
        let mut world = cluster.world(label).await?;
        let lease = world.client.lease(&LeaseSpec::of(1)).await?;
        runs::load(&client(&lease.clusters[0], "admin").await?).await?;
        kill(world.child.id())?;
        everything::becomes(&cluster.client, &adopted, LEFT_BY).await?;
        world.is_gone_within(Duration::from_secs(5)).await?;
        cluster.ends_as_it_began().await
    })
}

/// Both are killed, and the scratch directory is lost; only the cluster has the information.
pub fn janitor_too(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let cluster = ByHand::new(label).await?;
        cluster.let_in()?;
        let adopted = everything::at_rest(&cluster.client).await?;
        let mut first = cluster.world(&format!("{label}-1")).await?;
        let lease = first.client.lease(&LeaseSpec::of(1)).await?;
        runs::load(&client(&lease.clusters[0], "admin").await?).await?;
        let scratch = first.announcement.scratch.clone();
        for janitor in janitors_of(&scratch.display().to_string()) {
            kill(janitor)?;
        }
        kill(first.child.id())?;
        first.child.wait().context("reaping the supervisor")?;
        std::fs::remove_dir_all(&scratch).context("removing what the janitor would have")?;
        let left = everything::at_rest(&cluster.client).await?;
        ensure!(left.keys().any(|key| key == "Node /m-1"), "void: somebody has cleaned up");

        let second = cluster.world(&format!("{label}-2")).await?;
        let again = second.client.lease(&LeaseSpec::of(1)).await?;
        let now = everything::at_rest(&cluster.client).await?;
        ensure!(!now.keys().any(|key| key == "Node /m-1"), "the Node of the first run is still there");
        second.client.release(&again.id).await?;
        everything::becomes(&cluster.client, &adopted, LEFT_BY).await?;
        second.end().await?;
        cluster.ends_as_it_began().await
    })
}

/// Returns the janitors among the processes with the scratch directory on their command line.
fn janitors_of(scratch: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words[0].ends_with(b"e2e-janitor") && words.contains(&scratch.as_bytes())
    };
    pids.filter(is_it).collect()
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(pid, Signal::KILL).context("sending a signal")
}
