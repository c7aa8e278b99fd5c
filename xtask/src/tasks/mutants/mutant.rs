//! A mutant: an edit that breaks something on purpose, and the claims that must detect it. Each has its own YAML file.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// Their directory, below the root of the workspace.
const DIR: &str = "fixtures/mutants";

/// One mutant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// The file's name, without extension.
    #[serde(skip)]
    pub name: String,
    /// What it breaks, in one sentence.
    pub breaks: String,
    /// The document that forbids this: a decision record, or the design's measuring rules.
    pub source: String,
    /// The changes, in this order.
    pub edits: Vec<Edit>,
    /// The nextest filterset to run. Claims that it selects beyond `red` must stay green: a mutant that affects more
    /// than it says proves nothing about the claim that it names.
    pub filter: String,
    /// The claims that must turn red, in nextest's notation: `suites::density_100 subject::claim`.
    pub red: Vec<String>,
}

/// One replacement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, below the root of the workspace.
    pub file: PathBuf,
    /// The text to replace, which must occur exactly once.
    pub find: String,
    /// The new text.
    pub replace: String,
}

/// Loads all mutants of a workspace, sorted by name.
pub fn load_all(root: &Path) -> anyhow::Result<Vec<Mutant>> {
    let dir = root.join(DIR);
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| load(file).with_context(|| format!("{}", file.display()))).collect()
}

fn load(file: &Path) -> anyhow::Result<Mutant> {
    let text = fs::read_to_string(file).context("cannot be read")?;
    let mut mutant: Mutant = serde_saphyr::from_str(&text).context("is not a mutant")?;
    mutant.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    mutant.validate()?;
    Ok(mutant)
}

impl Mutant {
    fn validate(&self) -> anyhow::Result<()> {
        for (key, text) in [("breaks", &self.breaks), ("source", &self.source), ("filter", &self.filter)] {
            ensure!(!text.trim().is_empty(), "`{key}` is empty");
        }
        ensure!(!self.edits.is_empty(), "`edits` is empty: it breaks nothing");
        ensure!(!self.red.is_empty(), "`red` is empty: no claim would notice");
        for claim in &self.red {
            let well_formed = claim.split_once(' ').is_some_and(|(binary, trial)| {
                binary.contains("::") && !trial.is_empty() && !trial.contains(' ')
            });
            ensure!(well_formed, "`{claim}` names no claim; write `suites::<suite> <trial>`");
        }
        self.edits.iter().try_for_each(Edit::validate)
    }

    /// Returns the packages that hold its claims.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.red.iter().filter_map(|claim| Some(claim.split_once("::")?.0))
    }

    /// Returns the files below `root` that it changes, with their new text. Writes nothing.
    pub fn edited(&self, root: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
        let mut edited: BTreeMap<PathBuf, String> = BTreeMap::new();
        for edit in &self.edits {
            let text = match edited.get(&edit.file) {
                Some(text) => text.clone(),
                None => fs::read_to_string(root.join(&edit.file))
                    .with_context(|| format!("cannot read {}", edit.file.display()))?,
            };
            edited.insert(edit.file.clone(), edit.apply(&text)?);
        }
        Ok(edited)
    }
}

impl Edit {
    fn validate(&self) -> anyhow::Result<()> {
        let file = self.file.display();
        let inside = self.file.components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(inside, "{file}: give the path below the root of the workspace");
        ensure!(!self.find.is_empty(), "{file}: `find` is empty");
        ensure!(self.find != self.replace, "{file}: `replace` is what is there already");
        Ok(())
    }

    /// Returns the text after the replacement.
    pub fn apply(&self, text: &str) -> anyhow::Result<String> {
        let places = text.matches(&self.find).count();
        if places != 1 {
            bail!(
                "{}: the text to replace must be there exactly once, and is there {places} times:\n{}",
                self.file.display(),
                self.find.trim_end()
            );
        }
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(find: &str, replace: &str) -> Edit {
        Edit { file: "a/b.rs".into(), find: find.into(), replace: replace.into() }
    }

    fn mutant(yaml: &str) -> anyhow::Result<Mutant> {
        let mutant: Mutant = serde_saphyr::from_str(yaml)?;
        mutant.validate()?;
        Ok(mutant)
    }

    const WHOLE: &str = "
breaks: x is y.
source: ADR-1
edits:
  - {file: a/b.rs, find: old, replace: new}
filter: binary(z)
red: ['suites::z s::c']
";

    #[test]
    fn an_edit_replaces_what_is_there_once() {
        assert_eq!(edit("one", "two").apply("just one\n").unwrap(), "just two\n");
        assert_eq!(edit("a\n  b\n", "").apply("x\na\n  b\ny\n").unwrap(), "x\ny\n");
    }

    #[test]
    fn an_edit_that_does_not_match_once_names_file_and_text() {
        for (text, places) in [("nothing", "0 times"), ("one and one", "2 times")] {
            let error = edit("one", "two").apply(text).unwrap_err().to_string();
            assert!(error.starts_with("a/b.rs: ") && error.contains(places), "{error}");
            assert!(error.ends_with("\none"), "{error}");
        }
    }

    #[test]
    fn edits_of_one_file_build_on_each_other() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/b.rs"), "old").unwrap();
        let mut chain = mutant(WHOLE).unwrap();
        chain.edits.push(edit("new", "newer"));
        let edited = chain.edited(root.path()).unwrap();
        assert_eq!(edited.into_iter().collect::<Vec<_>>(), [("a/b.rs".into(), "newer".to_owned())]);
        assert_eq!(fs::read_to_string(root.path().join("a/b.rs")).unwrap(), "old", "nothing is written");
    }

    #[test]
    fn a_mutant_that_cannot_prove_anything_is_refused() {
        let whole = mutant(WHOLE).unwrap();
        assert_eq!(whole.packages().collect::<Vec<_>>(), ["suites"]);
        for (from, to, expected) in [
            ("x is y.", "''", "`breaks` is empty"),
            ("['suites::z s::c']", "[]", "no claim would notice"),
            ("suites::z s::c", "z s::c", "names no claim"),
            ("suites::z s::c", "suites::z", "names no claim"),
            ("file: a/b.rs", "file: /etc/passwd", "below the root"),
            ("file: a/b.rs", "file: ../b.rs", "below the root"),
            ("replace: new", "replace: old", "there already"),
            ("filter:", "flter:", "flter"),
        ] {
            let yaml = WHOLE.replacen(from, to, 1);
            let error = mutant(&yaml).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\n{yaml}");
        }
    }

    #[test]
    fn every_mutant_of_the_repository_applies() {
        let root = crate::cargo::workspace_root();
        let mutants = load_all(root).unwrap();
        assert!(!mutants.is_empty());
        for mutant in mutants {
            mutant.edited(root).unwrap_or_else(|error| panic!("{}: {error:#}", mutant.name));
        }
    }
}
