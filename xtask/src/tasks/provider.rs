//! How control planes are created: the choice that `e2e`, `up` and the suites share.

use std::{
    borrow::Cow,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, anyhow, bail};
use tools::{
    Options, Toolset,
    docker::Docker,
    ensure_programs, node_image,
    pins::{TOOL_NAMES, started},
};

/// The variable that passes the choice on; every program of ours reads it.
const VARIABLE: &str = "E2E_PROVIDER";
/// The same for kubeconfigs of existing clusters: paths, separated by `:`.
const KUBECONFIGS: &str = "E2E_KUBECONFIGS";

/// Arguments about the provider.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProviderArgs {
    /// How control planes are created: local (child processes; default), kind (needs Docker) or existing (uses clusters
    /// that are there) [env: E2E_PROVIDER].
    #[arg(long, value_name = "NAME")]
    provider: Option<Provider>,

    /// Kubeconfig of an existing cluster that `cargo xtask adopt` was run for, one for each cluster of the profile;
    /// needs --provider existing. No other kubeconfig is read [env: E2E_KUBECONFIGS].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Vec<PathBuf>,
}

/// A way to create control planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Provider {
    /// Child processes of the supervisor.
    Local,
    /// kind clusters.
    Kind,
    /// Existing clusters.
    Existing,
}

/// What the supervisor has to know, as environment variables.
#[derive(Debug, Default)]
pub struct Environment(Vec<(&'static str, OsString)>);

impl ProviderArgs {
    /// Returns the choice in arguments that another program will read, too.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn among(args: &[OsString]) -> anyhow::Result<ProviderArgs> {
        let values = |flag: &str| {
            let mut args = args.iter().map(|arg| arg.to_string_lossy());
            let mut found = Vec::new();
            while let Some(arg) = args.next() {
                match arg.strip_prefix(flag) {
                    Some("") => found.push(args.next().map(Cow::into_owned).unwrap_or_default()),
                    Some(value) => found.extend(value.strip_prefix('=').map(str::to_owned)),
                    None => {}
                }
            }
            found
        };
        let provider = values("--provider").first().map(|name| Provider::named(name, "--provider "));
        let kubeconfig = values("--kubeconfig").into_iter().map(PathBuf::from).collect();
        Ok(ProviderArgs { provider: provider.transpose()?, kubeconfig })
    }

    /// Returns the kubeconfigs of existing clusters; `None` with another provider.
    ///
    /// # Errors
    /// When there is none but some are needed, or there are some but none is needed, or one cannot be read.
    pub fn kubeconfigs(&self) -> anyhow::Result<Option<Vec<PathBuf>>> {
        if self.chosen()? != Provider::Existing {
            if !self.kubeconfig.is_empty() {
                bail!("--kubeconfig needs --provider existing");
            }
            return Ok(None);
        }
        let from_env = || std::env::var_os(KUBECONFIGS).unwrap_or_default();
        let mut given = self.kubeconfig.clone();
        if given.is_empty() {
            given = std::env::split_paths(&from_env()).filter(|path| !path.as_os_str().is_empty()).collect();
        }
        if given.is_empty() {
            bail!(
                "--provider existing needs --kubeconfig FILE, one for each cluster (or {KUBECONFIGS}=FILE:FILE)"
            );
        }
        // A link is not resolved: files next to it are searched for in the link's directory, as kubectl does.
        let absolute = |path: &PathBuf| -> anyhow::Result<PathBuf> {
            let found = std::fs::metadata(path).and_then(|_| std::path::absolute(path));
            found.with_context(|| format!("kubeconfig {} cannot be read", path.display()))
        };
        given.iter().map(absolute).collect::<anyhow::Result<_>>().map(Some)
    }

    /// Makes sure of the control-plane programs that the chosen provider needs. This takes minutes the first time,
    /// except for existing clusters, which need only kwok.
    ///
    /// # Errors
    /// When the name in the environment is unknown, or a program is missing and cannot be built.
    pub fn ensure_tools(&self, options: &Options) -> anyhow::Result<Toolset> {
        let provider = self.chosen()?;
        // Tools for local runs are built completely: kubectl is the sixth, and people want it.
        if provider == Provider::Local && options.tools_dir.is_none() {
            return Ok(Toolset::ensure(options)?);
        }
        Ok(ensure_programs(options, provider.programs())?)
    }

    /// Makes sure of everything else that the chosen provider needs; takes minutes the first time.
    ///
    /// # Errors
    /// When the name in the environment is unknown, no engine answers, or the node image cannot be built.
    pub fn ensure(&self, options: &Options, set: &Toolset) -> anyhow::Result<Environment> {
        let kubeconfigs = self.kubeconfigs()?.unwrap_or_default();
        match self.chosen()? {
            Provider::Existing => {
                let joined = std::env::join_paths(kubeconfigs).context("a kubeconfig's path has a colon")?;
                Ok(Environment(vec![(VARIABLE, "existing".into()), (KUBECONFIGS, joined)]))
            }
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

    /// Returns the choice.
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
    /// Returns the control-plane programs that are needed.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Provider::Local => started::LOCAL,
            // Only two are started here, but the node image is built from all six and named after them.
            Provider::Kind => &TOOL_NAMES,
            Provider::Existing => started::EXISTING,
        }
    }

    fn named(name: &str, whose: &str) -> anyhow::Result<Provider> {
        clap::ValueEnum::from_str(name, false)
            .map_err(|_| anyhow!("{whose}{name}: no such provider; known are local, kind and existing"))
    }
}

impl Environment {
    /// Adds the variables to a command's environment.
    pub fn give(&self, command: &mut Command) {
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }

    /// Returns the variables, to pass them on.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.0.iter().map(|(name, value)| (*name, Path::new(value)))
    }

    /// Whether the end of a run has to clean up clusters that stay.
    pub fn is_shared(&self) -> bool {
        self.0.iter().any(|(name, value)| *name == VARIABLE && value == "existing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_decides_before_the_environment() {
        let args = ProviderArgs { provider: Some(Provider::Kind), kubeconfig: Vec::new() };
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
    fn kubeconfigs_belong_to_existing_clusters() {
        let args = |args: &[&str]| {
            ProviderArgs::among(&args.iter().map(OsString::from).collect::<Vec<_>>()).unwrap()
        };
        let both = args(&["--provider", "existing", "--kubeconfig", "/dev/null", "--kubeconfig=/dev/zero"]);
        let found = both.kubeconfigs().unwrap().unwrap();
        assert_eq!(found, [Path::new("/dev/null"), Path::new("/dev/zero")]);
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let linked = args(&["--provider=existing", "--kubeconfig", link.to_str().unwrap()]);
        assert_eq!(linked.kubeconfigs().unwrap().unwrap(), [link], "what it names is relative to the link");
        let stray = args(&["--provider=kind", "--kubeconfig", "/dev/null"]).kubeconfigs().unwrap_err();
        assert!(stray.to_string().contains("needs --provider existing"), "{stray}");
        let none = args(&["--provider=existing", "--kubeconfig", "/no/such"]).kubeconfigs().unwrap_err();
        assert!(none.to_string().contains("/no/such"), "{none}");
    }

    #[test]
    fn names_on_the_command_line_stay_as_they_are() {
        use clap::ValueEnum;
        let names: Vec<_> = Provider::value_variants().iter().filter_map(|v| v.to_possible_value()).collect();
        assert_eq!(names.iter().map(|n| n.get_name()).collect::<Vec<_>>(), ["local", "kind", "existing"]);
    }
}
