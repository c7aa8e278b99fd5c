//! Progress reports during a run: the view gets the state of the clusters at every update, the record and the lines on
//! the terminal every 15 seconds.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::observe::{Counts, Observer};
use crate::scenario::recorder::Recorder;
use crate::view::{Front, Inbox, Seen, Shown};
use harness_model::record::{Event, Phase};

/// Time between two lines.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time between two counts of machines: unlike Pods, they are counted one by one.
const MACHINES_EVERY: Duration = Duration::from_secs(5);

/// Shows the progress of a phase.
pub struct Progress {
    recorder: Recorder,
    shown: Option<Shown>,
    writes_lines: bool,
    phase: Phase,
    target: u64,
    last_line: Instant,
    last_running: u64,
    machines_due: Instant,
    run_started: Instant,
}

impl Progress {
    /// Starts showing a run.
    pub fn start(recorder: Recorder, front: &Front, inbox: Inbox) -> Self {
        let now = Instant::now();
        Self {
            shown: Some(Shown::start(front, recorder.view(), recorder.clock(), inbox, std::io::stdout())),
            recorder,
            writes_lines: matches!(front, Front::Lines),
            phase: Phase::Provision,
            target: 0,
            last_line: now,
            last_running: 0,
            machines_due: now,
            run_started: now,
        }
    }

    /// Begins a phase; `target` Pods should run at its end (0: the phase has no such goal).
    pub fn phase(&mut self, phase: Phase, target: u64) {
        (self.phase, self.target, self.last_line) = (phase, target, Instant::now());
        self.machines_due = Instant::now();
        self.recorder.view().write(|board| board.target(target));
        self.line("");
    }

    /// Reads the counts of all clusters and shows them, with a note about them. Returns the sum of the counts.
    pub fn update(&mut self, observer: &Observer, note: &str) -> Counts {
        let counts = self.look(observer, note);
        let waited_s = self.last_line.elapsed().as_secs_f64();
        if self.last_line.elapsed() < HEARTBEAT {
            return counts;
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
        let mut text = format!(
            "{} created, {} bound, {} running of {}",
            counts.created, counts.bound, counts.running, self.target,
        );
        if !note.is_empty() {
            text = format!("{text}; {note}");
        }
        text = format!("{text}; {rate:.0} Pods/s");
        if let Some(left) = self.recorder.view().snapshot(self.recorder.clock().now_us()).phase_left {
            text = format!("{text}; {} left", left.words());
        }
        self.line(&text);
        counts
    }

    /// Passes the state of the clusters to the view; returns the sum of their counts.
    fn look(&mut self, observer: &Observer, note: &str) -> Counts {
        let counts_machines = self.machines_due <= Instant::now();
        if counts_machines {
            self.machines_due = Instant::now() + MACHINES_EVERY;
        }
        let (mut all, mut sum, mut machines) = (Vec::new(), Counts::default(), (0, 0));
        for cluster in observer.clusters() {
            let Some(mut ledger) = observer.ledger(cluster) else { continue };
            let (counts, unbound_since_us) = (ledger.counts(), ledger.longest_unbound_since());
            sum += counts;
            if counts_machines {
                let (serving, moving) = ledger.node_counts();
                machines = (machines.0 + serving, machines.1 + moving);
            }
            all.push(Seen { cluster: cluster.to_owned(), counts, unbound_since_us });
        }
        let at_us = self.recorder.clock().now_us();
        self.recorder.view().write(|board| {
            board.seen(at_us, &all);
            board.note(note);
            if counts_machines {
                board.machines(machines.0, machines.1);
            }
        });
        sum
    }

    /// Shows something that has to be seen.
    pub fn say(&mut self, text: &str) {
        self.recorder.view().write(|board| board.note(text));
        self.line(text);
    }

    /// Stops showing the run.
    pub fn end(&mut self) {
        self.shown = None;
    }

    fn line(&self, text: &str) {
        if !self.writes_lines {
            return;
        }
        let at_s = self.run_started.elapsed().as_secs();
        // A closed stderr is not a reason to end a run.
        let _ = writeln!(std::io::stderr(), "[{at_s:>5} s] {:<9} {text}", self.phase.name());
    }
}
