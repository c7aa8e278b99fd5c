//! The end of a file that others write to.

use std::path::PathBuf;

/// Reads what is added to a file from now on.
pub struct Tail {
    path: PathBuf,
    seen: usize,
}

impl Tail {
    /// Starts at the current end of that file, which need not exist yet.
    pub fn of(path: PathBuf) -> Self {
        let seen = std::fs::read(&path).map_or(0, |text| text.len());
        Self { path, seen }
    }

    /// Returns whole lines that have not been returned yet.
    pub fn new_lines(&mut self) -> Vec<String> {
        let text = std::fs::read(&self.path).unwrap_or_default();
        let new = text.get(self.seen..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.seen += whole;
        String::from_utf8_lossy(&new[..whole]).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_whole_lines_that_are_new_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cleanup.log");
        let append = |text: &str| {
            let file = std::fs::File::options().append(true).create(true).open(&path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        assert!(Tail::of(path.clone()).new_lines().is_empty(), "there is no file");
        append("old\n");
        let mut tail = Tail::of(path.clone());
        append("one\ntw");
        assert_eq!(tail.new_lines(), ["one"]);
        assert!(tail.new_lines().is_empty());
        append("o\n");
        assert_eq!(tail.new_lines(), ["two"]);
    }
}
