//! The unschedulable-pod-controller: one CapacityRequest per Pod that wants capacity.
//!
//! The name is upstream's and a misnomer kept on purpose: since ADR-0039 every live Pod has a request,
//! because Phase 3 needs the total demand and not the unmet part of it.
//!
//! API budget per Pod: one create, and one delete when the Pod goes. Upstream also writes the phase Pending
//! right after the create; the operator understands a request without status as Pending, so that write is
//! left out (2.6 ms of control-plane CPU per Pod, a third of what a request costs).

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub mod controller;
pub mod penalties;
pub mod store;
pub mod translate;

/// Flags of the controller beside the common ones.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Which Pods get a request.
    #[arg(long, value_enum, default_value_t = CrMode::PerPod)]
    pub cr_mode: CrMode,
    /// When the request of a Pod that goes away is deleted.
    #[arg(long, value_enum, default_value_t = CrRelease::OnTerminating)]
    pub cr_release: CrRelease,
    /// YAML file: PriorityClass name to interruptionPenalty and reclamationPenalty (dollars).
    #[arg(long)]
    pub priority_class_defaults: Option<PathBuf>,
    /// Pods that are worked on at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
}

/// Which Pods get a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CrMode {
    /// Every live Pod (ADR-0039).
    PerPod,
    /// Only a Pod that the scheduler marked Unschedulable, from then on (before ADR-0039; makes the
    /// fleet oscillate, because bound Pods that never were unschedulable are no demand).
    UnschedulableOnly,
}

/// When the request of a Pod that goes away is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CrRelease {
    /// As soon as the Pod has a deletion timestamp: its replacement's request takes over at that moment.
    OnTerminating,
    /// Only by the garbage collector, after the Pod object: a Terminating Pod and its replacement count
    /// twice meanwhile.
    OnGone,
}
