//! How control planes are made: the choice that `e2e`, `up` and the suites share.

use std::{borrow::Cow, ffi::OsString, process::Command};

use anyhow::anyhow;
use tools::{Options, Toolset, docker::Docker, node_image};

/// The variable that hands the choice on; every program of ours reads it.
const VARIABLE: &str = "E2E_PROVIDER";

/// Arguments about the provider.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProviderArgs {
    /// How control planes are made: local (child processes; default) or kind (needs Docker) [env: E2E_PROVIDER].
    #[arg(long, value_name = "NAME")]
    provider: Option<Provider>,
}

/// A way to make control planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Provider {
    /// Child processes of the supervisor.
    Local,
    /// kind clusters.
    Kind,
}

/// What the supervisor has to know, as environment variables.
#[derive(Debug, Default)]
pub struct Environment(Vec<(&'static str, OsString)>);

impl ProviderArgs {
    /// The choice in arguments that another program will read, too.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn among(args: &[OsString]) -> anyhow::Result<ProviderArgs> {
        let mut args = args.iter().map(|arg| arg.to_string_lossy());
        let name = args.find_map(|arg| match arg.strip_prefix("--provider") {
            Some("") => Some(None),
            Some(value) => value.strip_prefix('=').map(|value| Some(value.to_owned())),
            None => None,
        });
        let Some(name) = name else { return Ok(ProviderArgs::default()) };
        let name = name.or_else(|| args.next().map(Cow::into_owned)).unwrap_or_default();
        Ok(ProviderArgs { provider: Some(Provider::named(&name, "--provider ")?) })
    }

    /// Makes sure of what the chosen provider needs: minutes the first time.
    ///
    /// # Errors
    /// When the name in the environment is unknown, no engine answers, or the node image cannot be made.
    pub fn ensure(&self, options: &Options, set: &Toolset) -> anyhow::Result<Environment> {
        match self.chosen()? {
            Provider::Local => Ok(Environment(vec![(VARIABLE, "local".into())])),
            Provider::Kind => {
                let docker = Docker::find()?;
                let image = node_image::ensure(options, set, &docker)?;
                Ok(Environment(vec![
                    (VARIABLE, "kind".into()),
                    ("E2E_KIND", image.kind.into()),
                    ("E2E_NODE_IMAGE", image.reference.into()),
                    ("E2E_NODE_ETCD_TAG", image.preloaded.etcd_tag.into()),
                    ("E2E_NODE_KWOK_IMAGE", image.preloaded.kwok.into()),
                ]))
            }
        }
    }

    /// The choice.
    ///
    /// # Errors
    /// When the name in the environment is unknown.
    pub fn chosen(&self) -> anyhow::Result<Provider> {
        if let Some(provider) = self.provider {
            return Ok(provider);
        }
        let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
            return Ok(Provider::Local);
        };
        Provider::named(&name.to_string_lossy(), "E2E_PROVIDER=")
    }
}

impl Provider {
    fn named(name: &str, whose: &str) -> anyhow::Result<Provider> {
        clap::ValueEnum::from_str(name, false)
            .map_err(|_| anyhow!("{whose}{name}: no such provider; known are local and kind"))
    }
}

impl Environment {
    /// Gives it to a command.
    pub fn give(&self, command: &mut Command) {
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }

    /// The variables, for those who hand them on.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &std::path::Path)> {
        self.0.iter().map(|(name, value)| (*name, std::path::Path::new(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_decides_before_the_environment() {
        let args = ProviderArgs { provider: Some(Provider::Kind) };
        assert_eq!(args.chosen().unwrap(), Provider::Kind);
    }

    #[test]
    fn it_is_found_among_the_arguments_of_another_program() {
        let among = |args: &[&str]| {
            ProviderArgs::among(&args.iter().map(OsString::from).collect::<Vec<_>>())
                .map(|args| args.provider)
        };
        assert_eq!(among(&["--clusters", "2"]).unwrap(), None);
        assert_eq!(among(&["--clusters", "2", "--provider", "kind"]).unwrap(), Some(Provider::Kind));
        assert_eq!(among(&["--provider=local"]).unwrap(), Some(Provider::Local));
        assert!(among(&["--provider", "knd"]).unwrap_err().to_string().contains("known are"));
    }

    #[test]
    fn names_are_those_of_the_supervisor() {
        use clap::ValueEnum;
        let names: Vec<_> = Provider::value_variants().iter().filter_map(|v| v.to_possible_value()).collect();
        assert_eq!(names.iter().map(|n| n.get_name()).collect::<Vec<_>>(), ["local", "kind"]);
    }
}
