//! The files of one layer, written so that the same files produce the same bytes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tar::{EntryType, Header};

use crate::error::Error;

/// Directories that modern systems have only below `/usr`; packages of older ones still name them without it.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Files by path, without a leading slash.
#[derive(Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

#[derive(Debug)]
enum Entry {
    Dir { mode: u32 },
    File { source: Source, mode: u32 },
    Link { target: String },
}

/// Where the content of a file comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file of the host.
    Path(PathBuf),
    /// Content in memory.
    Bytes(Vec<u8>),
}

impl Tree {
    /// Creates a tree with the links that make `/bin/sh` resolve to `/usr/bin/sh`.
    pub(crate) fn merged_usr() -> Tree {
        let mut tree = Tree::default();
        for name in MERGED {
            tree.dir(&format!("usr/{name}"), 0o755);
            tree.link(name, &format!("usr/{name}"));
        }
        tree
    }

    pub(crate) fn dir(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Dir { mode });
    }

    pub(crate) fn file(&mut self, path: &str, source: Source, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::File { source, mode });
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Link { target: target.to_owned() });
    }

    /// Adds the files below `root` for whose path in the image `keep` returns true.
    ///
    /// # Errors
    /// [`Error::Io`] when `root` cannot be read.
    pub(crate) fn add_unpacked(&mut self, root: &Path, keep: fn(&str) -> bool) -> Result<(), Error> {
        self.add_below(root, "", keep)
    }

    fn add_below(&mut self, dir: &Path, prefix: &str, keep: fn(&str) -> bool) -> Result<(), Error> {
        for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let entry = entry.map_err(Error::io("list", dir))?;
            let source = entry.path();
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let meta = source.symlink_metadata().map_err(Error::io("read", &source))?;
            if meta.is_dir() {
                self.add_below(&source, &format!("{path}/"), keep)?;
                continue;
            }
            let path = merged(&path);
            if !keep(&path) {
                continue;
            }
            if meta.is_symlink() {
                let target = fs::read_link(&source).map_err(Error::io("read", &source))?;
                self.link(&path, &target.to_string_lossy());
            } else {
                // Only the relevant part of a mode: packages differ in write bits and the like.
                let mode = if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                self.file(&path, Source::Path(source), mode);
            }
        }
        Ok(())
    }

    fn parents(&mut self, path: &str) {
        for (idx, _) in path.match_indices('/') {
            self.0.entry(path[..idx].to_owned()).or_insert(Entry::Dir { mode: 0o755 });
        }
    }

    /// Writes it as a tar archive: sorted, without times, everything owned by root.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file that could not be read, or the archive.
    pub(crate) fn write(&self, to: impl Write) -> Result<(), Error> {
        let mut archive = tar::Builder::new(to);
        for (path, entry) in &self.0 {
            let header = header(entry);
            let written = match entry {
                Entry::Dir { .. } => append(&mut archive, header, &format!("{path}/"), 0, io::empty()),
                Entry::File { source: Source::Bytes(bytes), .. } => {
                    append(&mut archive, header, path, bytes.len() as u64, bytes.as_slice())
                }
                Entry::File { source: Source::Path(source), .. } => {
                    let file = File::open(source).map_err(Error::io("read", source))?;
                    let size = file.metadata().map_err(Error::io("read", source))?.len();
                    append(&mut archive, header, path, size, file)
                }
                Entry::Link { target } => {
                    let mut header = header;
                    header.set_size(0);
                    archive.append_link(&mut header, path, target)
                }
            };
            written.map_err(Error::io("archive", path))?;
        }
        archive.finish().map_err(Error::io("write", "an archive"))
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

fn header(entry: &Entry) -> Header {
    let (kind, mode) = match entry {
        Entry::Dir { mode } => (EntryType::Directory, *mode),
        Entry::File { mode, .. } => (EntryType::Regular, *mode),
        Entry::Link { .. } => (EntryType::Symlink, 0o777),
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    mut header: Header,
    path: &str,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    header.set_size(size);
    archive.append_data(&mut header, path, content)
}

/// Returns a packaged file's path in the image: `bin/busybox` goes to `usr/bin`.
fn merged(path: &str) -> String {
    match path.split_once('/') {
        Some((top, _)) if MERGED.contains(&top) => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tree: &Tree) -> Vec<u8> {
        let mut bytes = Vec::new();
        tree.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_same_files_make_the_same_bytes_whatever_their_order_times_and_owners() {
        let root = tempfile::tempdir().unwrap();
        let script = root.path().join("script");
        fs::write(&script, "echo").unwrap();
        let mut one = Tree::default();
        one.file("usr/bin/script", Source::Path(script.clone()), 0o755);
        one.dir("tmp", 0o1777);
        one.link("sh", "usr/bin/script");
        let first = written(&one);
        fs::remove_file(&script).unwrap();
        let mut other = Tree::default();
        other.link("sh", "usr/bin/script");
        other.dir("tmp", 0o1777);
        other.file("usr/bin/script", Source::Bytes(b"echo".to_vec()), 0o755);
        assert_eq!(first, written(&other));
        let mut archive = tar::Archive::new(first.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let header = entry.unwrap().header().clone();
                let path = header.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap())
            })
            .collect();
        let expected = [("sh", 0o777), ("tmp/", 0o1777), ("usr/", 0o755), ("usr/bin/", 0o755)]
            .into_iter()
            .chain([("usr/bin/script", 0o755)])
            .map(|(path, mode)| (path.to_owned(), mode, 0, 0));
        assert_eq!(entries, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_packages_put_into_bin_lies_below_usr_as_in_newer_ones() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("bin/busybox", "b"), ("usr/share/doc/busybox", "d"), ("lib/x/libc.so", "c")] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        }
        let mut tree = Tree::default();
        tree.add_unpacked(root.path(), |path| !path.starts_with("usr/share/")).unwrap();
        let expected = ["usr", "usr/bin", "usr/bin/busybox", "usr/lib", "usr/lib/x", "usr/lib/x/libc.so"];
        assert_eq!(tree.paths(), expected);
    }
}
