//! What is pinned: Go modules with their sums, the programs in them, and their linker flags.

use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    releases::{Artifact, Releases},
};

/// The six programs of a control plane, in the order in which they are listed everywhere.
pub const TOOL_NAMES: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"];

/// Which of the six programs each provider of control planes starts on this machine.
pub mod started {
    /// Child processes: all but kubectl, which users call.
    pub const LOCAL: &[&str] =
        &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];
    /// kind clusters: the programs that build the pre-seeded etcd data. All six go into the node image, when that is
    /// built.
    pub const KIND: &[&str] = &["etcd", "kube-apiserver"];
    /// Existing clusters: only kwok.
    pub const EXISTING: &[&str] = &["kwok"];
}

/// Changes when the layout of a tool directory changes, so that old caches are not used.
const LAYOUT: &str = "fleet-e2e tools 1";

/// The module that kwok is in.
const KWOK: &str = "sigs.k8s.io/kwok";

/// Everything that determines a tool set.
#[derive(Debug, Clone)]
pub struct Pins {
    /// The Go modules that pin the programs.
    pub modules: Vec<ModulePin>,
    /// Release artefacts by program; programs without an entry are always built.
    pub artifacts: Vec<Artifact>,
}

/// One directory under `fixtures/controlplane/` with a `go.mod` and a `go.sum`.
#[derive(Debug, Clone)]
pub struct ModulePin {
    /// Directory name, e.g. `kubernetes`.
    pub name: String,
    /// The pinned version with its `v`, e.g. `v1.36.3`.
    pub version: String,
    /// Content of `go.mod`.
    pub go_mod: String,
    /// Content of `go.sum`.
    pub go_sum: String,
    /// Arguments of `-ldflags`.
    pub ldflags: String,
    /// Build tags, separated by commas; usually none.
    pub tags: String,
    /// Files next to `go.mod`, by name: the source of a program of our own.
    pub sources: Vec<(String, String)>,
    /// Changes to the pinned module before it is built; usually none.
    pub patches: Vec<PatchPin>,
    /// The programs to build in it.
    pub tools: Vec<ToolPin>,
}

/// One change to a pinned module.
#[derive(Debug, Clone)]
pub struct PatchPin {
    /// Path of the module that it changes.
    pub module: String,
    /// File name, e.g. `resume-watches.patch`.
    pub name: String,
    /// A unified diff of one file. The text before it gives the reason.
    pub text: String,
}

/// One program.
#[derive(Debug, Clone)]
pub struct ToolPin {
    /// File name of the program.
    pub name: String,
    /// Go package of its `main`.
    pub package: String,
}

impl Pins {
    /// Returns the pins of this source tree, compiled in.
    ///
    /// # Errors
    /// [`Error::Pins`] when a file under `fixtures/controlplane/` cannot be parsed.
    pub fn embedded() -> Result<Pins, Error> {
        let mut kwok = module(
            "kwok",
            KWOK,
            include_str!("../../fixtures/controlplane/kwok/go.mod"),
            include_str!("../../fixtures/controlplane/kwok/go.sum"),
            &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
        )?;
        kwok.patches = kwok_patches();
        let modules = vec![
            module(
                "etcd",
                "go.etcd.io/etcd/server/v3",
                include_str!("../../fixtures/controlplane/etcd/go.mod"),
                include_str!("../../fixtures/controlplane/etcd/go.sum"),
                &[("etcd", "go.etcd.io/etcd/server/v3")],
            )?,
            module(
                "kubernetes",
                "k8s.io/kubernetes",
                include_str!("../../fixtures/controlplane/kubernetes/go.mod"),
                include_str!("../../fixtures/controlplane/kubernetes/go.sum"),
                &[
                    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
                    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
                    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
                    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
                ],
            )?,
            kwok,
        ];
        let releases = Releases::embedded()?;
        let mut artifacts = Vec::new();
        for module in &modules {
            for tool in &module.tools {
                artifacts.extend(releases.artifact(&tool.name, &module.version));
            }
        }
        Ok(Pins { modules, artifacts })
    }

    /// Returns the identity of the tool set: 16 hex digits over versions, `go.sum`s, packages, build flags and
    /// architecture.
    ///
    /// It is known before anything is built and therefore usable as a directory name and as a cache key in CI.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let mut add = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        add(LAYOUT);
        add(std::env::consts::ARCH);
        for module in &self.modules {
            for text in [&module.name, &module.version, &module.go_mod, &module.go_sum, &module.ldflags] {
                add(text);
            }
            for tool in &module.tools {
                add(&tool.name);
                add(&tool.package);
            }
            // Adds nothing if it is empty, so that tool sets older than these fields keep their digests.
            if !module.tags.is_empty() {
                add(&module.tags);
            }
            for (name, content) in &module.sources {
                add(name);
                add(content);
            }
            for patch in &module.patches {
                add(&patch.module);
                add(&patch.text);
            }
        }
        let mut digest = crate::cache::hex(&hasher.finalize());
        digest.truncate(16);
        digest
    }

    /// Returns these pins for some programs only: a different set, with its own digest.
    pub(crate) fn only(&self, names: &[&str]) -> Pins {
        let mut pins = self.clone();
        let wanted = |name: &str| names.contains(&name);
        pins.modules.iter_mut().for_each(|module| module.tools.retain(|tool| wanted(&tool.name)));
        pins.modules.retain(|module| !module.tools.is_empty());
        pins.artifacts.retain(|artifact| wanted(&artifact.tool));
        pins
    }

    /// Returns the changes to the module that a program is built from.
    pub(crate) fn patches_of(&self, tool: &str) -> impl Iterator<Item = &PatchPin> {
        let its = self.modules.iter().filter(move |module| module.tools.iter().any(|t| t.name == tool));
        its.flat_map(|module| &module.patches)
    }

    /// Returns every program with its pinned version, sorted by name.
    pub fn tools(&self) -> Vec<(&ToolPin, &str)> {
        let mut tools: Vec<_> =
            self.modules.iter().flat_map(|m| m.tools.iter().map(|t| (t, m.version.as_str()))).collect();
        tools.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        tools
    }
}

impl ModulePin {
    /// Returns the version of the `go` directive: the oldest Go that builds the module.
    pub fn go_version(&self) -> &str {
        self.go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("1.26").trim()
    }
}

/// Returns the pin of the module in the directory `name`, whose `go.mod` requires `path` at some version.
///
/// # Errors
/// [`Error::Pins`] when it does not.
pub(crate) fn module(
    name: &str,
    path: &str,
    go_mod: &str,
    go_sum: &str,
    tools: &[(&str, &str)],
) -> Result<ModulePin, Error> {
    let version = required_version(go_mod, path).ok_or_else(|| Error::Pins {
        file: format!("{name}/go.mod"),
        detail: format!("no `require {path} v…` in it"),
    })?;
    Ok(ModulePin {
        name: name.to_owned(),
        ldflags: ldflags(path, &version),
        version,
        go_mod: go_mod.to_owned(),
        go_sum: go_sum.to_owned(),
        tags: String::new(),
        sources: Vec::new(),
        patches: Vec::new(),
        tools: tools
            .iter()
            .map(|(name, package)| ToolPin { name: (*name).to_owned(), package: (*package).to_owned() })
            .collect(),
    })
}

/// Returns the changes to kwok. It is the fake kubelet and not part of what is measured.
fn kwok_patches() -> Vec<PatchPin> {
    let all = [
        (
            "one-entry-per-item.patch",
            include_str!("../../fixtures/controlplane/kwok/patches/one-entry-per-item.patch"),
        ),
        (
            "resume-watches.patch",
            include_str!("../../fixtures/controlplane/kwok/patches/resume-watches.patch"),
        ),
    ];
    let pin = |(name, text): (&str, &str)| PatchPin {
        module: KWOK.to_owned(),
        name: name.to_owned(),
        text: text.to_owned(),
    };
    all.into_iter().map(pin).collect()
}

/// Returns the version at which `go.mod` requires `path`, in a block or on its own line.
fn required_version(go_mod: &str, path: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next() == Some(path))
            .then(|| words.next())
            .flatten()
            .filter(|v| v.starts_with('v'))
            .map(str::to_owned)
    })
}

/// Returns the linker flags: stripped, and for Kubernetes with the version set. Built as a module, it would report
/// `v0.0.0-master+$Format:%H$`, which kubectl and kubeadm refuse to parse (Kubernetes' own `hack/lib/version.sh`).
/// containerd would report `2.3.7+unknown`.
fn ldflags(path: &str, version: &str) -> String {
    let mut flags = "-s -w".to_owned();
    if path == "github.com/containerd/containerd/v2" {
        flags.push_str(&format!(" -X {path}/version.Version={version}"));
    }
    if path == "k8s.io/kubernetes" {
        let mut numbers = version.trim_start_matches('v').split('.');
        let values = [
            ("gitVersion", version),
            ("gitMajor", numbers.next().unwrap_or_default()),
            ("gitMinor", numbers.next().unwrap_or_default()),
            ("gitTreeState", "clean"),
            // The module proxy does not serve the commit; an empty value means unknown.
            ("gitCommit", ""),
        ];
        for (key, value) in values {
            for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                flags.push_str(&format!(" -X {package}.{key}={value}"));
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_pins_name_the_six_programs_at_the_pinned_versions() {
        let pins = Pins::embedded().unwrap();
        let tools: Vec<_> =
            pins.tools().into_iter().map(|(tool, version)| (tool.name.as_str(), version)).collect();
        let (k8s, etcd, kwok) = ("v1.36.3", "v3.7.3", "v0.8.0");
        let versions = [etcd, k8s, k8s, k8s, k8s, kwok];
        assert_eq!(tools, TOOL_NAMES.into_iter().zip(versions).collect::<Vec<_>>());
        assert_eq!(pins.artifacts.len(), 6);
    }

    #[test]
    fn some_of_the_programs_are_a_set_of_their_own_and_all_of_them_the_set() {
        let pins = Pins::embedded().unwrap();
        assert_eq!(pins.only(&TOOL_NAMES).digest(), pins.digest());
        let kwok = pins.only(started::EXISTING);
        assert_eq!(
            (kwok.modules.len(), kwok.artifacts.len(), kwok.tools()[0].0.name.as_str()),
            (1, 1, "kwok")
        );
        assert_ne!(kwok.digest(), pins.digest());
        for name in [started::LOCAL, started::KIND, started::EXISTING].concat() {
            assert!(TOOL_NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_staging_module_of_kubernetes_is_replaced_by_the_release_of_the_same_minor() {
        let pins = Pins::embedded().unwrap();
        let kubernetes = pins.modules.iter().find(|m| m.name == "kubernetes").unwrap();
        let replaced: Vec<_> = kubernetes.go_mod.lines().filter(|l| l.contains(" => k8s.io/")).collect();
        assert!(replaced.len() > 25, "{replaced:?}");
        assert!(replaced.iter().all(|line| line.ends_with(" v0.36.3")), "{replaced:?}");
    }

    #[test]
    fn a_version_is_found_in_a_block_and_on_a_line_of_its_own() {
        assert_eq!(required_version("require a.b/c v1.2.3\n", "a.b/c").as_deref(), Some("v1.2.3"));
        assert_eq!(
            required_version("require (\n\ta.b/c v1.2.3 // indirect\n)", "a.b/c").as_deref(),
            Some("v1.2.3")
        );
        assert_eq!(required_version("tool a.b/c\nrequire a.b/cd v1.0.0", "a.b/c"), None);
    }

    #[test]
    fn the_digest_depends_on_sums_and_flags_but_not_on_release_digests() {
        let pins = Pins::embedded().unwrap();
        let changed = |change: fn(&mut Pins)| {
            let mut pins = pins.clone();
            change(&mut pins);
            pins.digest()
        };
        assert_eq!(pins.digest().len(), 16);
        assert_eq!(changed(|p| p.artifacts.clear()), pins.digest());
        assert_ne!(changed(|p| p.modules[0].go_sum.push(' ')), pins.digest());
        assert_ne!(changed(|p| p.modules[1].ldflags.push(' ')), pins.digest());
        assert_ne!(changed(|p| p.modules[0].tags.push('x')), pins.digest());
        assert_ne!(changed(|p| p.modules[0].sources.push(("a".into(), "b".into()))), pins.digest());
        assert_ne!(changed(|p| p.modules[2].patches.truncate(1)), pins.digest());
    }
}
