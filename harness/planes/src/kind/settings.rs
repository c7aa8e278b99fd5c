//! What xtask has made for the provider, and how it says so.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::Error;

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
    /// From variables, each of which must be there.
    pub(crate) fn from(need: impl Fn(&str) -> Result<String, Error>) -> Result<Self, Error> {
        Ok(Self {
            kind: need("E2E_KIND")?.into(),
            node_image: need("E2E_NODE_IMAGE")?,
            etcd_tag: need("E2E_NODE_ETCD_TAG")?,
            kwok_image: need("E2E_NODE_KWOK_IMAGE")?,
        })
    }

    /// The variables that say this to another program.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            ("E2E_KIND", self.kind.clone().into()),
            ("E2E_NODE_IMAGE", self.node_image.clone().into()),
            ("E2E_NODE_ETCD_TAG", self.etcd_tag.clone().into()),
            ("E2E_NODE_KWOK_IMAGE", self.kwok_image.clone().into()),
        ]
    }
}
