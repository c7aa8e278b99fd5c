//! The variables that cargo sets for a program that it runs.
//!
//! This is a separate file because tests include it, too: a program crate has no library to share.

/// Whether `cargo run` (or `cargo test`) sets this variable for the program it starts.
///
/// To a cargo that this program calls, some of these variables look like changed inputs of build scripts: their crates,
/// with everything that depends on them, would be rebuilt every time.
pub fn is_set_by_cargo(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || ["CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&name)
}
