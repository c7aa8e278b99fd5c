//! kwok's configuration for one control plane.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::spec::ClusterSpec;
use super::{Error, io};

/// The Stage that removes a deleted Pod.
const POD_DELETE: &str = "pod-delete";

/// Returns the flags of kwok without a server, and therefore without a port.
pub fn flags(config: &Path, kubeconfig: &Path) -> [String; 3] {
    let (config, kubeconfig) = (config.display(), kubeconfig.display());
    // At its default level it logs a line per status patch, which costs CPU that is measured.
    [format!("--config={config}"), format!("--kubeconfig={kubeconfig}"), "--v=WARN".to_owned()]
}

/// Returns the configuration file for a control plane: ours, or one in `dir` with the changes that the spec asks for,
/// or with another duration of Node leases.
///
/// # Errors
/// When a file cannot be read or written, or is not as expected.
pub fn configuration(
    spec: &ClusterSpec,
    fixtures: &Path,
    dir: &Path,
    lease_seconds: Option<u32>,
) -> Result<PathBuf, Error> {
    let ours = fixtures.join("kwok/kwok.yaml");
    let termination_ms = spec.control_plane.pod_termination.0.as_millis() as u64;
    if termination_ms == 0 && lease_seconds.is_none() {
        return Ok(ours);
    }
    let wrong = |reason: String| Error::Environment(format!("{}: {reason}", ours.display()));
    let mut text = std::fs::read_to_string(&ours).map_err(io("reading", &ours))?;
    if 0 < termination_ms {
        text = with_pod_termination(&text, termination_ms).map_err(wrong)?;
    }
    if let Some(seconds) = lease_seconds {
        text = with_lease(&text, seconds).map_err(wrong)?;
    }
    let path = dir.join("kwok.yaml");
    std::fs::write(&path, text).map_err(io("writing", &path))?;
    Ok(path)
}

/// Returns the configuration (YAML documents in, JSON documents out, which are YAML) with which a deleted Pod stays
/// Terminating for `ms` milliseconds.
///
/// # Errors
/// What is wrong with `config`: it is not YAML, or has no such Stage.
fn with_pod_termination(config: &str, ms: u64) -> Result<String, String> {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(config).map_err(|e| e.to_string())?;
    let is_it = |d: &&mut Value| d["kind"] == "Stage" && d["metadata"]["name"] == POD_DELETE;
    let stage = documents.iter_mut().find(is_it);
    let stage = stage.ok_or_else(|| format!("there is no Stage {POD_DELETE} to delay"))?;
    stage["spec"]["delay"] = json!({"durationMilliseconds": ms});
    Ok(joined(&documents))
}

/// Returns the configuration with which a Node's lease lasts for `seconds`.
///
/// # Errors
/// Same as [`with_pod_termination`].
fn with_lease(config: &str, seconds: u32) -> Result<String, String> {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(config).map_err(|e| e.to_string())?;
    let options = documents.iter_mut().find(|d| d["kind"] == "KwokConfiguration");
    let options = options.ok_or("there is no KwokConfiguration to change")?;
    options["options"]["nodeLeaseDurationSeconds"] = json!(seconds);
    Ok(joined(&documents))
}

fn joined(documents: &[Value]) -> String {
    let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
    texts.join("\n---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(text).unwrap()
    }

    #[test]
    fn only_the_end_of_pods_is_delayed() {
        let ours = include_str!("../../../fixtures/kwok/kwok.yaml");
        let (before, after) = (documents(ours), documents(&with_pod_termination(ours, 1500).unwrap()));
        assert_eq!(before.len(), after.len());
        let changed: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
        let [(before, after)] = changed[..] else { panic!("{} documents changed", changed.len()) };
        assert_eq!(after["metadata"]["name"], POD_DELETE);
        assert_eq!(after["spec"]["delay"], json!({"durationMilliseconds": 1500}));
        assert_eq!(
            (&before["spec"]["selector"], &before["spec"]["next"]),
            (&after["spec"]["selector"], &after["spec"]["next"])
        );
    }

    #[test]
    fn a_lease_is_changed_and_nothing_else() {
        let ours = include_str!("../../../fixtures/kwok/kwok.yaml");
        let (before, after) = (documents(ours), documents(&with_lease(ours, 40).unwrap()));
        assert_eq!(before[1..], after[1..]);
        assert_eq!(after[0]["options"]["nodeLeaseDurationSeconds"], 40);
        assert_eq!(before[0]["options"]["cidr"], after[0]["options"]["cidr"]);
        assert!(with_lease("kind: Stage", 1).unwrap_err().contains("KwokConfiguration"));
    }

    #[test]
    fn a_configuration_without_that_stage_is_refused() {
        assert!(with_pod_termination("kind: Stage", 1).unwrap_err().contains(POD_DELETE));
    }
}
