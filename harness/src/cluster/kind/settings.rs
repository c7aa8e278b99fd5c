//! What xtask has made for the provider, and how it says so.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cluster::Error;

/// What the provider needs beside the tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The `kind` program.
    pub kind: PathBuf,
    /// Reference of the node image.
    pub node_image: String,
    /// Tag of the etcd image in it.
    pub etcd_tag: String,
    /// Reference of the kwok image in it.
    pub kwok_image: String,
}

impl Settings {
    /// From the environment that xtask makes (see [`Settings::variables`]); none for the local provider.
    ///
    /// # Errors
    /// When the provider is unknown, or one of the others is missing.
    pub fn from_env() -> Result<Option<Self>, Error> {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(var: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let provider = var("E2E_PROVIDER").unwrap_or_else(|| "local".to_owned());
        match provider.as_str() {
            "local" => Ok(None),
            "kind" => {
                let need = |name: &str| {
                    let advice = "`cargo xtask` sets it; give --provider kind there";
                    var(name).ok_or_else(|| Error::Usage(format!("{name} is not set: {advice}")))
                };
                Ok(Some(Self {
                    kind: need("E2E_KIND")?.into(),
                    node_image: need("E2E_NODE_IMAGE")?,
                    etcd_tag: need("E2E_NODE_ETCD_TAG")?,
                    kwok_image: need("E2E_NODE_KWOK_IMAGE")?,
                }))
            }
            other => Err(Error::Usage(format!("E2E_PROVIDER={other}: known are local and kind"))),
        }
    }

    /// The variables that say all of this to another program.
    pub fn variables(&self) -> [(&'static str, OsString); 5] {
        [
            ("E2E_PROVIDER", "kind".into()),
            ("E2E_KIND", self.kind.clone().into()),
            ("E2E_NODE_IMAGE", self.node_image.clone().into()),
            ("E2E_NODE_ETCD_TAG", self.etcd_tag.clone().into()),
            ("E2E_NODE_KWOK_IMAGE", self.kwok_image.clone().into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_named_whole_or_not_at_all() {
        let from = |pairs: &[(&str, &str)]| {
            let find = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            Settings::from(find)
        };
        assert!(from(&[]).unwrap().is_none());
        assert!(from(&[("E2E_PROVIDER", "local")]).unwrap().is_none());
        let settings = Settings {
            kind: "/k".into(),
            node_image: "i".to_owned(),
            etcd_tag: "t".to_owned(),
            kwok_image: "w".to_owned(),
        };
        let variables = settings.variables();
        let pairs: Vec<_> = variables.iter().map(|(name, value)| (*name, value.to_str().unwrap())).collect();
        assert_eq!(from(&pairs).unwrap().unwrap(), settings);
        assert!(from(&pairs[..2]).unwrap_err().to_string().contains("E2E_NODE_IMAGE"));
        assert!(from(&[("E2E_PROVIDER", "knd")]).unwrap_err().to_string().contains("known are"));
    }
}
