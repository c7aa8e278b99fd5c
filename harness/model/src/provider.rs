//! Provider names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The names that may follow `--provider`.
pub const NAMES: [&str; 3] =
    [ProviderName::Local.name(), ProviderName::Kind.name(), ProviderName::Existing.name()];

/// How control planes are created: the value of `--provider`, which a run also records as part of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// As child processes.
    Local,
    /// As kind clusters.
    Kind,
    /// Not created: the clusters already exist.
    Existing,
}

impl ProviderName {
    /// Returns the name as written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kind => "kind",
            Self::Existing => "existing",
        }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ProviderName {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        [Self::Local, Self::Kind, Self::Existing]
            .into_iter()
            .find(|one| one.name() == text)
            .ok_or_else(|| Unknown(text.to_owned()))
    }
}

/// A name that does not belong to any provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a provider; known are {known}", known = NAMES.join(", "))]
pub struct Unknown(String);
