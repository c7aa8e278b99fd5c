//! The results book: one page over all summaries that are kept in `docs/results`.
//!
//! Summaries are kept, not run directories, so the page is based on nothing else.

mod kind;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use self::kind::Kind;
use harness_model::profile;
use harness_model::summary::{Summary, file, machine};

/// The page's name in the directory of summaries.
pub const PAGE: &str = "README.md";

/// Why there is no book.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be listed.
    #[error("cannot list {}: {source}", dir.display())]
    List {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A `*.json` in it is not a summary that can be read.
    #[error(transparent)]
    Summary(#[from] file::Error),
    /// A run that is kept twice would count twice.
    #[error("{} and {} are the same run, {run_id}; keep one of them", first.display(), second.display())]
    Twice {
        /// The run.
        run_id: String,
        /// One of the files.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The page cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The page.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Returns the directory in which the repository keeps its summaries.
pub fn dir_of_repository() -> PathBuf {
    profile::fixtures_dir().with_file_name("docs").join("results")
}

/// A summary that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Link on the page: to the summary as Markdown if that lies next to it, otherwise as JSON.
    pub link: String,
    /// The machine's class; `None` if it was not recorded.
    pub class: Option<String>,
    /// The summary.
    pub summary: Summary,
}

/// Returns the files of a directory that are taken for summaries, by name.
///
/// # Errors
/// When it cannot be listed.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::List { dir: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}

/// Reads all summaries of a directory, in order of their start.
///
/// # Errors
/// When the directory or a file cannot be read, a `*.json` is not a summary of a known version, or a run is there
/// twice.
pub fn load(dir: &Path) -> Result<Vec<Kept>, Error> {
    let mut seen: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    let mut all = Vec::new();
    for path in files(dir)? {
        let summary = file::read(&path)?;
        // The id alone may also be that of another run: runs of a suite are named after what they show.
        let identity = (summary.run_id.clone(), summary.started.clone());
        if let Some(first) = seen.insert(identity, path.clone()) {
            return Err(Error::Twice { run_id: summary.run_id, first, second: path });
        }
        let markdown = path.with_extension("md");
        let linked = if markdown.is_file() { &markdown } else { &path };
        let link = linked.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.push(Kept { link, class: machine::class(&summary.host), summary });
    }
    // The sort is stable: runs that began at the same time stay in the order of their names.
    all.sort_by(|a, b| a.summary.started.cmp(&b.summary.started));
    Ok(all)
}

/// Renders the page for a directory of summaries.
///
/// # Errors
/// As for [`load`].
pub fn render(dir: &Path) -> Result<String, Error> {
    Ok(page::render(&load(dir)?))
}

/// Writes the page; returns its path.
///
/// # Errors
/// As for [`load`], and when it cannot be written.
pub fn write(dir: &Path) -> Result<PathBuf, Error> {
    let (path, text) = (dir.join(PAGE), render(dir)?);
    match std::fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::Write { path, source }),
    }
}

/// Returns where the page differs from what would be written; `None` if it does not. A page that cannot be read counts
/// as empty.
///
/// # Errors
/// As for [`load`].
pub fn stale(dir: &Path) -> Result<Option<String>, Error> {
    let (path, wanted) = (dir.join(PAGE), render(dir)?);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found == wanted {
        return Ok(None);
    }
    let same = found.lines().zip(wanted.lines()).take_while(|(is, should)| is == should).count();
    let line =
        |text: &str| text.lines().nth(same).map_or_else(|| "nothing".to_owned(), |line| format!("`{line}`"));
    Ok(Some(format!(
        "{} is out of date: line {} is {}, and should be {}",
        path.display(),
        same + 1,
        line(&found),
        line(&wanted)
    )))
}
