//! What kind clusters need from this machine, in addition to what every run needs.

use std::{fs, path::Path};

use tools::docker::Docker;
use xshell::cmd;

use crate::host::{self, Finding};
use crate::shell;

/// Disk space for a node image in the engine and the anonymous volumes of five nodes.
const DISK_LEAST: u64 = 6 << 30;
/// inotify instances per user. kubelet, containerd and systemd of each node take some; at the default limit of 128,
/// kind fails at the fourth cluster (kind docs, "Known Issues", "Pod errors due to too many open files").
const INOTIFY_INSTANCES_LEAST: u64 = 512;
/// inotify watches per user. See [`INOTIFY_INSTANCES_LEAST`].
const INOTIFY_WATCHES_LEAST: u64 = 65_536;

/// Runs all checks of this file.
pub fn check() -> Vec<Finding> {
    let mut findings = vec![engine(), control_groups(), capabilities()];
    findings.extend([
        inotify("inotify instances", "max_user_instances", INOTIFY_INSTANCES_LEAST),
        inotify("inotify watches", "max_user_watches", INOTIFY_WATCHES_LEAST),
    ]);
    findings.extend(data_root().map(|dir| {
        host::disk("disk for nodes", Path::new(&dir), DISK_LEAST, "`docker image prune`, or free some space")
    }));
    findings
}

fn engine() -> Finding {
    const NAME: &str = "container engine";
    match Docker::find() {
        Ok(docker) => Finding::good(NAME, format!("Docker {}", docker.version)),
        Err(error) => Finding::lacking(
            NAME,
            error.to_string(),
            "start Docker, or without Docker, as root: `cargo xtask dockerd --install -- COMMAND`",
        ),
    }
}

/// Both versions work. Version 1 needs a kubelet flag, which we set.
fn control_groups() -> Finding {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Finding::good("control groups", if v2 { "version 2" } else { "version 1" })
}

fn capabilities() -> Finding {
    const NAME: &str = "capabilities";
    match tools::runc::Means::own() {
        Ok(means) if means.lacking().is_empty() => {
            Finding::good(NAME, "all that a privileged container gets")
        }
        Ok(means) => Finding::poor(
            NAME,
            format!("missing: {}", means.lacking().join(", ")),
            "your Docker may be unable to start privileged containers; `cargo xtask dockerd -- COMMAND` can (docs/kind.md)",
        ),
        Err(error) => Finding::poor(NAME, format!("unknown: {error}"), "check whether /proc is mounted"),
    }
}

fn inotify(name: &'static str, key: &str, least: u64) -> Finding {
    let path = format!("/proc/sys/fs/inotify/{key}");
    let limit = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    match limit {
        Some(limit) if limit >= least => Finding::good(name, limit.to_string()),
        Some(limit) => Finding::poor(
            name,
            format!("{limit} per user: enough for two or three clusters"),
            format!("`sudo sysctl fs.inotify.{key}={least}`"),
        ),
        None => Finding::poor(name, format!("{path} is not readable"), "check whether /proc is mounted"),
    }
}

/// Returns the directory in which the engine keeps images and volumes, if it is on this machine.
fn data_root() -> Option<String> {
    let shell = shell::within(Path::new("/")).ok()?;
    let format = "{{.DockerRootDir}}";
    let dir = shell::text(cmd!(shell, "docker info --format {format}")).ok()?;
    Path::new(&dir).is_dir().then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::State;

    #[test]
    fn a_low_limit_is_followed_by_the_command_that_raises_it() {
        let finding = inotify("inotify instances", "max_user_instances", u64::MAX);
        assert_eq!(finding.state, State::Poor);
        assert!(finding.advice.contains("sysctl fs.inotify.max_user_instances="), "{}", finding.advice);
        assert_eq!(inotify("x", "max_user_instances", 1).state, State::Good);
    }

    #[test]
    fn every_finding_that_is_not_good_says_what_to_do() {
        for finding in check() {
            assert_eq!(finding.state == State::Good, finding.advice.is_empty(), "{finding:?}");
        }
    }
}
