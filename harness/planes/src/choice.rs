//! The chosen provider, as our programs pass it to each other in the environment.

use std::ffi::OsString;

use harness_model::provider::ProviderName;
use tools::pins::started;

use super::{Error, existing, kind};

/// A provider with its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Child processes.
    #[default]
    Local,
    /// kind clusters.
    Kind(kind::Settings),
    /// Existing clusters.
    Existing(existing::Settings),
}

impl Choice {
    /// Reads the choice from the environment that xtask sets (see [`Choice::variables`]); local if nothing is set.
    ///
    /// # Errors
    /// When the provider is unknown, or a setting that it needs is missing.
    pub fn from_env() -> Result<Self, Error> {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(var: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let need = |name: &str, flag: &str| {
            let advice = format!("`cargo xtask` sets it; give {flag} there");
            var(name).ok_or_else(|| Error::Usage(format!("{name} is not set: {advice}")))
        };
        let name = var("E2E_PROVIDER").map_or(Ok(ProviderName::Local), |name| name.parse());
        let unknown = |error| Error::Usage(format!("E2E_PROVIDER: {error}"));
        match name.map_err(unknown)? {
            ProviderName::Local => Ok(Self::Local),
            ProviderName::Kind => kind::Settings::from(|name| need(name, "--provider kind")).map(Self::Kind),
            ProviderName::Existing => {
                existing::Settings::from(|name| need(name, "--kubeconfig FILE"), &var).map(Self::Existing)
            }
        }
    }

    /// Returns the name that `--provider` takes.
    pub fn name(&self) -> ProviderName {
        match self {
            Self::Local => ProviderName::Local,
            Self::Kind(_) => ProviderName::Kind,
            Self::Existing(_) => ProviderName::Existing,
        }
    }

    /// Returns the control-plane programs that the provider starts on this machine. No others need to be installed.
    pub fn programs(&self) -> &'static [&'static str] {
        match self {
            Self::Local => started::LOCAL,
            Self::Kind(_) => started::KIND,
            Self::Existing(_) => started::EXISTING,
        }
    }

    /// Returns the variables that pass all of this to another program.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("E2E_PROVIDER", self.name().name().into())];
        match self {
            Self::Local => {}
            Self::Kind(settings) => variables.extend(settings.variables()),
            Self::Existing(settings) => variables.extend(settings.variables()),
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Choice, Error> {
        Choice::from(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn a_choice_is_handed_on_whole() {
        let kind = kind::Settings {
            kind: "/k".into(),
            node_image: "i".to_owned(),
            etcd_tag: "t".to_owned(),
            kwok_image: "w".to_owned(),
        };
        let existing =
            existing::Settings { kubeconfigs: vec!["/a".into(), "/b".into()], cleanup_patience_s: Some(7) };
        for choice in [Choice::Local, Choice::Kind(kind), Choice::Existing(existing)] {
            let variables = choice.variables();
            let pairs: Vec<_> =
                variables.iter().map(|(name, value)| (*name, value.to_str().unwrap())).collect();
            assert_eq!(from(&pairs).unwrap(), choice);
            let name = serde_json::to_value(choice.name()).unwrap();
            assert_eq!(name, choice.name().name(), "records and --provider have one spelling");
        }
        assert_eq!(from(&[]).unwrap(), Choice::Local);
    }

    #[test]
    fn what_is_lacking_or_unknown_is_named() {
        let told = |pairs: &[(&str, &str)]| from(pairs).unwrap_err().to_string();
        assert!(told(&[("E2E_PROVIDER", "kind"), ("E2E_KIND", "/k")]).contains("E2E_NODE_IMAGE"));
        assert!(told(&[("E2E_PROVIDER", "existing")]).contains("--kubeconfig"));
        assert!(told(&[("E2E_PROVIDER", "knd")]).contains("known are local, kind, existing"));
    }
}
