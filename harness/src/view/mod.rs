//! The live view of a run: a dashboard on a terminal, lines elsewhere, JSON for programs.
//!
//! It takes no part in the measurement and decides nothing. Data that flow through the scenario anyway (events, counts
//! of the ledger, samples, scrapes) are noted on a [`Board`], which is read once a second at most. The cost of a read
//! depends on the number of clusters and components, not on the number of Pods, and a terminal that stands still blocks
//! nothing.

pub mod board;
pub mod cpu;
pub mod front;
pub mod left;
pub mod lines;
pub mod paint;
pub mod show;
pub mod snapshot;
pub mod stream;
pub mod window;

pub use crate::view::board::{Board, Facts, Seen};
pub use crate::view::front::Front;
pub use crate::view::show::{Inbox, Shown, View};
pub use crate::view::snapshot::Snapshot;
