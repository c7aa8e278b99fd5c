//! What a person sees while a run is under way: a bar on a terminal, a line every 15 seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::observe::Counts;
use crate::record::{Event, Phase};
use crate::scenario::recorder::Recorder;

/// Time between two lines.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Shows how far a phase is.
pub struct Progress {
    recorder: Recorder,
    is_terminal: bool,
    bar: ProgressBar,
    phase: Phase,
    target: u64,
    phase_started: Instant,
    last_line: Instant,
    last_running: u64,
    run_started: Instant,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new(recorder: Recorder) -> Self {
        let now = Instant::now();
        Self {
            recorder,
            is_terminal: std::io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            phase: Phase::Provision,
            target: 0,
            phase_started: now,
            last_line: now,
            last_running: 0,
            run_started: now,
        }
    }

    /// A phase begins; `target` Pods should run at its end (0: the phase has no such goal).
    pub fn phase(&mut self, phase: Phase, target: u64) {
        self.bar.finish_and_clear();
        (self.phase, self.target) = (phase, target);
        (self.phase_started, self.last_line) = (Instant::now(), Instant::now());
        if self.is_terminal {
            self.bar = ProgressBar::with_draw_target(Some(target.max(1)), ProgressDrawTarget::stderr());
            let template = "{prefix:>9} [{elapsed}] {bar:30} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style);
            }
            self.bar.set_prefix(phase.name());
            self.bar.enable_steady_tick(Duration::from_millis(500));
        } else {
            self.line("");
        }
    }

    /// Present counts, with something to say about them.
    pub fn update(&mut self, counts: Counts, note: &str) {
        let waited_s = self.last_line.elapsed().as_secs_f64();
        let text = format!(
            "{} created, {} bound, {} running of {}{}{note}",
            counts.created,
            counts.bound,
            counts.running,
            self.target,
            if note.is_empty() { "" } else { "; " },
        );
        self.bar.set_position(counts.running.min(self.target));
        self.bar.set_message(text.clone());
        if self.last_line.elapsed() < HEARTBEAT {
            return;
        }
        let rate = counts.running.saturating_sub(self.last_running) as f64 / waited_s;
        (self.last_line, self.last_running) = (Instant::now(), counts.running);
        self.recorder.record(Event::Progress {
            phase: self.phase,
            target: self.target,
            live: counts.live,
            bound: counts.bound,
            running: counts.running,
        });
        if !self.is_terminal {
            self.line(&format!("{text}; {rate:.0} Pods/s"));
        }
    }

    /// Something that has to be seen.
    pub fn say(&mut self, text: &str) {
        if self.is_terminal { self.bar.println(text) } else { self.line(text) }
    }

    /// No bar any more.
    pub fn end(&mut self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        let at_s = self.run_started.elapsed().as_secs();
        // A closed stderr is no reason to end a run.
        let _ = writeln!(std::io::stderr(), "[{at_s:>5} s] {:<9} {text}", self.phase.name());
    }
}
