//! Profiles and catalogs: what to run, from YAML and overrides to checked types.

mod catalog;
mod error;
mod keys;
mod knobs;
pub mod kubernetes;
mod load;
mod priorities;
mod ranges;
mod slo;
mod span;
mod types;
mod validate;
mod validate_catalog;

use std::path::{Path, PathBuf};

pub use self::catalog::{
    Archetype, Catalog, Gang, GangScope, Kind, Size, Spread, WhenUnsatisfiable, is_core,
};
pub use self::error::{Problem, ProfileError};
pub use self::keys::unknown;
pub use self::knobs::*;
pub use self::load::{Loaded, load, profile_names, read};
pub use self::priorities::class_of;
pub use self::ranges::{Range, Ranges};
pub use self::slo::Slo;
pub use self::span::Span;
pub use self::types::*;

/// Returns the repository's `fixtures` directory.
pub fn fixtures_dir() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.ancestors().nth(2).expect("the crate must lie in the workspace").join("fixtures")
}
