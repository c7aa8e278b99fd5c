//! Shows a run on a separate thread: a terminal or a reader that stands still delays nothing that is measured.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::observe::Clock;
use crate::view::board::{Board, Facts};
use crate::view::front::{Dashboard, Front};
use crate::view::snapshot::Snapshot;
use crate::view::stream::Line;
use harness_model::record::{Event, Stamped};

/// Time between two drawings of a dashboard.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// Time between two `view` lines of `--json`.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The run's board, and the channel to the thread that shows it. Clones share both.
#[derive(Clone)]
pub struct View {
    board: Arc<Mutex<Board>>,
    out: mpsc::Sender<Message>,
    streams: bool,
}

enum Message {
    /// A line of `--json`.
    Line(String),
    /// Something changed that should be seen at once.
    Wake,
    End,
}

/// Messages that wait to be shown.
pub struct Inbox(mpsc::Receiver<Message>);

impl View {
    /// Creates the view of a run that begins, for `front`.
    pub fn new(facts: Facts, front: &Front) -> (Self, Inbox) {
        let (out, inbox) = mpsc::channel();
        let board = Arc::new(Mutex::new(Board::new(facts)));
        (Self { board, out, streams: matches!(front, Front::Json) }, Inbox(inbox))
    }

    /// Writes something on the board. The lock of the board is held meanwhile.
    pub fn write(&self, note: impl FnOnce(&mut Board)) {
        note(&mut self.board.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes in an event that was recorded.
    pub fn event(&self, stamped: &Stamped) {
        self.write(|board| board.event(stamped));
        if self.streams
            && let Ok(json) = serde_json::to_string(stamped)
        {
            let _ = self.out.send(Message::Line(json));
        }
        if matches!(stamped.event, Event::PhaseStarted { .. }) {
            let _ = self.out.send(Message::Wake);
        }
    }

    /// Returns the current state of the run.
    pub fn snapshot(&self, now_us: u64) -> Snapshot {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).snapshot(now_us)
    }
}

/// A run that is being shown, until this is dropped.
pub struct Shown {
    out: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Starts showing a run. `stdout` is for `--json`.
    pub fn start(
        front: &Front,
        view: &View,
        clock: Clock,
        inbox: Inbox,
        stdout: impl Write + Send + 'static,
    ) -> Self {
        let (out, view) = (view.out.clone(), view.clone());
        let show: Box<dyn FnOnce() + Send> = match front {
            // Lines are written where the counts are read; without a receiver nothing waits.
            Front::Lines | Front::Quiet => return Self { out, thread: None },
            Front::Dashboard(dashboard) => {
                let dashboard = dashboard.clone();
                Box::new(move || draw(&dashboard, &view, clock, &inbox))
            }
            Front::Json => Box::new(move || tell(stdout, &view, clock, &inbox)),
        };
        let thread = std::thread::Builder::new().name("view".into()).spawn(show);
        match thread {
            Ok(thread) => Self { out, thread: Some(thread) },
            Err(error) => {
                tracing::warn!(%error, "the run is not shown");
                Self { out, thread: None }
            }
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.out.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn draw(dashboard: &Dashboard, view: &View, clock: Clock, inbox: &Inbox) {
    inbox.each(DRAW_EVERY, |line| {
        if line.is_none() {
            dashboard.draw(&view.snapshot(clock.now_us()));
        }
        true
    });
    dashboard.clear();
}

fn tell(mut stdout: impl Write, view: &View, clock: Clock, inbox: &Inbox) {
    inbox.each(TELL_EVERY, |line| {
        let line = line.unwrap_or_else(|| {
            let now_us = clock.now_us();
            Line::view(now_us, view.snapshot(now_us)).json()
        });
        // A reader that is gone is not a reason to end a run.
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_ok()
    });
}

impl Inbox {
    /// Passes each line to `take`, and `None` when the view is due, until the end or until `take` returns false.
    fn each(&self, every: Duration, mut take: impl FnMut(Option<String>) -> bool) {
        let mut due = Instant::now() + every;
        loop {
            let line = match self.0.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Line(line)) => Some(line),
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => None,
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            };
            if line.is_none() {
                due = Instant::now() + every;
            }
            if !take(line) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::view::stream::{Told, What};
    use harness_model::record::Phase;
    use harness_model::record::event::End;

    fn facts() -> Facts {
        Facts {
            run_id: "run".into(),
            clusters: vec![("a".into(), 10)],
            machines: 1,
            planned: BTreeMap::new(),
            unbound_s_max: None,
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_are_the_events_with_a_view_at_each_phase() {
        let written = Written::default();
        let (view, inbox) = View::new(facts(), &Front::Json);
        let shown = Shown::start(&Front::Json, &view, Clock::start(), inbox, written.clone());
        let events = [
            Event::PhaseStarted { phase: Phase::Fill },
            Event::PhaseEnded { phase: Phase::Fill },
            Event::RunEnded { end: End::Completed, reason: None, written: BTreeMap::new() },
        ];
        let stamped: Vec<Stamped> =
            (1..).zip(events).map(|(at_us, event)| Stamped { at_us, event }).collect();
        stamped.iter().for_each(|stamped| view.event(stamped));
        drop(shown);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let recorded: Vec<&Stamped> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Recorded(stamped) => Some(stamped),
                Line::Told(_) => None,
            })
            .collect();
        assert_eq!(recorded, stamped.iter().collect::<Vec<_>>(), "{text}");
        let Line::Told(Told { what: What::View(snapshot), .. }) = &lines[1] else { panic!("{text}") };
        assert_eq!((snapshot.run_id.as_str(), snapshot.clusters[0].target), ("run", 10));
    }

    #[test]
    fn a_reader_that_is_gone_holds_nobody_up() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (view, inbox) = View::new(facts(), &Front::Json);
        let shown = Shown::start(&Front::Json, &view, Clock::start(), inbox, Gone);
        for at_us in 0..100 {
            view.event(&Stamped { at_us, event: Event::ActuationResumed });
        }
        drop(shown);
    }
}
