//! Signals while a scenario runs: the first one is passed on, the second one kills. A signal that was ignored at the
//! start stays ignored: a user who types `nohup cargo xtask e2e &` and closes the terminal wants the run to continue.

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

/// Handles SIGINT, SIGTERM and SIGHUP, unless they are ignored, until this process ends.
#[derive(Debug, Clone)]
pub struct Signals {
    /// The process that winds down on a signal. 0 while there is none and an immediate exit does no harm.
    target: Arc<AtomicI32>,
    count: Arc<AtomicUsize>,
    /// Whether the terminal sends Ctrl-C to the child, too.
    shared_terminal: Arc<AtomicBool>,
    /// Whether the child itself reports that it winds down.
    child_tells: Arc<AtomicBool>,
}

impl Signals {
    /// Starts to handle signals. Until [`Signals::pass_to`] is called, a signal ends this process with exit code 130.
    pub fn take() -> anyhow::Result<Signals> {
        let signals = Signals {
            target: Arc::default(),
            count: Arc::default(),
            shared_terminal: Arc::default(),
            child_tells: Arc::default(),
        };
        let heeded =
            [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !platform::signals::is_ignored(*signal));
        let mut incoming = Incoming::new(heeded).context("cannot take signals")?;
        let shared = signals.clone();
        thread::spawn(move || {
            for signal in incoming.forever() {
                shared.receive(signal);
            }
        });
        Ok(signals)
    }

    /// Passes signals on to this child from now on. The child must not have been waited for.
    pub fn pass_to(&self, pid: u32) {
        self.target.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
    }

    /// Like [`Signals::pass_to`], for a child in our process group at a terminal, which a Ctrl-C has reached already.
    pub fn pass_to_neighbour(&self, pid: u32) {
        self.shared_terminal.store(true, Ordering::SeqCst);
        self.pass_to(pid);
    }

    /// Sets whether the child itself reports that it winds down, on a terminal where a line of ours would spoil its
    /// dashboard.
    pub fn child_tells(&self, tells: bool) {
        self.child_tells.store(tells, Ordering::SeqCst);
    }

    /// Whether a signal has arrived.
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
        // The child may have ended in the meantime; then there is nothing to signal.
        let _ = kill_process(target, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Output},
        time::Duration,
    };

    use super::*;

    /// Set when this test must receive signals instead of sending them.
    const TAKER: &str = "XTASK_TEST_TAKER";

    /// Runs this test again, as a child of a shell that has run `before`. It sends itself a SIGHUP.
    fn hung_up_after(before: &str) -> Output {
        let test = "signals::tests::a_hang_up_that_is_ignored_at_the_start_stays_so";
        let script = format!(r#"{before}; exec "$0" --exact {test}"#);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
        shell.env(TAKER, "1").output().unwrap()
    }

    #[test]
    fn a_hang_up_that_is_ignored_at_the_start_stays_so() {
        if std::env::var_os(TAKER).is_some() {
            let signals = Signals::take().unwrap();
            kill_process(rustix::process::getpid(), Signal::HUP).unwrap();
            thread::sleep(Duration::from_millis(500));
            assert!(!signals.interrupted());
            return;
        }
        let ignored = hung_up_after(r#"trap "" HUP"#);
        assert!(ignored.status.success(), "{ignored:?}");
        assert!(String::from_utf8_lossy(&ignored.stdout).contains("1 passed"), "{ignored:?}");
        // Proves that the test can fail.
        let taken = hung_up_after("true");
        assert_eq!(taken.status.code(), Some(i32::from(exit::INTERRUPTED)), "{taken:?}");
    }
}
