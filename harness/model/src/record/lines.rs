//! JSON lines, plain and gzipped.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file of a run directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{} line {line}: {source}; was the file edited, or written by another version?", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line number from 1; 0 for a whole file.
        line: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
}

impl Error {
    /// Creates an I/O error of `path`.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Returns the message of the system (or the serialiser), without the path.
    pub fn words(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            Self::Parse { source, .. } => source.to_string(),
        }
    }
}

/// Appends JSON lines to a file; each line reaches the file at once, so that a killed run keeps them.
#[derive(Debug)]
pub struct LineWriter {
    path: PathBuf,
    file: File,
    /// Length of the whole lines, in bytes.
    whole: u64,
}

impl LineWriter {
    /// Creates (or empties) the file.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_owned(), file, whole: 0 })
    }

    /// Appends one value completely or not at all: what a full disk left of the line is removed again, so that later
    /// lines can be read.
    ///
    /// # Errors
    /// When the file cannot be written (a full disk).
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(value).map_err(|source| Error::Parse {
            path: self.path.clone(),
            line: 0,
            source,
        })?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            let _ = self.file.set_len(self.whole).and_then(|()| self.file.seek(SeekFrom::Start(self.whole)));
            return Err(Error::io(&self.path, error));
        }
        self.whole += line.len() as u64;
        Ok(())
    }
}

/// Counts the whole lines of a file, gzipped or not (by its name). A missing file has none.
///
/// # Errors
/// When it cannot be read.
pub fn count_lines(path: &Path) -> Result<u64, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        opened => opened.map_err(|e| Error::io(path, e))?,
    };
    let is_gzipped = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> = if is_gzipped { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let (mut buffer, mut lines) = (vec![0; 1 << 16], 0);
    loop {
        let read = reader.read(&mut buffer).map_err(|e| Error::io(path, e))?;
        if read == 0 {
            return Ok(lines);
        }
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

/// Reads all lines of a file. A last line without a newline is left out: its writer was killed.
///
/// # Errors
/// When the file is missing, or a complete line cannot be parsed.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    parse(path, BufReader::new(file))
}

/// Does the same as [`read_lines`] for a gzipped file.
///
/// # Errors
/// As for [`read_lines`].
pub fn read_lines_gz<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    parse(path, BufReader::new(GzDecoder::new(file)))
}

/// Writes all values as gzipped lines under a temporary name and renames the file.
///
/// # Errors
/// When the file cannot be written.
pub fn write_lines_gz<'a, T: Serialize + 'a>(
    path: &Path,
    values: impl IntoIterator<Item = &'a T>,
) -> Result<(), Error> {
    let half = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut out = GzEncoder::new(BufWriter::new(File::create(&half)?), Compression::fast());
        for value in values {
            serde_json::to_writer(&mut out, value)?;
            out.write_all(b"\n")?;
        }
        out.finish()?.flush()?;
        std::fs::rename(&half, path)
    };
    write().map_err(|e| Error::io(path, e))
}

fn parse<T: DeserializeOwned>(path: &Path, mut reader: impl BufRead) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        if reader.read_line(&mut text).map_err(|e| Error::io(path, e))? == 0 || !text.ends_with('\n') {
            break;
        }
        let value = serde_json::from_str(&text).map_err(|source| Error::Parse {
            path: path.to_owned(),
            line,
            source,
        })?;
        values.push(value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_a_round_trip_and_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        let mut writer = LineWriter::create(&path).unwrap();
        writer.write(&1).unwrap();
        writer.write(&2).unwrap();
        assert_eq!(read_lines::<u32>(&path).unwrap(), [1, 2]);
        std::fs::write(&path, "1\n2\n3").unwrap();
        assert_eq!(read_lines::<u32>(&path).unwrap(), [1, 2], "the torn line is left out");
        assert_eq!(count_lines(&path).unwrap(), 2, "nor is it counted");
        assert_eq!(count_lines(&dir.path().join("none.jsonl")).unwrap(), 0);
    }

    #[test]
    fn a_broken_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, "1\nx\n").unwrap();
        let error = read_lines::<u32>(&path).unwrap_err().to_string();
        assert!(error.contains("x.jsonl line 2"), "{error}");
    }

    #[test]
    fn gzipped_lines_survive_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl.gz");
        write_lines_gz(&path, &[1_u32, 2]).unwrap();
        assert_eq!(read_lines_gz::<u32>(&path).unwrap(), [1, 2]);
        assert_eq!(count_lines(&path).unwrap(), 2);
    }
}
