//! Watching the clusters and the processes of a run without slowing them.
//!
//! A watch task only stamps and queues; one other task folds what is queued into the ledger. Nothing here
//! decides anything: what it means is the judge's business.

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
