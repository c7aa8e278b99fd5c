//! The logs of a node, fetched on request and before the node is removed.

use std::path::Path;

use super::config::AUDIT_DIR;
use super::docker::Docker;
use super::{COMPONENTS, NODE_PROGRAMS};

/// Copies the node's logs to `dir`: one file per component, as a local control plane has them. Missing logs are left
/// out: a node that failed has few.
pub(super) async fn fetch(docker: &Docker, container: &str, dir: &Path) {
    if let Err(error) = std::fs::create_dir_all(dir) {
        tracing::warn!(dir = %dir.display(), %error, "no place for the logs of a node");
        return;
    }
    let cat = |path: String| format!("cat {path} 2>/dev/null || true");
    let of_pod = |name: &str| cat(format!("/var/log/pods/kube-system_{name}-*/*/*.log"));
    let of_program = |name: &str| cat(format!("/var/log/{name}.log"));
    let mut wanted: Vec<(String, String)> = Vec::new();
    wanted.extend(COMPONENTS.iter().map(|name| (format!("{name}.log"), of_pod(name))));
    wanted.extend(NODE_PROGRAMS.iter().map(|name| (format!("{name}.log"), of_program(name))));
    wanted.push(("audit.log".to_owned(), cat(format!("{AUDIT_DIR}/audit.log"))));
    for (file, script) in wanted {
        match docker.feed(&["exec", container, "sh", "-c", &script], b"").await {
            Ok(text) if text.is_empty() => {}
            Ok(text) => write(dir, &file, &text),
            // If the container does not run, the other logs cannot be read either.
            Err(error) => {
                tracing::debug!(container, %error, "no logs in the node");
                break;
            }
        }
    }
    if let Ok(text) = docker.feed(&["logs", container], b"").await {
        write(dir, "node.log", &text);
    }
}

fn write(dir: &Path, file: &str, text: &[u8]) {
    let path = dir.join(file);
    if let Err(error) = std::fs::write(&path, text) {
        tracing::warn!(path = %path.display(), %error, "a log of a node was lost");
    }
}
