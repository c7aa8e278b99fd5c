//! Changes to a pinned module: a changed copy takes its place.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::Output,
};

use crate::{
    error::Error,
    gobuild::{go, not_run},
    pins::{ModulePin, PatchPin, ToolPin},
};

/// Applies the changes of `module`, whose `go.mod` is in `dir`, before `tools` are built. Each changed module is copied
/// to `dir/patched`, and `go.mod` is set to use the copy.
pub(super) fn apply(module: &ModulePin, tools: &[&ToolPin], dir: &Path, offline: bool) -> Result<(), Error> {
    let go = |args: &[&str]| run(module, tools, dir, offline, args);
    let changed: BTreeSet<&str> = module.patches.iter().map(|patch| patch.module.as_str()).collect();
    for (number, path) in changed.into_iter().enumerate() {
        // Relative, so that no path of this machine gets into the program.
        let place = format!("./patched/{number}");
        // Fetches it first if needed.
        go(&["mod", "download", path])?;
        let kept = go(&["list", "-m", "-f", "{{.Dir}}", path])?;
        let source = PathBuf::from(String::from_utf8_lossy(&kept.stdout).trim());
        copy_writable(&source, &dir.join(&place))?;
        for patch in module.patches.iter().filter(|patch| patch.module == path) {
            make(patch, &dir.join(&place))?;
        }
        go(&["mod", "edit", "-replace", &format!("{path}={place}")])?;
    }
    Ok(())
}

fn run(
    module: &ModulePin,
    tools: &[&ToolPin],
    dir: &Path,
    offline: bool,
    args: &[&str],
) -> Result<Output, Error> {
    let output = go(dir, offline).args(args).output().map_err(|error| not_run(module, tools, error))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(Error::BuildFailed {
            what: format!("{} {}", module.name, module.version),
            command: format!("go {} (module {})", args.join(" "), module.name),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
            offline,
        }),
    }
}

/// Copies a directory. Go's own copy is read-only.
fn copy_writable(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("list", from))? {
        let entry = entry.map_err(Error::io("list", from))?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(Error::io("read", entry.path()))?.is_dir() {
            copy_writable(&entry.path(), &target)?;
        } else {
            // Without its permissions, because a new file is writable.
            let content = fs::read(entry.path()).map_err(Error::io("read", entry.path()))?;
            fs::write(&target, content).map_err(Error::io("write", &target))?;
        }
    }
    Ok(())
}

fn make(patch: &PatchPin, dir: &Path) -> Result<(), Error> {
    let wrong =
        |detail: String| Error::Patch { patch: patch.name.clone(), module: patch.module.clone(), detail };
    let diff = diffy::Patch::from_str(&patch.text).map_err(|error| wrong(error.to_string()))?;
    let named = diff.modified().and_then(|name| name.strip_prefix("b/")).map(Path::new);
    let inside = |path: &&Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    let named = named.filter(inside).ok_or_else(|| wrong("it names no file of the module".to_owned()))?;
    let path = dir.join(named);
    let before = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let after = diffy::apply(&before, &diff).map_err(|error| wrong(error.to_string()))?;
    fs::write(&path, after).map_err(Error::io("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::Pins;

    const BEFORE: &str = "one\ntwo\nthree\n";

    fn patched(before: &str, diff: &str) -> Result<String, Error> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("numbers"), before).unwrap();
        let patch = PatchPin { module: "a.b/c".into(), name: "more.patch".into(), text: diff.to_owned() };
        make(&patch, dir.path())?;
        Ok(fs::read_to_string(dir.path().join("numbers")).unwrap())
    }

    #[test]
    fn a_change_is_made_whatever_stands_before_it() {
        let diff =
            "Why.\n\n--- a/numbers\n+++ b/numbers\n@@ -1,3 +1,4 @@\n one\n+one and a half\n two\n three\n";
        assert_eq!(patched(BEFORE, diff).unwrap(), "one\none and a half\ntwo\nthree\n");
    }

    #[test]
    fn a_change_that_no_longer_fits_is_an_error_that_names_it() {
        let diff = "--- a/numbers\n+++ b/numbers\n@@ -1,3 +1,4 @@\n one\n+one and a half\n two\n three\n";
        let error = patched("four\nfive\n", diff).unwrap_err().to_string();
        assert!(error.contains("more.patch") && error.contains("a.b/c"), "{error}");
    }

    #[test]
    fn no_file_outside_the_module_is_changed() {
        let diff = "--- a/../numbers\n+++ b/../numbers\n@@ -1 +1 @@\n-one\n+two\n";
        assert!(patched(BEFORE, diff).unwrap_err().to_string().contains("no file of the module"));
    }

    #[test]
    fn every_pinned_change_is_a_diff_of_one_file_with_its_reason() {
        let pins = Pins::embedded().unwrap();
        let patches: Vec<_> = pins.modules.iter().flat_map(|module| &module.patches).collect();
        assert!(!patches.is_empty());
        for patch in patches {
            let diff = diffy::Patch::from_str(&patch.text).unwrap();
            assert_eq!(patch.text.matches("\n+++ b/").count(), 1, "{}", patch.name);
            assert!(!diff.hunks().is_empty(), "{}", patch.name);
            assert!(patch.text.find("--- a/").unwrap() > 80, "{} does not say why", patch.name);
        }
    }
}
