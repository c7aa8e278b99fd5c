//! What xtask has prepared for the provider, and the variables that pass it on.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::Error;

/// What the provider needs in addition to the tools.
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
    /// Reads the settings from variables, all of which are required.
    pub(crate) fn from(need: impl Fn(&str) -> Result<String, Error>) -> Result<Self, Error> {
        Ok(Self {
            kind: need("E2E_KIND")?.into(),
            node_image: need("E2E_NODE_IMAGE")?,
            etcd_tag: need("E2E_NODE_ETCD_TAG")?,
            kwok_image: need("E2E_NODE_KWOK_IMAGE")?,
        })
    }

    /// Returns the variables that pass the settings to another program.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            ("E2E_KIND", self.kind.clone().into()),
            ("E2E_NODE_IMAGE", self.node_image.clone().into()),
            ("E2E_NODE_ETCD_TAG", self.etcd_tag.clone().into()),
            ("E2E_NODE_KWOK_IMAGE", self.kwok_image.clone().into()),
        ]
    }
}
