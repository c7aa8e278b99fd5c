//! The clusters that may be used.

use std::ffi::OsString;
use std::path::PathBuf;

use super::cleanup::{self, PATIENCE_VARIABLE};
use crate::Error;

/// What the provider needs in addition to the tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// A kubeconfig for each cluster; its current context is used.
    pub kubeconfigs: Vec<PathBuf>,
    /// Seconds that a clean-up continues although nothing more goes away; two minutes by default.
    pub cleanup_patience_s: Option<u64>,
}

impl Settings {
    /// Reads the settings from variables: paths, separated by `:`, which are required, and seconds.
    pub(crate) fn from(
        need: impl Fn(&str) -> Result<String, Error>,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let value = need("E2E_KUBECONFIGS")?;
        let kubeconfigs = std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty());
        let cleanup_patience_s = cleanup::patience(var(PATIENCE_VARIABLE).as_deref())?;
        Ok(Self { kubeconfigs: kubeconfigs.collect(), cleanup_patience_s })
    }

    /// Returns the variables that pass the settings to another program.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let joined = std::env::join_paths(&self.kubeconfigs).unwrap_or_default();
        let patience = self.cleanup_patience_s.map(|seconds| seconds.to_string().into());
        let patience = patience.map(|seconds| (PATIENCE_VARIABLE, seconds));
        [("E2E_KUBECONFIGS", joined)].into_iter().chain(patience).collect()
    }
}
