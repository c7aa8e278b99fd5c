//! Progress of long work: a bar on a terminal, a line every ten seconds elsewhere, always on stderr.

use std::{
    io::IsTerminal,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Work that ends sooner needs no line.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(3);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar if stderr is a terminal, otherwise heartbeat lines.
    Auto,
    /// Nowhere.
    Hidden,
}

impl ProgressMode {
    /// Prints a line that stays.
    pub(crate) fn note(self, text: &str) {
        if self == ProgressMode::Auto {
            platform::tell!("{text}");
        }
    }
}

/// The unit that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Bytes,
    Packages,
    Parts,
}

/// A running display, which ends when dropped.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    bar: Option<ProgressBar>,
    heartbeat: Option<JoinHandle<()>>,
}

struct Shared {
    label: String,
    unit: Unit,
    started: Instant,
    done: AtomicU64,
    total: AtomicU64,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Progress {
    pub(crate) fn start(mode: ProgressMode, label: &str, unit: Unit) -> Progress {
        let shared = Arc::new(Shared {
            label: label.to_owned(),
            unit,
            started: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            ended: Mutex::new(false),
            wake: Condvar::new(),
        });
        let mut progress = Progress { shared, bar: None, heartbeat: None };
        if mode == ProgressMode::Hidden {
            return progress;
        }
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner().with_message(label.to_owned());
            bar.set_style(style(unit, false));
            bar.enable_steady_tick(Duration::from_millis(200));
            progress.bar = Some(bar);
        } else {
            let shared = progress.shared.clone();
            progress.heartbeat = Some(std::thread::spawn(move || shared.beat()));
        }
        progress
    }

    /// Sets the total amount of work, once it is known.
    pub(crate) fn total(&self, total: u64) {
        self.shared.total.store(total, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_style(style(self.shared.unit, true));
        }
    }

    pub(crate) fn advance(&self, by: u64) {
        let done = self.shared.done.fetch_add(by, Ordering::Relaxed) + by;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.shared.ended.lock().expect("must not be poisoned: no holder panics") = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.heartbeat.take() {
            let _ = thread.join();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Shared {
    fn beat(&self) {
        let mut ended = self.ended.lock().expect("must not be poisoned: no holder panics");
        let mut pause = FIRST_HEARTBEAT;
        loop {
            let (guard, timeout) = self
                .wake
                .wait_timeout_while(ended, pause, |ended| !*ended)
                .expect("must not be poisoned: no holder panics");
            ended = guard;
            if !timeout.timed_out() {
                return;
            }
            platform::tell!("{}", self.line());
            pause = HEARTBEAT;
        }
    }

    fn line(&self) -> String {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let amount = match (self.unit, total) {
            (Unit::Bytes, 0) => HumanBytes(done).to_string(),
            (Unit::Bytes, total) => format!("{} of {}", HumanBytes(done), HumanBytes(total)),
            (Unit::Packages, 0) => format!("{done} packages"),
            (Unit::Packages, total) => format!("{done} of {total} packages"),
            (Unit::Parts, total) => format!("{done} of {total} parts"),
        };
        format!("{}: {amount}, {} s", self.label, self.started.elapsed().as_secs())
    }
}

fn style(unit: Unit, bounded: bool) -> ProgressStyle {
    let template = match (unit, bounded) {
        (Unit::Bytes, true) => "{msg} {wide_bar} {bytes}/{total_bytes} {elapsed}",
        (Unit::Bytes, false) => "{spinner} {msg} {bytes} {elapsed}",
        (Unit::Packages, true) => "{msg} {wide_bar} {pos}/{len} packages {elapsed}",
        (Unit::Packages, false) => "{spinner} {msg} {pos} packages {elapsed}",
        (Unit::Parts, _) => "{msg} {wide_bar} {pos}/{len} parts {elapsed}",
    };
    ProgressStyle::with_template(template).expect("must parse: the templates are constants")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_line_says_what_how_much_and_how_long() {
        let progress = Progress::start(ProgressMode::Hidden, "download etcd", Unit::Bytes);
        progress.advance(1024);
        assert_eq!(progress.shared.line(), "download etcd: 1.00 KiB, 0 s");
        progress.total(4096);
        assert_eq!(progress.shared.line(), "download etcd: 1.00 KiB of 4.00 KiB, 0 s");
    }
}
