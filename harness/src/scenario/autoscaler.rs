//! The autoscaler under test: the reference, whose programs are next to the harness's own, or the one in another
//! directory (docs/bring-your-own.md).

use std::path::{Path, PathBuf};

use harness_analysis::judge::cpu::FLEET;

/// An autoscaler that replaces the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaler {
    dir: PathBuf,
}

impl Autoscaler {
    /// Finds the autoscaler whose programs are in a directory, under the names of the contract.
    ///
    /// # Errors
    /// Which programs are missing.
    pub fn in_dir(dir: &Path) -> Result<Self, String> {
        let dir = std::path::absolute(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let missing: Vec<&str> =
            FLEET.into_iter().filter(|name| !tools::is_executable(&dir.join(name))).collect();
        if missing.is_empty() {
            return Ok(Self { dir });
        }
        Err(format!(
            "there is no autoscaler in {}: missing, or not executable: {}; an autoscaler is the programs {} \
             (docs/bring-your-own.md)",
            dir.display(),
            missing.join(", "),
            FLEET.join(", ")
        ))
    }

    /// Returns the path of one of a run's programs, if it belongs to the autoscaler.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        FLEET.contains(&name).then(|| self.dir.join(name))
    }

    /// Returns the name that a run records: the directory's name, not its path, which is valid on one machine only.
    pub fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or(self.dir.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(dir: &Path, name: &str, mode: u32) {
        let path = dir.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_missing_is_named_at_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("mine");
        std::fs::create_dir(&dir).unwrap();
        put(&dir, "shard", 0o755);
        put(&dir, "operator", 0o644);
        let error = Autoscaler::in_dir(&dir).unwrap_err();
        assert!(error.contains("not executable: operator, unschedulable-pod-controller;"), "{error}");
        for name in FLEET {
            put(&dir, name, 0o755);
        }
        let mine = Autoscaler::in_dir(&dir).unwrap();
        assert_eq!(mine.name(), "mine");
        assert_eq!(mine.program("shard"), Some(dir.join("shard")));
        assert_eq!(mine.program("node-creator"), None, "what is the harness's stays the harness's");
    }
}
