//! `kill -9`, and what is left half a minute later.

use std::time::Duration;

use anyhow::Context;
use component::poll::{self, Look};
use harness_planes::spec::LeaseSpec;
use rustix::process::{Pid, Signal, kill_process};
use suites::block_on;
use suites::world::{World, idle_process};

use crate::clusters::{CEILING, TICK};
use crate::engine;

/// The supervisor cannot do anything any more, so the janitor cleans up.
pub fn supervisor_killed(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let mut world = World::of_kind(label, None).await?;
        let prefix = engine::prefix(&world);
        world.client.lease(&LeaseSpec::of(1)).await?;
        kill(world.child.id())?;
        engine::nothing_is_left(&prefix, &volumes).await?;
        world.is_gone_within(Duration::from_secs(5)).await
    })
}

/// Killed while kind creates its container, which appears a moment after kind's end.
pub fn killed_during_create(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let mut world = World::of_kind(label, None).await?;
        let prefix = engine::prefix(&world);
        let client = world.client.clone();
        let leasing = tokio::spawn(async move { client.lease(&LeaseSpec::of(2)).await });
        poll::until("a container to be made", TICK, CEILING, || async {
            match engine::containers(&prefix) {
                Ok(found) if !found.is_empty() => Look::Ready(()),
                other => Look::NotYet(format!("{other:?}")),
            }
        })
        .await?;
        kill(world.child.id())?;
        leasing.abort();
        engine::nothing_is_left(&prefix, &volumes).await?;
        world.is_gone_within(Duration::from_secs(5)).await
    })
}

/// The owner (xtask, nextest) is killed; the supervisor ends with it.
pub fn owner_killed(label: &'static str) -> anyhow::Result<()> {
    block_on(async {
        let volumes = engine::volumes()?;
        let mut owner = idle_process()?;
        let mut world = World::of_kind(label, Some(owner.id())).await?;
        let prefix = engine::prefix(&world);
        world.client.lease(&LeaseSpec::of(1)).await?;
        owner.kill().context("killing the owner")?;
        owner.wait().context("reaping the owner")?;
        engine::nothing_is_left(&prefix, &volumes).await?;
        world.is_gone_within(Duration::from_secs(5)).await
    })
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(pid, Signal::KILL).context("sending a signal")
}
