//! Writes the digests that publishers serve to the file of pins, for review.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    Options,
    download::{Client, Unavailable},
    error::Error,
    pins::Pins,
    published,
    releases::{ARCHITECTURES, Artifact, Releases},
    trust,
};

/// The result for one artefact's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The program.
    pub tool: String,
    /// The architecture, `amd64` or `arm64`.
    pub arch: &'static str,
    /// The digest that was pinned before, hex.
    pub before: Option<String>,
    /// The digest that is pinned now, hex, or why nothing was changed.
    pub now: Result<String, String>,
}

/// Asks the publishers for the sha256 of every release artefact, for all architectures, and writes the answers to
/// `file`, a `releases.yaml` with the versions that are compiled in. Everything else in the file stays as it is.
///
/// # Errors
/// When the file cannot be parsed or written. An artefact without a digest is not an error.
pub fn pin(options: &Options, file: &Path) -> Result<Vec<Pinned>, Error> {
    let mut text = fs::read_to_string(file).map_err(Error::io("read", file))?;
    let releases = Releases::parse(&text)?;
    let client = Client::new(options.mirror.as_deref());
    let mut all = Vec::new();
    for artifacts in artifacts(&releases)? {
        let tool = artifacts.first().map(|(_, artifact)| artifact.tool.clone()).unwrap_or_default();
        let mut digests = BTreeMap::new();
        for (arch, artifact) in &artifacts {
            let now = ask(&client, artifact, options)?;
            let before = artifact.sha256.clone();
            digests.extend(now.clone().ok().or_else(|| before.clone()).map(|digest| (*arch, digest)));
            all.push(Pinned { tool: tool.clone(), arch, before, now });
        }
        let section = if tool == "cargo-nextest" { "nextest" } else { &tool };
        text = with_digests(&text, section, &digests)
            .ok_or_else(|| not_pinned(file, &tool, "it has no `sha256:` there".to_owned()))?;
    }
    let found = artifacts(&Releases::parse(&text)?)?;
    for (wanted, (_, artifact)) in all.iter().zip(found.iter().flatten()) {
        if wanted.now.as_ref().is_ok_and(|digest| Some(digest) != artifact.sha256.as_ref()) {
            return Err(not_pinned(file, &wanted.tool, "they do not read back as written".to_owned()));
        }
    }
    fs::write(file, text).map_err(Error::io("write", file))?;
    Ok(all)
}

fn not_pinned(file: &Path, tool: &str, detail: String) -> Error {
    Error::NotPinned { path: file.to_owned(), tool: tool.to_owned(), detail }
}

/// Returns each program's artefacts, one for each architecture.
fn artifacts(releases: &Releases) -> Result<Vec<Vec<(&'static str, Artifact)>>, Error> {
    let pins = Pins::embedded()?;
    let of_tool = |(tool, version): (&crate::pins::ToolPin, &str)| {
        let one = |arch: (&'static str, _)| Some((arch.0, releases.artifact_for(&tool.name, version, arch)?));
        ARCHITECTURES.into_iter().filter_map(one).collect::<Vec<_>>()
    };
    let nextest =
        ARCHITECTURES.into_iter().map(|arch| (arch.0, releases.nextest_artifact_for(arch))).collect();
    let tools = pins.tools().into_iter().map(of_tool).filter(|artifacts| !artifacts.is_empty());
    Ok(tools.chain([nextest]).collect())
}

/// Returns the published digest. One that differs from the digest that the cache keeps must not be pinned.
fn ask(client: &Client, artifact: &Artifact, options: &Options) -> Result<Result<String, String>, Error> {
    let published = match published::digest(client, artifact) {
        Ok(published) => published,
        Err(Unavailable(reason)) => return Ok(Err(reason)),
    };
    Ok(match trust::kept(artifact, options)? {
        Some((kept, path)) if kept != published => Err(format!(
            "published is {published}, but it was {kept} when it was first downloaded here ({})",
            path.display()
        )),
        _ => Ok(published),
    })
}

/// Returns the text with the digests of one section replaced.
fn with_digests(text: &str, section: &str, digests: &BTreeMap<&str, String>) -> Option<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|line| line.trim_end().trim_start() == format!("{section}:"))?;
    let inside = |line: &&&str| line.trim().is_empty() || indent(line) > indent(lines[head]);
    let length = lines[head + 1..].iter().take_while(inside).count();
    let at =
        head + 1 + lines[head + 1..][..length].iter().position(|l| l.trim_start().starts_with("sha256:"))?;
    let old = lines[at + 1..].iter().take_while(|line| indent(line) > indent(lines[at])).count();
    let margin = " ".repeat(indent(lines[at]));
    let mut new: Vec<String> = lines[..at].iter().map(|line| (*line).to_owned()).collect();
    if digests.is_empty() {
        new.push(format!("{margin}sha256: {{}}"));
    } else {
        new.push(format!("{margin}sha256:"));
        new.extend(digests.iter().map(|(arch, digest)| format!("{margin}  {arch}: {digest}")));
    }
    new.extend(lines[at + 1 + old..].iter().map(|line| (*line).to_owned()));
    Some(new.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# why\ntools:\n  etcd:\n    url: u\n    # where\n    digests: d\n    sha256: {}\n  \
                        kwok:\n    url: u\n    sha256:\n      amd64: old\n      arm64: old\n    digests: d\n\n# more\n\
                        nextest:\n  sha256: {}\n";

    #[test]
    fn digests_are_put_into_their_section_and_all_else_stays() {
        let digests = BTreeMap::from([("amd64", "a".to_owned()), ("arm64", "b".to_owned())]);
        let etcd = with_digests(FILE, "etcd", &digests).unwrap();
        let block = "    sha256:\n      amd64: a\n      arm64: b\n";
        assert_eq!(etcd, FILE.replacen("    sha256: {}\n", block, 1));
        let kwok = with_digests(FILE, "kwok", &digests).unwrap();
        assert_eq!(kwok, FILE.replace("    sha256:\n      amd64: old\n      arm64: old\n", block));
        let nextest = with_digests(FILE, "nextest", &digests).unwrap();
        assert_eq!(
            nextest,
            FILE.replace("nextest:\n  sha256: {}\n", "nextest:\n  sha256:\n    amd64: a\n    arm64: b\n")
        );
        assert_eq!(with_digests(&etcd, "etcd", &BTreeMap::new()).unwrap(), FILE);
        assert_eq!(with_digests(FILE, "other", &digests), None);
        assert_eq!(
            with_digests("tools:\n  etcd:\n    url: u\n  kwok:\n    sha256: {}\n", "etcd", &digests),
            None
        );
    }
}
