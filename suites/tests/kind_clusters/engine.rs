//! What the engine itself reports about a run's containers, volumes and networks.

use std::process::Command;

use anyhow::{Context, ensure};
use component::poll::{self, Look};
use suites::world::World;

use crate::clusters::{LEFT_BY, TICK};

/// Returns the lines that `docker ARGS` printed.
pub fn docker(args: &[&str]) -> anyhow::Result<Vec<String>> {
    let output = Command::new("docker").args(args).output().context("starting docker")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker {}: {}", args.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Returns the prefix of all names of a run.
pub fn prefix(world: &World) -> String {
    world.announcement.scratch.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the names of a run's containers, running or not.
pub fn containers(prefix: &str) -> anyhow::Result<Vec<String>> {
    docker(&["ps", "--all", "--filter", &format!("name=^/?{prefix}-"), "--format", "{{.Names}}"])
}

/// Returns the volumes of all containers.
pub fn volumes() -> anyhow::Result<Vec<String>> {
    docker(&["volume", "ls", "--quiet"])
}

/// Waits until no container, volume (beyond those of before) or network of a run is left.
pub async fn nothing_is_left(prefix: &str, volumes_before: &[String]) -> anyhow::Result<()> {
    poll::until("containers, volumes and network of the run to be gone", TICK, LEFT_BY, || async {
        let left = || -> anyhow::Result<Vec<String>> {
            let mut left = containers(prefix)?;
            left.extend(docker(&["network", "ls", "--filter", &format!("name=^{prefix}$"), "--quiet"])?);
            left.extend(volumes()?.into_iter().filter(|volume| !volumes_before.contains(volume)));
            Ok(left)
        };
        match left() {
            Ok(left) if left.is_empty() => Look::Ready(()),
            other => Look::NotYet(format!("{other:?}")),
        }
    })
    .await?;
    Ok(())
}
