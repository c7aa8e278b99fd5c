//! A run: its scenario, what is observed of it, and what is shown while it goes on.
//!
//! Below it lie `harness-model` (what a run is and leaves), `harness-analysis` (what is made of its directory),
//! `harness-planes` (control planes) and `harness-programs` (what makes load and Nodes).

pub mod codegen;
pub mod observe;
pub mod scenario;
pub mod up;
pub mod view;
