//! The pinned parts of a node image: Go programs like everywhere else, Debian packages by name.

use crate::{
    error::Error,
    pins::{ModulePin, Pins, ToolPin, module},
};

/// Debian packages for what the node runs in addition to Kubernetes: programs that are not Go modules, or that need
/// cgo.
///
/// Pinned only by name: the archive decides which version there is, and Debian removes old ones. The label
/// `fleet-e2e.packages` of an image lists its packages.
pub(crate) const PACKAGES: [&str; 4] = ["busybox-static", "libc6", "libseccomp2", "runc"];

/// The commands of busybox that the node has: those that kind and init call, and a few for troubleshooting.
pub(crate) const APPLETS: [&str; 40] = [
    "awk", "cat", "chmod", "cp", "cut", "date", "df", "du", "env", "false", "find", "free", "grep", "head",
    "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "mount", "mv", "netstat", "ps", "readlink", "rm",
    "rmdir", "sed", "sh", "sleep", "sort", "stat", "tail", "test", "tr", "true", "umount", "wc", "wget",
];

/// Programs of a node that are built, without those of a control plane.
pub(crate) const PROGRAMS: [&str; 5] = ["containerd", "containerd-shim-runc-v2", "ctr", "kubeadm", "kubelet"];

/// kubeadm's name for this version's sandbox image; containerd's configuration has the same.
pub(crate) const PAUSE_TAG: &str = "3.10.2";

/// The version of our own pause program.
const PAUSE_VERSION: &str = "v1.0.0";

/// Returns the pins of kind, which runs on the host.
///
/// # Errors
/// [`Error::Pins`] when a file under `fixtures/controlplane/` cannot be parsed.
pub(crate) fn kind() -> Result<Pins, Error> {
    let kind = module(
        "node/kind",
        "sigs.k8s.io/kind",
        include_str!("../../../fixtures/controlplane/node/kind/go.mod"),
        include_str!("../../../fixtures/controlplane/node/kind/go.sum"),
        &[("kind", "sigs.k8s.io/kind")],
    )?;
    Ok(Pins { modules: vec![kind], artifacts: Vec::new() })
}

/// Returns the pins of the programs that run in a node container.
///
/// # Errors
/// As for [`kind`].
pub(crate) fn node() -> Result<Pins, Error> {
    let kubernetes = module(
        "node/kubernetes",
        "k8s.io/kubernetes",
        include_str!("../../../fixtures/controlplane/node/kubernetes/go.mod"),
        include_str!("../../../fixtures/controlplane/node/kubernetes/go.sum"),
        &[("kubeadm", "k8s.io/kubernetes/cmd/kubeadm"), ("kubelet", "k8s.io/kubernetes/cmd/kubelet")],
    )?;
    let mut containerd = module(
        "node/containerd",
        "github.com/containerd/containerd/v2",
        include_str!("../../../fixtures/controlplane/node/containerd/go.mod"),
        include_str!("../../../fixtures/controlplane/node/containerd/go.sum"),
        &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
    )?;
    // Snapshots are kept only by overlayfs; the other ways need headers, programs or kernel modules.
    containerd.tags = "no_btrfs,no_zfs,no_devmapper,no_aufs".to_owned();
    Ok(Pins { modules: vec![kubernetes, containerd, pause()], artifacts: Vec::new() })
}

/// Returns the pin of our own program, which has no module to pin.
fn pause() -> ModulePin {
    ModulePin {
        name: "pause".to_owned(),
        version: PAUSE_VERSION.to_owned(),
        go_mod: include_str!("../../../fixtures/node-image/pause/go.mod").to_owned(),
        go_sum: String::new(),
        ldflags: format!("-s -w -X main.version={PAUSE_VERSION}"),
        tags: String::new(),
        sources: vec![(
            "main.go".to_owned(),
            include_str!("../../../fixtures/node-image/pause/main.go").to_owned(),
        )],
        patches: Vec::new(),
        tools: vec![ToolPin { name: "pause".to_owned(), package: ".".to_owned() }],
    }
}

/// Returns the Kubernetes version of the node's own programs.
pub(crate) fn kubernetes_version(pins: &Pins) -> &str {
    &pins.modules.first().expect("must have the module of Kubernetes").version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_has_the_kubernetes_of_the_control_plane() {
        let control_plane = Pins::embedded().unwrap();
        let node = node().unwrap();
        let theirs = control_plane.modules.iter().find(|module| module.name == "kubernetes").unwrap();
        let ours = &node.modules[0];
        assert_eq!(kubernetes_version(&node), theirs.version);
        assert_eq!(ours.ldflags, theirs.ldflags);
        let replaces = |module: &ModulePin| {
            module.go_mod.lines().filter(|line| line.contains(" => ")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(replaces(ours), replaces(theirs));
    }

    #[test]
    fn every_program_of_the_image_is_pinned_and_has_its_version_linked_in() {
        let node = node().unwrap();
        let pinned: Vec<_> = node.tools().into_iter().map(|(tool, _)| tool.name.clone()).collect();
        for name in PROGRAMS {
            assert!(pinned.contains(&name.to_owned()), "{name} is not in {pinned:?}");
        }
        for module in &node.modules {
            assert!(module.ldflags.contains(&module.version), "{}: {}", module.name, module.ldflags);
        }
    }

    #[test]
    fn the_pins_of_the_control_plane_do_not_hang_on_those_of_the_node() {
        let names: Vec<_> = Pins::embedded().unwrap().modules.into_iter().map(|module| module.name).collect();
        assert_eq!(names, ["etcd", "kubernetes", "kwok"]);
    }
}
