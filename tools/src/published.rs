//! The digest of an artefact, according to its publisher.

use serde::Deserialize;

use crate::{
    download::{Client, Unavailable},
    releases::{Artifact, is_sha256},
};

/// Asks the publisher, over TLS, for the sha256 of an artefact.
pub(crate) fn digest(client: &Client, artifact: &Artifact) -> Result<String, Unavailable> {
    let text = client.digests(&artifact.digests)?;
    let name = artifact.file_name();
    digest_in(&text, name).ok_or_else(|| {
        Unavailable(format!("{} names no sha256 of {name}", client.address(&artifact.digests)))
    })
}

/// Returns the sha256 of the file `name` in what a publisher serves: a bare digest, lines of `sha256sum`, or a release
/// of GitHub's API. Two different digests count as none.
fn digest_in(text: &str, name: &str) -> Option<String> {
    let text = text.trim();
    let found = if text.starts_with('{') {
        of_release(text, name)
    } else if text.split_whitespace().count() == 1 {
        vec![text.to_owned()]
    } else {
        text.lines().filter_map(|line| of_line(line, name)).collect()
    };
    let (first, others) = found.split_first()?;
    let digest = first.to_ascii_lowercase();
    (is_sha256(&digest) && others.iter().all(|other| other.to_ascii_lowercase() == digest)).then_some(digest)
}

/// Parses `<digest>  <file>`; a `*` before the file means that it was read as binary.
fn of_line(line: &str, name: &str) -> Option<String> {
    let (digest, file) = line.split_once(char::is_whitespace)?;
    let file = file.trim().trim_start_matches('*').trim_start_matches("./");
    (file == name).then(|| digest.to_owned())
}

fn of_release(text: &str, name: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Release {
        assets: Vec<Asset>,
    }
    #[derive(Deserialize)]
    struct Asset {
        name: String,
        digest: Option<String>,
    }
    let release: Option<Release> = serde_json::from_str(text).ok();
    let assets = release.into_iter().flat_map(|release| release.assets).filter(|asset| asset.name == name);
    assets.filter_map(|asset| asset.digest?.strip_prefix("sha256:").map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn a_digest_is_found_in_each_form_that_publishers_use() {
        let (a, b) = (hex('a'), hex('b'));
        let release = serde_json::json!({"tag_name": "v1", "assets": [
            {"name": "tool-arm64", "digest": format!("sha256:{b}")},
            {"name": "tool", "digest": format!("sha256:{a}")},
        ]});
        for text in [
            a.clone(),
            format!("{a}\n"),
            format!("{b}  tool-arm64\n{a}  tool\n"),
            format!("{b} *tool-arm64\n{a} *./tool\n"),
            format!("{}  tool\n", hex('A')),
            release.to_string(),
        ] {
            assert_eq!(digest_in(&text, "tool"), Some(a.clone()), "{text}");
        }
    }

    #[test]
    fn what_names_no_digest_of_the_file_has_none() {
        let (a, b) = (hex('a'), hex('b'));
        for text in [
            String::new(),
            a[..63].to_owned(),
            format!("{a}  other\n"),
            format!("{a}  tool\n{b}  tool\n"),
            format!("{}  tool", &a[..60]),
            "<html>log in to this network</html>".to_owned(),
            r#"{"message": "API rate limit exceeded"}"#.to_owned(),
            format!(
                r#"{{"assets": [{{"name": "tool", "digest": null}}, {{"name": "x", "digest": "sha256:{a}"}}]}}"#
            ),
            format!(r#"{{"assets": [{{"name": "tool", "digest": "sha512:{a}"}}]}}"#),
        ] {
            assert_eq!(digest_in(&text, "tool"), None, "{text}");
        }
    }
}
