//! The scratch copy of the repository to which mutants are applied.
//!
//! It stays in one place and keeps the times of unchanged files, because cargo compares times. A mutant therefore costs
//! only the build of the crate that it changes. Whatever an earlier call left there, however it ended, is repaired by
//! the next one.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use xshell::cmd;

use super::mutant::Mutant;
use crate::shell;

/// The copy.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
}

/// A tree with a mutant applied. Dropping it restores the tree.
#[derive(Debug)]
pub struct Mutated<'a> {
    tree: &'a Tree,
    /// The changed files with their original content.
    originals: Vec<(PathBuf, String)>,
}

impl Tree {
    /// Makes `root` equal to the repository at `source` as it is now: tracked and new files with uncommitted changes,
    /// without what git ignores. Writes only what differs.
    pub fn copy_of(source: &Path, root: PathBuf) -> anyhow::Result<Tree> {
        let files = files(source)?;
        for file in &files {
            let (from, to) = (source.join(file), root.join(file));
            let what = || format!("cannot copy {}", from.display());
            let wanted = fs::read(&from).with_context(what)?;
            if fs::read(&to).ok().as_ref() != Some(&wanted) {
                fs::create_dir_all(to.parent().unwrap_or(&root)).with_context(what)?;
                fs::copy(&from, &to).with_context(what)?;
            }
        }
        remove_others(&root, Path::new(""), &files)
            .with_context(|| format!("cannot clean {}", root.display()))?;
        Ok(Tree { root })
    }

    /// Returns its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Applies a mutant to it.
    pub fn mutate(&self, mutant: &Mutant) -> anyhow::Result<Mutated<'_>> {
        let mut mutated = Mutated { tree: self, originals: Vec::new() };
        for (file, text) in mutant.edited(&self.root)? {
            let path = self.root.join(&file);
            let what = || format!("cannot change {}", path.display());
            let original = fs::read_to_string(&path).with_context(what)?;
            mutated.originals.push((file, original));
            fs::write(&path, text).with_context(what)?;
        }
        Ok(mutated)
    }
}

impl Drop for Mutated<'_> {
    fn drop(&mut self) {
        for (file, original) in &self.originals {
            let path = self.tree.root.join(file);
            if let Err(error) = fs::write(&path, original) {
                eprintln!("Warning: {} stays mutated until the next call: {error}", path.display());
            }
        }
    }
}

/// Returns the existing files that git tracks or would track.
fn files(source: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let git = shell::within(source)?;
    let listed = shell::answer(cmd!(git, "git ls-files -z --cached --others --exclude-standard"))
        .with_context(|| format!("cannot list the files of {}", source.display()))?;
    let names = listed.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let files = names.map(|name| PathBuf::from(OsStr::from_bytes(name)));
    Ok(files.filter(|file| source.join(file).is_file()).collect())
}

/// Removes all files below `root`/`dir` that are not among `files`, and directories that are empty afterwards.
fn remove_others(root: &Path, dir: &Path, files: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(root, &path, files)?;
            // Fails unless the directory is empty.
            let _ = fs::remove_dir(entry.path());
        } else if !files.contains(&path) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, args: &[&str]) {
        let git = shell::within(dir).unwrap();
        shell::answer(cmd!(git, "git {args...}")).unwrap();
    }

    fn put(dir: &Path, file: &str, text: &str) {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Creates a repository with a tracked, a new and an ignored file.
    fn repository() -> tempfile::TempDir {
        let source = tempfile::tempdir().unwrap();
        git(source.path(), &["init", "--quiet"]);
        for (file, text) in [("src/tracked", "old"), (".gitignore", "/target\n"), ("gone", "x")] {
            put(source.path(), file, text);
        }
        git(source.path(), &["add", "."]);
        fs::remove_file(source.path().join("gone")).unwrap();
        put(source.path(), "src/tracked", "changed");
        put(source.path(), "new", "new");
        put(source.path(), "target/built", "x");
        source
    }

    fn content(dir: &Path) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(next) = dirs.pop() {
            for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let text = fs::read_to_string(&path).unwrap();
                    found.push((path.strip_prefix(dir).unwrap().to_owned(), text));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_copy_is_what_lies_there_now_and_loses_what_was_left() {
        let (source, scratch) = (repository(), tempfile::tempdir().unwrap());
        let root = scratch.path().join("tree");
        put(&root, "left/over", "mutated");
        put(&root, "src/tracked", "mutated");
        let tree = Tree::copy_of(source.path(), root).unwrap();
        let expected = [(".gitignore", "/target\n"), ("new", "new"), ("src/tracked", "changed")];
        assert_eq!(content(tree.root()), expected.map(|(file, text)| (file.into(), text.to_owned())));
    }

    #[test]
    fn what_is_equal_keeps_its_time() {
        let (source, scratch) = (repository(), tempfile::tempdir().unwrap());
        let root = scratch.path().join("tree");
        let time =
            |tree: &Tree, file: &str| fs::metadata(tree.root().join(file)).unwrap().modified().unwrap();
        let tree = Tree::copy_of(source.path(), root.clone()).unwrap();
        let before = (time(&tree, "new"), time(&tree, "src/tracked"));
        put(source.path(), "new", "newer");
        let tree = Tree::copy_of(source.path(), root).unwrap();
        assert!(time(&tree, "new") > before.0, "cargo must see that it changed");
        assert_eq!(time(&tree, "src/tracked"), before.1, "cargo must not build what did not change");
    }

    #[test]
    fn a_mutant_leaves_the_tree_as_it_was() {
        let (source, scratch) = (repository(), tempfile::tempdir().unwrap());
        let tree = Tree::copy_of(source.path(), scratch.path().join("tree")).unwrap();
        let before = content(tree.root());
        let yaml = "{breaks: b, source: s, filter: f, red: [r],
            edits: [{file: src/tracked, find: changed, replace: broken}]}";
        let mutant: Mutant = serde_saphyr::from_str(yaml).unwrap();
        let mutated = tree.mutate(&mutant).unwrap();
        assert_eq!(fs::read_to_string(tree.root().join("src/tracked")).unwrap(), "broken");
        assert_eq!(fs::read_to_string(source.path().join("src/tracked")).unwrap(), "changed");
        drop(mutated);
        assert_eq!(content(tree.root()), before);
    }
}
