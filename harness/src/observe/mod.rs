//! Watching the clusters and the processes of a run without slowing them.
//!
//! A watch task only stamps and queues events; one other task folds them into the ledger. Nothing is decided here: the
//! judge interprets the data.

pub mod clock;
pub mod ledger;
pub mod request;
pub mod sampler;
pub mod scrape;
pub mod speed;
pub mod watcher;

pub use crate::observe::clock::Clock;
pub use crate::observe::ledger::{Counts, Ledger};
pub use crate::observe::watcher::Observer;
