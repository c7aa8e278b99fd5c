//! The files of a node: authority, certificates, configurations, and a copy of the pre-seeded etcd data.
//!
//! They are in one directory that is mounted read-only. The node copies them when it boots, so that nothing in a node
//! ever writes to the host.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Settings, config};
use crate::access::KWOK_USER;
use crate::certs::{Authority, Pair, kubeconfig};
use crate::local::seed;
use crate::spec::ClusterSpec;
use crate::{AUDIT_POLICY, Error, io, kwok};
use harness_model::components::KWOK;
use harness_model::scheduler_config;

/// kubeadm's own kubeconfig of the scheduler, in the node.
const SCHEDULER_KUBECONFIG: &str = "/etc/kubernetes/scheduler.conf";

/// The files that were written for a node.
pub(super) struct Files {
    /// Signs the clients' certificates as soon as the node has an address.
    pub authority: Authority,
    /// kind's configuration.
    pub kind_config: PathBuf,
    /// The configuration that the scheduler is started with.
    pub scheduler: Value,
}

/// Writes all files below `dir`.
pub(super) fn write(
    dir: &Path,
    spec: &ClusterSpec,
    fixtures: &Path,
    seed: &Path,
    settings: &Settings,
) -> Result<Files, Error> {
    let mount = dir.join("node");
    let root = mount.join("root");
    let place = |path: &str| root.join(path.trim_start_matches('/'));
    let home = place(config::HOME);
    for path in [&home.join("patches"), &place("/etc/kubernetes/pki"), &place("/etc/kubernetes/manifests")] {
        fs::create_dir_all(path).map_err(io("creating", path))?;
    }

    let authority = Authority::new(dir)?;
    authority.copy_to(&place("/etc/kubernetes/pki"))?;
    let (serving, of_kwok) = (authority.server()?, authority.client(KWOK, KWOK_USER, None)?);
    for path in [authority.ca_cert(), serving.cert, serving.key, of_kwok.cert, of_kwok.key] {
        let to = home.join(path.file_name().unwrap_or_default());
        fs::copy(&path, &to).map_err(io("copying to", &to))?;
    }

    let asked = scheduler_config::render(
        &spec.effective_scheduler_config(fixtures)?,
        Path::new(SCHEDULER_KUBECONFIG),
    );
    let kwok_config = kwok::configuration(spec, fixtures, dir, None)?;
    let kwok_config = fs::read_to_string(&kwok_config).map_err(io("reading", &kwok_config))?;
    let text = |name: &str, content: &str| {
        let path = home.join(name);
        fs::write(&path, content).map_err(io("writing", &path))
    };
    text("scheduler.json", &asked.to_string())?;
    text("audit-policy.yaml", AUDIT_POLICY)?;
    text("kwok.yaml", &kwok_config)?;
    text("kwok.kubeconfig", &kwok_kubeconfig().to_string())?;
    for (name, patch) in config::pod_patches() {
        text(&format!("patches/{name}"), &patch.to_string())?;
    }
    let manifest = place("/etc/kubernetes/manifests/kwok.yaml");
    fs::write(&manifest, config::kwok_pod(spec, &settings.kwok_image).to_string())
        .map_err(io("writing", &manifest))?;
    seed::copy(seed, &place("/var/lib/etcd"))?;

    let kind_config = dir.join("kind.json");
    let content = config::kind(spec, &mount, &settings.etcd_tag).to_string();
    fs::write(&kind_config, content).map_err(io("writing", &kind_config))?;
    Ok(Files { authority, kind_config, scheduler: asked })
}

/// Returns kwok's kubeconfig in the node, which uses the node's loopback.
fn kwok_kubeconfig() -> Value {
    let at = |name: &str| Path::new(config::HOME).join(name);
    let pair = Pair { cert: at("kwok.crt"), key: at("kwok.key") };
    let server = format!("https://127.0.0.1:{}", config::APISERVER_PORT);
    kubeconfig(&server, &at("ca.crt"), &pair)
}
