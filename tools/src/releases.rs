//! Official release artefacts: where they are and which digest they must have (`fixtures/controlplane/releases.yaml`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Error;

/// One downloadable artefact, for this machine's architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The program it holds.
    pub tool: String,
    /// Where it is published.
    pub url: String,
    /// Path of the program inside a `.tar.gz`; `None` when the artefact is the program itself.
    pub member: Option<String>,
    /// sha256 of the artefact, hex; `None` when it is not pinned, so that it must not be downloaded.
    pub sha256: Option<String>,
    /// Where the project publishes its digests.
    pub digests: String,
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

    fn parse(text: &str) -> Result<Releases, Error> {
        let pins = |detail: String| Error::Pins { file: "releases.yaml".to_owned(), detail };
        let releases: Releases = serde_saphyr::from_str(text).map_err(|error| pins(error.to_string()))?;
        let digests = releases.tools.values().map(|t| &t.sha256).chain([&releases.nextest.sha256]);
        for (arch, sha256) in digests.flatten() {
            if !["amd64", "arm64"].contains(&arch.as_str()) {
                return Err(pins(format!("unknown architecture `{arch}`; known are amd64 and arm64")));
            }
            if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            {
                return Err(pins(format!("`{sha256}` is not a sha256 in lower-case hex")));
            }
        }
        Ok(releases)
    }

    /// The artefact of a program at a version (`v1.36.3`), if one is listed.
    pub(crate) fn artifact(&self, tool: &str, version: &str) -> Option<Artifact> {
        let Template { url, member, digests, sha256 } = self.tools.get(tool)?;
        Some(fill(tool, version, url, member.as_deref(), digests, sha256))
    }

    /// The artefact of cargo-nextest.
    pub(crate) fn nextest_artifact(&self) -> Artifact {
        let Nextest { version, url, member, digests, sha256 } = &self.nextest;
        fill("cargo-nextest", version, url, member.as_deref(), digests, sha256)
    }
}

fn fill(
    tool: &str,
    version: &str,
    url: &str,
    member: Option<&str>,
    digests: &str,
    sha256: &BTreeMap<String, String>,
) -> Artifact {
    let (arch, triple) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", "x86_64-unknown-linux-gnu"),
        "aarch64" => ("arm64", "aarch64-unknown-linux-gnu"),
        other => (other, other),
    };
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
