//! The scheduler's configuration: completed before the start, and compared with the running one after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Why a scheduler cannot be configured as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not one that a run can use.
    #[error("{0}")]
    Usage(String),
    /// A file or directory cannot be read.
    #[error("{doing} {path}: {source}")]
    Read {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
}

fn unreadable(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Read { doing, path, source }
}

/// Finds a configuration: a path as it is, or a file name in `fixtures/scheduler`.
///
/// # Errors
/// When there is no such file; the message lists those in `fixtures/scheduler`.
pub fn find(config: &Path, fixtures: &Path) -> Result<PathBuf, Error> {
    let dir = fixtures.join("scheduler");
    let candidates = [config.to_owned(), dir.join(config), dir.join(config).with_extension("yaml")];
    if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    let mut known: Vec<String> = std::fs::read_dir(&dir)
        .map_err(unreadable("listing", &dir))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    known.sort();
    Err(Error::Usage(format!(
        "no scheduler configuration {}; give a path or one of {} (in {})",
        config.display(),
        known.join(", "),
        dir.display()
    )))
}

/// Reads a configuration.
///
/// # Errors
/// When it is unreadable, is not a KubeSchedulerConfiguration, or would elect a leader: under load, a scheduler that
/// loses its lease terminates itself.
pub fn read(path: &Path) -> Result<Value, Error> {
    let text = std::fs::read_to_string(path).map_err(unreadable("reading", path))?;
    let config: Value = serde_saphyr::from_str(&text)
        .map_err(|e| Error::Usage(format!("{} is not a YAML document: {e}", path.display())))?;
    check(&config, &path.display().to_string())?;
    Ok(config)
}

fn check(config: &Value, whose: &str) -> Result<(), Error> {
    if config["kind"] != "KubeSchedulerConfiguration" {
        let kind = &config["kind"];
        return Err(Error::Usage(format!("{whose}: kind is {kind}, expected KubeSchedulerConfiguration")));
    }
    if config["leaderElection"]["leaderElect"] != json!(false) {
        return Err(Error::Usage(format!("{whose}: set leaderElection.leaderElect: false")));
    }
    Ok(())
}

/// Returns the configuration that results from a file and its overlay.
///
/// # Errors
/// As for [`find`] and [`read`]; the overlay must not violate what [`read`] requires.
pub fn effective(config: &Path, overlay: &BTreeMap<String, Value>, fixtures: &Path) -> Result<Value, Error> {
    let source = find(config, fixtures)?;
    let mut merged = read(&source)?;
    merge(&mut merged, &json!(overlay));
    check(&merged, &format!("{} with its overlay", source.display()))?;
    Ok(merged)
}

/// Merges `overlay` into `config`: sections key by key, lists of named things (profiles, plugin configurations) by
/// name, with new names at the end. Anything else is replaced. A key set to null is removed.
fn merge(config: &mut Value, overlay: &Value) {
    match (config, overlay) {
        (Value::Object(config), Value::Object(overlay)) => {
            for (key, value) in overlay {
                if value.is_null() {
                    config.remove(key);
                } else {
                    merge(config.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(config), Value::Array(overlay)) if are_named(overlay) => {
            for item in overlay {
                match config.iter_mut().find(|other| key_of(other) == key_of(item)) {
                    Some(twin) => merge(twin, item),
                    None => config.push(item.clone()),
                }
            }
        }
        (config, overlay) => *config = overlay.clone(),
    }
}

/// Returns the names that a Pod's `schedulerName` may have.
pub fn names(config: &Value) -> Vec<&str> {
    let profiles = config["profiles"].as_array().into_iter().flatten();
    let names: Vec<&str> = profiles.filter_map(|p| p["schedulerName"].as_str()).collect();
    // Kubernetes' default if there is no profile.
    if names.is_empty() { vec!["default-scheduler"] } else { names }
}

/// Returns the configuration with the kubeconfig filled in.
pub fn render(config: &Value, kubeconfig: &Path) -> Value {
    let mut rendered = config.clone();
    rendered["clientConnection"]["kubeconfig"] = json!(kubeconfig);
    rendered
}

/// Returns where `running` (from `/configz`) differs from what was `asked`. Fields that were not asked for may have any
/// value; lists of named things (profiles, plugin configurations) are matched by name.
pub fn differences(asked: &Value, running: &Value, at: &str) -> Vec<String> {
    match (asked, running) {
        (Value::Object(asked), Value::Object(running)) => asked
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"))
            .flat_map(|(key, value)| {
                differences(value, running.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"))
            })
            .collect(),
        (Value::Array(asked), Value::Array(running)) if are_named(asked) => asked
            .iter()
            .flat_map(|item| {
                let twin = running.iter().find(|other| key_of(other) == key_of(item));
                let at = format!("{at}[{}]", key_of(item).unwrap_or_default());
                differences(item, twin.unwrap_or(&Value::Null), &at)
            })
            .collect(),
        // Kubernetes writes an empty list as null.
        (Value::Array(asked), Value::Null) if asked.is_empty() => Vec::new(),
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => Vec::new(),
        _ if asked == running => Vec::new(),
        _ => vec![format!("{at}: asked for {asked}, running with {running}")],
    }
}

/// Whether the items of a list have names. An empty list has none and is taken as a whole.
fn are_named(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|item| key_of(item).is_some())
}

fn key_of(item: &Value) -> Option<&str> {
    item.get("name").or_else(|| item.get("schedulerName"))?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
    }

    #[test]
    fn every_fixture_is_valid_and_the_default_lifts_the_limit() {
        for entry in std::fs::read_dir(fixtures().join("scheduler")).unwrap() {
            read(&entry.unwrap().path()).unwrap();
        }
        let default = read(&find(Path::new("most-allocated"), &fixtures()).unwrap()).unwrap();
        assert_eq!(default["clientConnection"]["qps"], json!(5000));
        let rendered = render(&default, Path::new("/k"));
        assert_eq!(rendered["clientConnection"]["kubeconfig"], json!("/k"));
    }

    #[test]
    fn an_unknown_configuration_lists_the_known_ones() {
        let error = find(Path::new("most-alocated"), &fixtures()).unwrap_err().to_string();
        assert!(error.contains("most-allocated.yaml") && error.contains("least-allocated.yaml"), "{error}");
    }

    fn laid_over(overlay: Value) -> Result<Value, Error> {
        let overlay = serde_json::from_value(overlay).unwrap();
        effective(Path::new("most-allocated.yaml"), &overlay, &fixtures())
    }

    #[test]
    fn an_overlay_changes_what_it_names_and_nothing_else() {
        let plain = laid_over(json!({})).unwrap();
        let merged = laid_over(json!({
            "parallelism": 4,
            "clientConnection": {"burst": null},
            "profiles": [
                {"schedulerName": "default-scheduler", "pluginConfig": [
                    {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "LeastAllocated"}}},
                    {"name": "PodTopologySpread", "args": {"defaultConstraints": [{"maxSkew": 1}]}}]},
                {"schedulerName": "spread-scheduler"},
            ],
        }))
        .unwrap();
        let at = |config: &Value, pointer: &str| config.pointer(pointer).cloned().unwrap_or_default();
        let strategy = "/profiles/0/pluginConfig/0/args/scoringStrategy";
        assert_eq!(at(&merged, &format!("{strategy}/type")), "LeastAllocated");
        let resources = format!("{strategy}/resources");
        assert_eq!(at(&merged, &resources), at(&plain, &resources));
        assert!(at(&plain, &resources).is_array());
        let constraints = "/profiles/0/pluginConfig/1/args/defaultConstraints";
        assert_eq!(at(&merged, constraints), json!([{"maxSkew": 1}]), "a list without names is replaced");
        assert_eq!(at(&merged, "/clientConnection"), json!({"qps": 5000}), "null removes");
        assert_eq!(merged["parallelism"], 4);
        assert_eq!(names(&merged), ["default-scheduler", "spread-scheduler"]);
        assert_eq!(names(&json!({})), ["default-scheduler"]);
    }

    #[test]
    fn an_overlay_may_not_elect_a_leader() {
        let error = laid_over(json!({"leaderElection": {"leaderElect": true}})).unwrap_err().to_string();
        assert!(error.contains("most-allocated.yaml with its overlay: set leaderElection"), "{error}");
    }

    #[test]
    fn differences_name_the_path_and_both_values() {
        let asked = json!({"clientConnection": {"qps": 5000},
            "profiles": [{"schedulerName": "default-scheduler", "pluginConfig": [{"name": "A", "args": {"x": []}}]}]});
        let same = json!({"clientConnection": {"qps": 5000.0, "burst": 100}, "profiles": [{"schedulerName":
            "default-scheduler", "pluginConfig": [{"name": "Z"}, {"name": "A", "args": {"x": null}}]}]});
        assert_eq!(differences(&asked, &same, ""), Vec::<String>::new());
        let slow = json!({"clientConnection": {"qps": 50}, "profiles": []});
        let found = differences(&asked, &slow, "");
        assert_eq!(found[0], ".clientConnection.qps: asked for 5000, running with 50");
        assert!(found[1].starts_with(".profiles[default-scheduler]"), "{found:?}");
    }
}
