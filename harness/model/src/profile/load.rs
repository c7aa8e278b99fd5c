//! Loads a checked profile, with its catalog and ranges, from a name or file and `--set` overrides.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::catalog::Catalog;
use super::error::{Problem, ProfileError};
use super::keys;
use super::ranges::Ranges;
use super::types::Profile;
use super::{validate, validate_catalog};

/// A profile with its catalog, ranges and overrides.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The profile, with overrides applied.
    pub profile: Profile,
    /// Its catalog.
    pub catalog: Catalog,
    /// The ranges next to it; empty if it has none.
    pub ranges: Ranges,
    /// The overrides, as given.
    pub overrides: Vec<String>,
    /// The file it came from.
    pub source: PathBuf,
}

/// Loads a profile by name (`fixtures/profiles/<name>/profile.yaml`) or by path of a YAML file, applies
/// `key=value` overrides in order, and checks it together with its catalog.
///
/// # Errors
/// [`ProfileError`]; the user can fix every one of them.
pub fn load(fixtures: &Path, name_or_file: &str, overrides: &[String]) -> Result<Loaded, ProfileError> {
    let source = find(fixtures, name_or_file)?;
    let mut document = parse(&source)?;
    for given in overrides {
        apply(&mut document, given)?;
    }
    let mut profile: Profile = decode(&source, document)?;
    profile.harness.scheduler_config = rooted(&source, profile.harness.scheduler_config);
    let catalog_file = named(fixtures, "catalog", &profile.catalog, |name| {
        fixtures.join("catalogs").join(format!("{name}.yaml"))
    })?;
    let catalog: Catalog = decode(&catalog_file, parse(&catalog_file)?)?;
    refuse(&catalog_file, validate_catalog::catalog(&catalog, fixtures))?;
    refuse(&source, validate::profile(&profile, &catalog, fixtures))?;
    let ranges_file = source.with_file_name("ranges.yaml");
    let ranges = if ranges_file.is_file() {
        let ranges: Ranges = decode(&ranges_file, parse(&ranges_file)?)?;
        refuse(&ranges_file, validate::ranges(&ranges))?;
        ranges
    } else {
        Ranges::default()
    };
    Ok(Loaded { profile, catalog, ranges, overrides: overrides.to_vec(), source })
}

/// Reads a YAML file of any documented type, with the same error messages as for a profile: every unknown key is named,
/// with the nearest known key.
///
/// # Errors
/// [`ProfileError`]: no such file, not YAML, or not a `T`.
pub fn read<T: JsonSchema + DeserializeOwned>(path: &Path) -> Result<T, ProfileError> {
    decode(path, parse(path)?)
}

/// Makes a path in a profile absolute. It is relative to the profile's directory, and the supervisor that reads it runs
/// elsewhere.
fn rooted(source: &Path, given: String) -> String {
    if !given.contains('/') {
        return given;
    }
    let path = source.parent().unwrap_or(Path::new(".")).join(&given);
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}

/// Returns the names of the profiles that come with the project, sorted.
pub fn profile_names(fixtures: &Path) -> Vec<String> {
    let dirs = std::fs::read_dir(fixtures.join("profiles")).into_iter().flatten().flatten();
    let mut names: Vec<String> = dirs
        .filter(|d| d.path().join("profile.yaml").is_file())
        .filter_map(|d| d.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn find(fixtures: &Path, name_or_file: &str) -> Result<PathBuf, ProfileError> {
    let path = Path::new(name_or_file);
    let looks_like_file =
        name_or_file.contains('/') || path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    if looks_like_file {
        if path.is_file() {
            return Ok(path.to_owned());
        }
        let hint = "there is no such file".to_owned();
        return Err(ProfileError::NotFound { what: "profile", name: name_or_file.to_owned(), hint });
    }
    named(fixtures, "profile", name_or_file, |name| fixtures.join("profiles").join(name).join("profile.yaml"))
}

fn named(
    fixtures: &Path,
    what: &'static str,
    name: &str,
    path_of: impl Fn(&str) -> PathBuf,
) -> Result<PathBuf, ProfileError> {
    // A name is one path component: `..` or an absolute path must not lead elsewhere.
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let path = path_of(name);
    if plain && path.is_file() {
        return Ok(path);
    }
    let known = if what == "profile" { profile_names(fixtures) } else { catalog_names(fixtures) };
    let hint = keys::unknown(what, known.iter().map(String::as_str), name);
    Err(ProfileError::NotFound { what, name: name.to_owned(), hint })
}

fn catalog_names(fixtures: &Path) -> Vec<String> {
    let files = std::fs::read_dir(fixtures.join("catalogs")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        files.filter_map(|f| f.path().file_stem().map(|s| s.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

fn parse(path: &Path) -> Result<Value, ProfileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ProfileError::Read { path: path.to_owned(), source })?;
    serde_saphyr::from_str(&text)
        .map_err(|e| ProfileError::Yaml { path: path.to_owned(), message: e.to_string() })
}

fn decode<T: JsonSchema + DeserializeOwned>(path: &Path, document: Value) -> Result<T, ProfileError> {
    refuse(path, keys::check::<T>(&document))?;
    serde_json::from_value(document).map_err(|e| ProfileError::Invalid {
        path: path.to_owned(),
        problems: vec![Problem::new("", e.to_string())],
    })
}

fn refuse(path: &Path, problems: Vec<Problem>) -> Result<(), ProfileError> {
    if problems.is_empty() { Ok(()) } else { Err(ProfileError::Invalid { path: path.to_owned(), problems }) }
}

/// Sets `a.b.c=value` in the document; the value is read as YAML. The existence of the key is checked later, together
/// with all other keys.
fn apply(document: &mut Value, given: &str) -> Result<(), ProfileError> {
    let fail = |message: String| ProfileError::Override { given: given.to_owned(), message };
    let (key, value) = given
        .split_once('=')
        .ok_or_else(|| fail("write key=value, for example --set churnPerMinute=0".into()))?;
    let value: Value = serde_saphyr::from_str(value.trim()).map_err(|e| fail(e.to_string()))?;
    let mut place = document;
    let parts: Vec<&str> = key.trim().split('.').collect();
    for (i, part) in parts.iter().enumerate() {
        if part.is_empty() {
            return Err(fail("the key has an empty part".into()));
        }
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        let map = place
            .as_object_mut()
            .ok_or_else(|| fail(format!("`{}` is a value, not a section", parts[..i].join("."))))?;
        place = map.entry((*part).to_owned()).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::fixtures_dir;

    fn load_dev_50(overrides: &[&str]) -> Result<Loaded, ProfileError> {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        load(&fixtures_dir(), "dev-50", &overrides)
    }

    #[test]
    fn every_profile_that_comes_with_the_project_loads() {
        let names = profile_names(&fixtures_dir());
        for name in ["dev-50", "dev-500", "5k", "uber-5k", "50k", "smoke"] {
            assert!(names.iter().any(|n| n == name), "{name} is missing from {names:?}");
        }
        for name in names {
            let loaded = load(&fixtures_dir(), &name, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(loaded.profile.name, name);
            assert!(!loaded.ranges.metrics.is_empty(), "{name} has no ranges");
        }
    }

    #[test]
    fn overrides_replace_and_add_values_and_are_recorded() {
        let given =
            ["phases.soak=120s", "churnPerMinute=0.01", "shard.reclaimCapFraction=0.2", "demandWave=null"];
        let loaded = load_dev_50(&given).unwrap();
        assert_eq!(loaded.profile.phases.soak.to_string(), "2m");
        assert_eq!(loaded.profile.churn_per_minute, 0.01);
        assert_eq!(loaded.profile.shard.reclaim_cap_fraction, Some(0.2));
        assert_eq!(loaded.profile.demand_wave, None);
        assert_eq!(loaded.overrides, given);
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let cases = [
            (
                "churnPerMinut=0.1",
                "churnPerMinut: `churnPerMinut` is not a known key; did you mean `churnPerMinute`?",
            ),
            ("operator.rollupIntervall=1s", "did you mean `rollupInterval`"),
            ("harness.scheduler=kubescheduler", "did you mean `kube-scheduler`"),
            ("churnPerMinute=60", "churnPerMinute: is 60"),
            ("churnPerMinute=-0.1", "churnPerMinute: is -0.1"),
            ("clusters=0", "clusters: is 0"),
            ("clusters=-1", "clusters: is -1, but must not be negative"),
            ("clusters=2.5", "must be a whole number"),
            ("clusters=two", "takes a whole number"),
            ("phases.soak=120", "needs a unit, for example 120s"),
            ("phases.soak=2 minutes", "write for example"),
            ("podsPerCluster=2600", "adds up to 2500"),
            ("podsPerArchetype.tiny-stateles=3", "did you mean `tiny-stateless`"),
            ("demandWave.archetype=tiny", "tiny"),
            ("catalog=adr-38", "did you mean `adr-0038`"),
            ("operator.qps=0", "operator.qps: is 0"),
            ("harness.schedulerConfig=most-alocated.yaml", "no scheduler configuration most-alocated.yaml"),
            ("harness.schedulerConfig=most-alocated.yaml", "least-allocated.yaml, most-allocated.yaml"),
            ("harness.schedulerConfig=./no-such.yaml", "dev-50/no-such.yaml; give a path or one of"),
            ("harness.schedulerConfigOverlay=3", "takes a section"),
            ("harness.schedulerConfigOverlay.leaderElection.leaderElect=true", "leaderElect: false"),
            ("harness.schedulerConfigOverlay.kind=Pod", "expected KubeSchedulerConfiguration"),
            ("nonsense", "write key=value"),
            ("clusters.x=1", "`clusters` is a value"),
        ];
        for (given, expected) in cases {
            let error = load_dev_50(&[given]).expect_err(given).to_string();
            assert!(error.contains(expected), "{given}: {error}");
        }
    }

    #[test]
    fn a_scheduler_configuration_may_lie_beside_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let of = |file: &str| fixtures_dir().join(file);
        let profile = dir.path().join("profile.yaml");
        std::fs::copy(of("profiles/smoke/profile.yaml"), &profile).unwrap();
        std::fs::copy(of("scheduler/most-allocated.yaml"), dir.path().join("mine.yaml")).unwrap();
        let given = ["harness.schedulerConfig=./mine.yaml".to_owned()];
        let loaded = load(&fixtures_dir(), profile.to_str().unwrap(), &given).unwrap();
        let found = Path::new(&loaded.profile.harness.scheduler_config);
        assert!(found.is_absolute() && found.is_file(), "{}", found.display());
    }

    #[test]
    fn a_scheduler_that_pods_ask_for_must_be_configured() {
        let loaded = load(&fixtures_dir(), "two-schedulers", &[]).unwrap();
        assert!(!loaded.profile.harness.scheduler_config_overlay.is_empty());
        let without = ["harness.schedulerConfigOverlay={}".to_owned()];
        let error = load(&fixtures_dir(), "two-schedulers", &without).unwrap_err().to_string();
        assert!(error.contains("has no scheduler spread-scheduler"), "{error}");
    }

    #[test]
    fn an_unknown_profile_is_answered_with_the_nearest() {
        let error = load(&fixtures_dir(), "dev-5O", &[]).unwrap_err().to_string();
        assert!(error.contains("did you mean `dev-50`"), "{error}");
        assert!(load(&fixtures_dir(), "../catalogs", &[]).is_err());
    }
}
