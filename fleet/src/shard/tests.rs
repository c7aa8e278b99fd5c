//! A shard and a scripted operator over loopback.
