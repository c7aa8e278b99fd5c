//! Signals while a scenario runs: passed on once, a second one kills.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals as Incoming,
};

use crate::exit;

/// Takes SIGINT, SIGTERM and SIGHUP for the rest of the process's life.
#[derive(Debug, Clone)]
pub struct Signals {
    /// The process that winds down when told; 0 while there is none and ending at once harms nothing.
    target: Arc<AtomicI32>,
    count: Arc<AtomicUsize>,
    /// Whether the terminal sends Ctrl-C to the child, too.
    shared_terminal: Arc<AtomicBool>,
    /// Whether the child says itself that it winds down.
    child_tells: Arc<AtomicBool>,
}

impl Signals {
    /// Starts to take signals. Until [`Signals::pass_to`] is called, one ends this process with exit code 130.
    pub fn take() -> anyhow::Result<Signals> {
        let signals = Signals {
            target: Arc::default(),
            count: Arc::default(),
            shared_terminal: Arc::default(),
            child_tells: Arc::default(),
        };
        let mut incoming = Incoming::new([SIGINT, SIGTERM, SIGHUP]).context("cannot take signals")?;
        let shared = signals.clone();
        thread::spawn(move || {
            for signal in incoming.forever() {
                shared.receive(signal);
            }
        });
        Ok(signals)
    }

    /// From now on signals go to this child, which must not have been waited for.
    pub fn pass_to(&self, pid: u32) {
        self.target.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
    }

    /// As [`Signals::pass_to`], for a child in our process group at a terminal: a Ctrl-C has reached it already.
    pub fn pass_to_neighbour(&self, pid: u32) {
        self.shared_terminal.store(true, Ordering::SeqCst);
        self.pass_to(pid);
    }

    /// Whether the child says itself that it winds down, on a terminal where a line of ours would spoil its dashboard.
    pub fn child_tells(&self, tells: bool) {
        self.child_tells.store(tells, Ordering::SeqCst);
    }

    /// Whether a signal came.
    pub fn interrupted(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    fn receive(&self, number: i32) {
        let earlier = self.count.fetch_add(1, Ordering::SeqCst);
        let Some(target) = Pid::from_raw(self.target.load(Ordering::SeqCst)) else {
            std::process::exit(i32::from(exit::INTERRUPTED));
        };
        if number == SIGINT && self.shared_terminal.load(Ordering::SeqCst) {
            return;
        }
        let signal = match (earlier, number) {
            (0, SIGINT) => Signal::INT,
            (0, _) => Signal::TERM,
            _ => Signal::KILL,
        };
        match earlier {
            0 if self.child_tells.load(Ordering::SeqCst) => {}
            0 => eprintln!("winding down; once more kills"),
            _ => eprintln!("killing"),
        }
        // The child may have ended meanwhile; then there is nothing to tell.
        let _ = kill_process(target, signal);
    }
}
