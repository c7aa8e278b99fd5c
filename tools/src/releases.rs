//! Official release artefacts: where they are and which digest they must have (`fixtures/controlplane/releases.yaml`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Error;

/// The architectures that artefacts are published for: Kubernetes' name and Rust's.
pub(crate) const ARCHITECTURES: [(&str, &str); 2] =
    [("amd64", "x86_64-unknown-linux-gnu"), ("arm64", "aarch64-unknown-linux-gnu")];

/// One downloadable artefact, for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The program it holds.
    pub tool: String,
    /// The address where it is published.
    pub url: String,
    /// Path of the program inside a `.tar.gz`; `None` if the artefact is the program itself.
    pub member: Option<String>,
    /// sha256 of the artefact, hex; `None` if it is not pinned, so that the publisher has to be asked for it.
    pub sha256: Option<String>,
    /// Where the publisher serves its digest: a bare digest, lines of `sha256sum`, or a release of GitHub's API.
    pub digests: String,
}

impl Artifact {
    /// Returns the artefact's file name, as published.
    pub(crate) fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }
}

/// The parsed pins file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Releases {
    tools: BTreeMap<String, Template>,
    pub(crate) nextest: Nextest,
}

/// The test runner's pin: a version and an artefact.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nextest {
    pub(crate) version: String,
    url: String,
    member: Option<String>,
    digests: String,
    sha256: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    url: String,
    member: Option<String>,
    digests: String,
    sha256: BTreeMap<String, String>,
}

impl Releases {
    pub(crate) fn embedded() -> Result<Releases, Error> {
        Releases::parse(include_str!("../../fixtures/controlplane/releases.yaml"))
    }

    pub(crate) fn parse(text: &str) -> Result<Releases, Error> {
        let pins = |detail: String| Error::Pins { file: "releases.yaml".to_owned(), detail };
        let releases: Releases = serde_saphyr::from_str(text).map_err(|error| pins(error.to_string()))?;
        let digests = releases.tools.values().map(|t| &t.sha256).chain([&releases.nextest.sha256]);
        for (arch, sha256) in digests.flatten() {
            if !ARCHITECTURES.iter().any(|(known, _)| known == arch) {
                return Err(pins(format!("unknown architecture `{arch}`; known are amd64 and arm64")));
            }
            if !is_sha256(sha256) {
                return Err(pins(format!("`{sha256}` is not a sha256 in lower-case hex")));
            }
        }
        Ok(releases)
    }

    /// Returns the artefact of a program at a version (`v1.36.3`) for this machine, if one is listed.
    pub(crate) fn artifact(&self, tool: &str, version: &str) -> Option<Artifact> {
        self.artifact_for(tool, version, native())
    }

    /// The same for any of [`ARCHITECTURES`].
    pub(crate) fn artifact_for(&self, tool: &str, version: &str, arch: (&str, &str)) -> Option<Artifact> {
        let Template { url, member, digests, sha256 } = self.tools.get(tool)?;
        Some(fill(tool, version, arch, url, member.as_deref(), digests, sha256))
    }

    /// Returns the artefact of cargo-nextest for this machine.
    pub(crate) fn nextest_artifact(&self) -> Artifact {
        self.nextest_artifact_for(native())
    }

    /// The same for any of [`ARCHITECTURES`].
    pub(crate) fn nextest_artifact_for(&self, arch: (&str, &str)) -> Artifact {
        let Nextest { version, url, member, digests, sha256 } = &self.nextest;
        fill("cargo-nextest", version, arch, url, member.as_deref(), digests, sha256)
    }
}

/// Whether the text is a sha256 in the form used here: 64 digits of lower-case hex.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Returns this machine's architecture.
fn native() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "x86_64" => ARCHITECTURES[0],
        "aarch64" => ARCHITECTURES[1],
        other => (other, other),
    }
}

fn fill(
    tool: &str,
    version: &str,
    (arch, triple): (&str, &str),
    url: &str,
    member: Option<&str>,
    digests: &str,
    sha256: &BTreeMap<String, String>,
) -> Artifact {
    let fill = |template: &str| {
        template
            .replace("{version}", version)
            .replace("{bare}", version.trim_start_matches('v'))
            .replace("{arch}", arch)
            .replace("{triple}", triple)
    };
    Artifact {
        tool: tool.to_owned(),
        url: fill(url),
        member: member.map(fill),
        sha256: sha256.get(arch).cloned(),
        digests: fill(digests),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_every_field() {
        let releases = Releases::embedded().unwrap();
        let mut artifacts = vec![releases.nextest_artifact()];
        artifacts.extend(releases.tools.keys().map(|tool| releases.artifact(tool, "v1.2.3").unwrap()));
        for artifact in artifacts {
            let text =
                format!("{} {} {}", artifact.url, artifact.digests, artifact.member.unwrap_or_default());
            assert!(!text.contains(['{', '}']), "{text}");
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let text = "tools: {etcd: {url: u, digests: d, sha256: {amd64: abc}}}\nnextest: {version: '1', url: u, digests: d, sha256: {}}";
        let message = Releases::parse(text).unwrap_err().to_string();
        assert_eq!(message, "fixtures/controlplane/releases.yaml: `abc` is not a sha256 in lower-case hex");
        let message = Releases::parse(&text.replace("amd64", "amd46")).unwrap_err().to_string();
        assert!(message.contains("unknown architecture `amd46`"), "{message}");
    }
}
