//! The operator: one cluster's side of the session with a shard.
