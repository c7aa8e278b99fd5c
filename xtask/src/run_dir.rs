//! Run ids and run directories.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::cargo;

/// Returns a new run id: `<profile>-<yyyymmdd-hhmmss>-<4 hex>`, in UTC.
pub fn new_id(profile: &str) -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    // Two runs that start within the same second differ in their random digits.
    let chance = RandomState::new().hash_one(std::process::id()) & 0xffff;
    format!("{}-{now}-{chance:04x}", profile_name(profile))
}

/// Returns the name of a profile, which may be given as a file. A `profile.yaml` is named after its directory.
fn profile_name(profile: &str) -> String {
    let path = Path::new(profile);
    let stem = path.file_stem().unwrap_or_default();
    let name = match path.parent().and_then(Path::file_name) {
        Some(dir) if stem == "profile" => dir,
        _ => stem,
    };
    let name: String =
        name.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if name.is_empty() { "run".to_owned() } else { name }
}

/// Returns the names of all profiles if `profile` is neither one of them nor a file.
///
/// The planner would report that, too, but only after it has been built.
pub fn profiles_unless_known(profile: &str) -> anyhow::Result<Option<Vec<String>>> {
    let dir = cargo::workspace_root().join("fixtures/profiles");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut known: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    known.sort();
    let is_known = known.iter().any(|name| name == profile) || Path::new(profile).exists();
    Ok((!is_known).then_some(known))
}

/// Creates the run directory with its `logs/`, and makes the `latest` link next to it point to it.
pub fn create(root: &Path, id: &str) -> anyhow::Result<PathBuf> {
    let dir = root.join(id);
    fs::create_dir_all(dir.join("logs")).with_context(|| format!("cannot create {}", dir.display()))?;
    let latest = root.join("latest");
    // Replaced by a rename, so that the link exists at every moment.
    let new = root.join(format!(".latest-{id}"));
    let linked = std::os::unix::fs::symlink(id, &new).and_then(|()| fs::rename(&new, &latest));
    if let Err(error) = linked {
        // Some file systems have no links, and a run does not need one.
        eprintln!("Warning: {} does not point to the run: {error}", latest.display());
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_profile_the_time_and_differs_from_the_next() {
        let id = new_id("dev-50");
        let rest = id.strip_prefix("dev-50-").unwrap();
        assert_eq!(rest.len(), "20260101-120000-abcd".len(), "{id}");
        assert!(rest.chars().all(|c| c.is_ascii_hexdigit() || c == '-'), "{id}");
        let distinct: std::collections::BTreeSet<_> = (0..20).map(|_| new_id("dev-50")).collect();
        assert!(distinct.len() > 15, "{distinct:?}");
    }

    #[test]
    fn a_profile_given_as_a_file_is_named_by_it_or_by_its_directory() {
        for (profile, expected) in [
            ("dev-50", "dev-50"),
            ("/x/mine/profile.yaml", "mine"),
            ("/x/my_own.yaml", "my-own"),
            ("profile.yaml", "profile"),
            ("", "run"),
        ] {
            assert_eq!(profile_name(profile), expected);
        }
    }

    #[test]
    fn an_unknown_profile_is_answered_with_the_known_ones() {
        assert_eq!(profiles_unless_known("dev-50").unwrap(), None);
        assert_eq!(profiles_unless_known("/etc/hostname").unwrap(), None);
        let known = profiles_unless_known("dev-5000").unwrap().unwrap();
        assert!(known.contains(&"dev-500".to_owned()), "{known:?}");
    }

    #[test]
    fn latest_points_to_the_newest_run() {
        let root = tempfile::tempdir().unwrap();
        for id in ["a", "b"] {
            let dir = create(root.path(), id).unwrap();
            assert!(dir.join("logs").is_dir());
            assert_eq!(fs::read_link(root.path().join("latest")).unwrap(), Path::new(id));
        }
    }
}
