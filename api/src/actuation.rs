//! The shard's kill switch over HTTP (ADR-0046).

use serde::{Deserialize, Serialize};

/// Answer of `GET /actuation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actuation {
    /// Whether decided actions stay undone.
    pub paused: bool,
}
