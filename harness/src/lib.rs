//! A run: its scenario, what is observed, and what is shown while it is in progress.
//!
//! It builds on `harness-model` (what a run is and leaves), `harness-analysis` (the evaluation of its directory),
//! `harness-planes` and `harness-supervisor` (control planes and the owner of all processes), and `harness-programs`
//! (the programs that create load and Nodes).

pub mod codegen;
pub mod observe;
pub mod scenario;
pub mod up;
pub mod view;
