//! The book of what a run wrote, and of what it could not write.
//!
//! It is kept in memory, since a disk that has no room for a record has none for a note about it either. The run's last
//! event tells it, and the judge counts the files by it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::record::event::{Phase, Written};
use crate::record::lines::{Error, LineWriter};

/// What became of every line of a run. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    book: Arc<Mutex<Book>>,
    spoiled: CancellationToken,
}

#[derive(Debug, Default)]
struct Book {
    phase: Option<Phase>,
    /// By the file's name.
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

    /// The run is in that phase from now on.
    pub fn begin(&self, phase: Phase) {
        self.book().phase = Some(phase);
    }

    /// A file was written as a whole, by us or by another program of the run.
    pub fn wrote(&self, path: &Path, lines: u64) {
        self.book().files.entry(file_name(path)).or_default().lines = lines;
    }

    /// Lines of a file could not be written. The run is spoiled, whatever comes after it.
    pub fn lost(&self, path: &Path, lines: u64, error: &Error) {
        self.note_loss(&file_name(path), lines, error);
    }

    /// Waits until something is lost.
    pub async fn spoiled(&self) {
        self.spoiled.cancelled().await;
    }

    /// What was lost, as shown to people; `None` if nothing was.
    pub fn loss(&self) -> Option<String> {
        let book = self.book();
        let lost: Vec<String> = book.files.iter().filter_map(|(file, written)| written.loss(file)).collect();
        (!lost.is_empty()).then(|| lost.join(", "))
    }

    /// What became of each file, by its name.
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

/// A file whose lines are counted, those that could not be written too.
#[derive(Debug)]
pub struct Tallied {
    writer: LineWriter,
    file: String,
    tally: Tally,
}

impl Tallied {
    /// Appends one value. One that cannot be written spoils the run.
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
