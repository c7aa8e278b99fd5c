//! A separate file because the janitor includes it too: with this whole crate linked in, the janitor would not be
//! small.

/// Name of the file in a scratch directory that says that the container engine may hold something of this run. It is
/// created before the first such thing, and removed after the last one.
pub const IN_ENGINE: &str = "in-engine";
