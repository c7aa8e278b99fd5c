//! A run: its scenario, what is observed, and what is shown while it is in progress.
//!
//! It builds on `harness-model` (what a run is and leaves), `harness-analysis` (the evaluation of its directory),
//! `harness-planes` (control planes) and `harness-programs` (the programs that create load and Nodes).

pub mod codegen;
pub mod observe;
pub mod scenario;
pub mod up;
pub mod view;
