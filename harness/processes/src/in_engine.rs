//! A file of its own because the janitor includes it, too: with this whole crate linked in, it would not be small.

/// Name of the file in a scratch directory that says: the container engine may hold something of this run. Made before
/// the first thing is, removed after the last one is.
pub const IN_ENGINE: &str = "in-engine";
