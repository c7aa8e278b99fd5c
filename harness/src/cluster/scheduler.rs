//! The scheduler's configuration: filled in before the start, compared with what runs after it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Error, io};

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
        .map_err(io("listing", &dir))?
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
/// When it is unreadable, no KubeSchedulerConfiguration, or would elect a leader: under load a scheduler
/// that loses its lease ends itself.
pub fn read(path: &Path) -> Result<Value, Error> {
    let text = std::fs::read_to_string(path).map_err(io("reading", path))?;
    let config: Value = serde_saphyr::from_str(&text)
        .map_err(|e| Error::Usage(format!("{} is no YAML document: {e}", path.display())))?;
    if config["kind"] != "KubeSchedulerConfiguration" {
        return Err(Error::Usage(format!(
            "{}: kind is {}, expected KubeSchedulerConfiguration",
            path.display(),
            config["kind"]
        )));
    }
    if config["leaderElection"]["leaderElect"] != json!(false) {
        return Err(Error::Usage(format!("{}: set leaderElection.leaderElect: false", path.display())));
    }
    Ok(config)
}

/// The configuration with the kubeconfig filled in.
pub fn render(config: &Value, kubeconfig: &Path) -> Value {
    let mut rendered = config.clone();
    rendered["clientConnection"]["kubeconfig"] = json!(kubeconfig);
    rendered
}

/// Where `running` (from `/configz`) differs from what was `asked`. Fields that were not asked for may have
/// any value; lists of named things (profiles, plugin configurations) are matched by name.
pub fn differences(asked: &Value, running: &Value, at: &str) -> Vec<String> {
    match (asked, running) {
        (Value::Object(asked), Value::Object(running)) => asked
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"))
            .flat_map(|(key, value)| {
                differences(value, running.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"))
            })
            .collect(),
        (Value::Array(asked), Value::Array(running)) if asked.iter().all(|item| key_of(item).is_some()) => {
            asked
                .iter()
                .flat_map(|item| {
                    let twin = running.iter().find(|other| key_of(other) == key_of(item));
                    let at = format!("{at}[{}]", key_of(item).unwrap_or_default());
                    differences(item, twin.unwrap_or(&Value::Null), &at)
                })
                .collect()
        }
        // Kubernetes writes an empty list as null.
        (Value::Array(asked), Value::Null) if asked.is_empty() => Vec::new(),
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => Vec::new(),
        _ if asked == running => Vec::new(),
        _ => vec![format!("{at}: asked for {asked}, running with {running}")],
    }
}

fn key_of(item: &Value) -> Option<&str> {
    item.get("name").or_else(|| item.get("schedulerName"))?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
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
