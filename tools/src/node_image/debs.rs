//! Debian packages, fetched by apt and unpacked into a directory: nothing is installed, and root is not needed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{error::Error, progress::ProgressMode, quiet::run_quietly};

/// An unpacked package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The directory of its content.
    pub(crate) root: PathBuf,
}

/// Fetches the packages into `dir` and unpacks each into its own directory. The result is sorted by name.
///
/// # Errors
/// [`Error::NoApt`] on a machine that does not run Debian, [`Error::AptFailed`] with apt's output.
pub(crate) fn unpack(packages: &[&str], dir: &Path, progress: ProgressMode) -> Result<Vec<Deb>, Error> {
    let mut download = Command::new("apt-get");
    download.arg("download").args(packages).current_dir(dir).env("LC_ALL", "C");
    run(&mut download, "download the node's Debian packages", progress)?;
    let entries: Vec<_> = fs::read_dir(dir).map_err(Error::io("list", dir))?.flatten().collect();
    let mut debs = Vec::new();
    for entry in entries {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some((name, version)) = name_and_version(&file) else { continue };
        let root = dir.join(&name);
        run(Command::new("dpkg-deb").arg("--extract").arg(entry.path()).arg(&root), "unpack it", progress)?;
        debs.push(Deb { name, version, root });
    }
    debs.sort_by(|a, b| a.name.cmp(&b.name));
    let found: Vec<_> = debs.iter().map(|deb| deb.name.as_str()).collect();
    if let Some(absent) = packages.iter().find(|name| !found.contains(name)) {
        return Err(Error::AptFailed {
            command: "apt-get download".to_owned(),
            output: format!("it brought no {absent}, only {}", found.join(", ")),
        });
    }
    Ok(debs)
}

fn run(command: &mut Command, label: &str, progress: ProgressMode) -> Result<(), Error> {
    match run_quietly(command, label, progress) {
        Ok(None) => Ok(()),
        Ok(Some(output)) => {
            let args = command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
            let program = command.get_program().to_string_lossy();
            Err(Error::AptFailed { command: format!("{program} {args}"), output })
        }
        Err(source) => {
            Err(Error::NoApt { program: command.get_program().to_string_lossy().into_owned(), source })
        }
    }
}

/// Returns name and version from the name of a package file: `<name>_<version>_<architecture>.deb`, a colon written as
/// `%3a`.
fn name_and_version(file: &str) -> Option<(String, String)> {
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version) = (parts.next()?, parts.next()?);
    (parts.count() == 1).then(|| (name.to_owned(), version.replace("%3a", ":")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_file_tells_its_name_and_version() {
        let told = name_and_version("busybox-static_1%3a1.35.0-4+deb12u1+b1_amd64.deb");
        assert_eq!(told, Some(("busybox-static".to_owned(), "1:1.35.0-4+deb12u1+b1".to_owned())));
        for file in ["busybox-static", "a_1.deb", "a_1_amd64.deb.partial"] {
            assert_eq!(name_and_version(file), None, "{file}");
        }
    }
}
