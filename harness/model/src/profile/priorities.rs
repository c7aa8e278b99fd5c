//! The PriorityClasses that every control plane is seeded with.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

/// The seeded classes, under `fixtures`.
const FILE: &str = "seed/priorityclasses.yaml";

#[derive(Deserialize)]
struct Class {
    metadata: Metadata,
    value: i32,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

/// Returns the name of the PriorityClass for a catalog's priority.
pub fn class_of(priority: i32) -> String {
    format!("e2e-{priority}")
}

/// Priorities that have a class.
#[derive(Clone, Debug, Default)]
pub struct Seeded(BTreeSet<i32>);

impl Seeded {
    /// Reads the seeded classes.
    ///
    /// # Errors
    /// When the file cannot be read or is not a list of PriorityClasses.
    pub fn read(fixtures: &Path) -> Result<Self, String> {
        let path = fixtures.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
        let classes: Vec<Class> =
            serde_saphyr::from_multiple(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let named = classes.into_iter().filter(|class| class.metadata.name == class_of(class.value));
        Ok(Self(named.map(|class| class.value).collect()))
    }

    /// Whether Pods may have that priority.
    ///
    /// # Errors
    /// Returns the nearest priorities that they may have.
    pub fn check(&self, priority: i32) -> Result<(), String> {
        if self.0.contains(&priority) {
            return Ok(());
        }
        let mut nearest: Vec<i32> = self.0.iter().copied().collect();
        nearest.sort_by_key(|known| known.abs_diff(priority));
        nearest.truncate(2);
        let nearest: Vec<String> = nearest.iter().map(i32::to_string).collect();
        Err(format!(
            "is {priority}, but no PriorityClass {} is seeded; use {}, or add the class to fixtures/{FILE}",
            class_of(priority),
            nearest.join(" or ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::fixtures_dir;

    #[test]
    fn the_nearest_classes_are_named() {
        let seeded = Seeded::read(&fixtures_dir()).unwrap();
        assert_eq!(seeded.check(1000), Ok(()));
        let told = seeded.check(500).unwrap_err();
        assert!(told.contains("e2e-500") && told.contains("use 100 or 1000,"), "{told}");
        assert!(Seeded::read(Path::new("/nonexistent")).unwrap_err().contains("priorityclasses.yaml"));
    }
}
