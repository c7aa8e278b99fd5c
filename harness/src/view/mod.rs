//! The live view of a run: a dashboard on a terminal, lines elsewhere, JSON for programs.
//!
//! It takes part in no measurement and decides nothing. What flows through the scenario anyway (events, counts of the
//! ledger, samples, scrapes) is noted on a [`Board`]; once a second at most somebody looks at it. A look costs as much as
//! there are clusters and components, however many Pods there are, and a terminal that stands still holds nobody up.

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
