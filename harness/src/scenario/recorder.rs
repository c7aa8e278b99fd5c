//! Writes the events of a run as they happen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::observe::Clock;
use crate::view::View;
use harness_model::record::event::End;
use harness_model::record::{Error, Event, RunDir, Stamped, Tallied, Tally};

/// Bytes that are reserved for the last event: for ten clusters, with the reason of a failure, it takes a tenth of
/// this.
const RESERVE_BYTES: usize = 64 << 10;
/// How long it may take to write queued events once no more are queued.
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// The run's clock, its events, the view that receives them, and the tally of what was written. Clones share
/// everything.
#[derive(Clone)]
pub struct Recorder {
    clock: Clock,
    /// `None` after the last event.
    writer: Arc<Mutex<Option<Tallied>>>,
    view: View,
    tally: Tally,
    queues: Arc<Mutex<JoinSet<()>>>,
    dir: RunDir,
}

impl Recorder {
    /// Opens `events.jsonl`, reserves space for the last event, and starts the clock.
    ///
    /// # Errors
    /// When a file cannot be created, or the disk is already full.
    pub fn start(dir: &RunDir, view: View) -> Result<Self, Error> {
        let tally = Tally::default();
        let reserve = dir.reserve();
        std::fs::write(&reserve, vec![b'.'; RESERVE_BYTES]).map_err(|e| Error::io(&reserve, e))?;
        let writer = Arc::new(Mutex::new(Some(tally.create(&dir.events())?)));
        Ok(Self { clock: Clock::start(), writer, view, tally, queues: Arc::default(), dir: dir.clone() })
    }

    /// Returns the run's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns what people and programs see of the run.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Returns the tally of what was written and what was lost.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Writes an event with the current time.
    pub fn record(&self, event: Event) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = writer.as_mut() else {
            tracing::debug!(?event, "came after the last event");
            return;
        };
        if let Event::PhaseStarted { phase } = event {
            self.tally.begin(phase);
        }
        self.write(writer, event);
    }

    /// Writes the last event, in the space that was reserved for it. Later events are not part of the run.
    pub fn end(&self, end: End, reason: Option<String>) {
        let mut guard = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut writer) = guard.take() else { return };
        let mut written = self.tally.files();
        let events = self.dir.events();
        let own = events.file_name().unwrap_or_default().to_string_lossy();
        written.entry(own.into_owned()).or_default().lines += 1;
        if let Err(error) = std::fs::remove_file(self.dir.reserve()) {
            tracing::warn!(%error, "the space kept for the last event could not be freed");
        }
        self.write(&mut writer, Event::RunEnded { end, reason, written });
    }

    /// Stamps the event under the writer's lock, so that the file is in order.
    fn write(&self, writer: &mut Tallied, event: Event) {
        let stamped = Stamped { at_us: self.clock.now_us(), event };
        writer.write(&stamped);
        self.view.event(&stamped);
    }

    /// Writes a note.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(%text, "note");
        self.record(Event::Note { text });
    }

    /// Returns a queue whose events are written by a background task.
    pub fn queue(&self) -> UnboundedSender<Event> {
        let (sender, mut receiver) = unbounded_channel();
        let recorder = self.clone();
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            while let Some(event) = receiver.recv().await {
                recorder.record(event);
            }
        });
        sender
    }

    /// Waits until everything queued is written; all senders must be gone.
    pub async fn drain(&self) {
        let mut queues = std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner));
        let drained = async { while queues.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAINED_WITHIN, drained).await.is_err() {
            self.note("queued events were still being written when the run ended");
        }
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
