//! Which clusters may be used.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cluster::Error;

/// What the provider needs beside the tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A kubeconfig for each cluster; its current context is meant.
    pub kubeconfigs: Vec<PathBuf>,
}

impl Settings {
    /// From a variable that must be there: paths, separated by `:`.
    pub(in crate::cluster) fn from(need: impl Fn(&str) -> Result<String, Error>) -> Result<Self, Error> {
        let value = need("E2E_KUBECONFIGS")?;
        let kubeconfigs = std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty());
        Ok(Self { kubeconfigs: kubeconfigs.collect() })
    }

    /// The variable that says this to another program.
    pub(in crate::cluster) fn variables(&self) -> [(&'static str, OsString); 1] {
        let joined = std::env::join_paths(&self.kubeconfigs).unwrap_or_default();
        [("E2E_KUBECONFIGS", joined)]
    }
}
