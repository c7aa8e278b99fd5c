//! Writes the events of a run as they happen.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::observe::Clock;
use crate::record::{Error, Event, LineWriter, RunDir, Stamped};
use crate::view::View;

/// The run's clock, its events, and the view that is told of them. Clones share all three.
#[derive(Clone)]
pub struct Recorder {
    clock: Clock,
    writer: Arc<Mutex<LineWriter>>,
    view: View,
}

impl Recorder {
    /// Opens `events.jsonl` and starts the clock.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn start(dir: &RunDir, view: View) -> Result<Self, Error> {
        let writer = LineWriter::create(&dir.events())?;
        Ok(Self { clock: Clock::start(), writer: Arc::new(Mutex::new(writer)), view })
    }

    /// The run's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What people and programs see of the run.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Writes an event with the present time.
    pub fn record(&self, event: Event) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Stamped under the lock, so that the file is in order.
        let stamped = Stamped { at_us: self.clock.now_us(), event };
        if let Err(error) = writer.write(&stamped) {
            tracing::error!(%error, "an event was lost");
        }
        self.view.event(&stamped);
    }

    /// Writes a note.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(%text, "note");
        self.record(Event::Note { text });
    }

    /// A queue whose events are written by a background task.
    pub fn queue(&self) -> UnboundedSender<Event> {
        let (sender, mut receiver) = unbounded_channel();
        let recorder = self.clone();
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                recorder.record(event);
            }
        });
        sender
    }
}
