//! Counts of what a run wrote and of what it could not write.
//!
//! They are kept in memory, because a disk without room for a record has no room for a note about it either. The run's
//! last event contains them, and the judge checks the files against them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::record::event::{Phase, Written};
use crate::record::lines::{Error, LineWriter};

/// Counts of the written and lost lines of a run. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    book: Arc<Mutex<Book>>,
    spoiled: CancellationToken,
}

#[derive(Debug, Default)]
struct Book {
    phase: Option<Phase>,
    /// Counts by file name.
    files: BTreeMap<String, Written>,
}

impl Tally {
    /// Creates a file whose lines are counted.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(&self, path: &Path) -> Result<Tallied, Error> {
        let writer = LineWriter::create(path)?;
        let file = file_name(path);
        self.book().files.insert(file.clone(), Written::default());
        Ok(Tallied { writer, file, tally: self.clone() })
    }

    /// Records that the run is in that phase from now on.
    pub fn begin(&self, phase: Phase) {
        self.book().phase = Some(phase);
    }

    /// Records a file that was written as a whole, by us or by another program of the run.
    pub fn wrote(&self, path: &Path, lines: u64) {
        self.book().files.entry(file_name(path)).or_default().lines = lines;
    }

    /// Records lines of a file that could not be written. They spoil the run, whatever comes after them.
    pub fn lost(&self, path: &Path, lines: u64, error: &Error) {
        self.note_loss(&file_name(path), lines, error);
    }

    /// Waits until something is lost.
    pub async fn spoiled(&self) {
        self.spoiled.cancelled().await;
    }

    /// Returns what was lost, as shown to people; `None` if nothing was lost.
    pub fn loss(&self) -> Option<String> {
        let book = self.book();
        let lost: Vec<String> = book.files.iter().filter_map(|(file, written)| written.loss(file)).collect();
        (!lost.is_empty()).then(|| lost.join(", "))
    }

    /// Returns the counts of each file, by its name.
    pub fn files(&self) -> BTreeMap<String, Written> {
        self.book().files.clone()
    }

    fn note_loss(&self, file: &str, lines: u64, error: &Error) {
        let mut book = self.book();
        let phase = book.phase;
        let written = book.files.entry(file.to_owned()).or_default();
        if written.lost == 0 {
            tracing::error!(file, %error, "evidence was lost: the run is invalid");
            (written.error, written.phase) = (Some(error.words()), phase);
        }
        written.lost += lines;
        drop(book);
        self.spoiled.cancel();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Counts have no invariant that a panic elsewhere could break.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file whose lines are counted, including those that could not be written.
#[derive(Debug)]
pub struct Tallied {
    writer: LineWriter,
    file: String,
    tally: Tally,
}

impl Tallied {
    /// Appends one value. A value that cannot be written spoils the run.
    pub fn write(&mut self, value: &impl Serialize) {
        match self.writer.write(value) {
            Ok(()) => self.tally.book().files.entry(self.file.clone()).or_default().lines += 1,
            Err(error) => self.tally.note_loss(&self.file, 1, &error),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
