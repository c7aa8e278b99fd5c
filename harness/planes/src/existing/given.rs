//! A kubeconfig given by the user, and those derived from it: one per identity, by impersonation.
//!
//! Impersonation needs no certificate of the cluster's authority and works with any way in which the owner
//! authenticates. The apiserver's admission, fairness and authorization see only the identity, and `fixtures/rbac`
//! stays as it is (Kubernetes docs, "User impersonation").

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kube::Client;
use kube::config::{Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::{proxy, shape};
use crate::access::COMPONENT_USERS;
use crate::certs::write_private;
use crate::proof::connect;
use crate::spec::IDENTITIES;
use crate::{Error, io};

/// One context of a kubeconfig, without anything else.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The file it was read from.
    pub path: PathBuf,
    /// The context's name.
    pub context: String,
    config: Kubeconfig,
    /// When its token expires, if the token says so.
    pub expires: Option<Timestamp>,
}

impl Given {
    /// Reads only this file: the current context unless another is named.
    pub(super) fn read(path: &Path, context: Option<&str>) -> Result<Self, Error> {
        Self::read_in(path, context, |name| std::env::var(name).ok())
    }

    /// Does the same with another environment.
    fn read_in(
        path: &Path,
        context: Option<&str>,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        // Relative to the directory as it was named, not to the target of a symbolic link: kubectl resolves paths the
        // same way.
        let path = &std::path::absolute(path).map_err(io("finding", path))?;
        let usage = |why: String| Error::Usage(format!("kubeconfig {}: {why}", path.display()));
        // This makes the paths in it absolute.
        let all = Kubeconfig::read_from(path).map_err(|e| usage(e.to_string()))?;
        let name = context.map(str::to_owned).or_else(|| all.current_context.clone());
        let name =
            name.filter(|name| !name.is_empty()).ok_or_else(|| usage("it has no current context".into()))?;
        let named = all.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.clone());
        let context = named.ok_or_else(|| usage(format!("it has no context {name}")))?;
        let cluster = all.clusters.iter().find(|c| c.name == context.cluster).and_then(|c| c.cluster.clone());
        let mut cluster = cluster.ok_or_else(|| usage(format!("it has no cluster {}", context.cluster)))?;
        let wanted = context.user.clone().unwrap_or_default();
        let user = all.auth_infos.iter().find(|u| u.name == wanted).and_then(|u| u.auth_info.clone());
        let mut user = user.ok_or_else(|| usage(format!("it has no user {wanted:?}")))?;
        let now = Timestamp::now();
        shape::cluster(&context.cluster, &mut cluster).map_err(usage)?;
        shape::user(&wanted, &mut user, now).map_err(usage)?;
        proxy::none(&cluster, var).map_err(usage)?;
        let expires = shape::expiry(&user);
        let config = Kubeconfig {
            api_version: Some("v1".to_owned()),
            kind: Some("Config".to_owned()),
            current_context: Some(name.clone()),
            clusters: vec![NamedCluster {
                name: context.cluster.clone(),
                cluster: Some(cluster),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: wanted,
                auth_info: Some(user),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: name.clone(),
                context: Some(context),
                ..NamedContext::default()
            }],
            ..Kubeconfig::default()
        };
        Ok(Self { path: path.to_owned(), context: name, config, expires })
    }

    /// Returns the apiserver's address.
    pub(super) fn server(&self) -> &str {
        let cluster = self.config.clusters.first().and_then(|c| c.cluster.as_ref());
        cluster.and_then(|c| c.server.as_deref()).unwrap_or_default().trim_end_matches('/')
    }

    /// Connects with the kubeconfig, of which a copy is kept in `dir`, creating the directory if needed.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub(super) async fn connect(&self, dir: &Path) -> Result<Client, Error> {
        let copy = self.write_admin(dir)?;
        let client = connect(&copy).await;
        client.map_err(|e| Error::Usage(format!("kubeconfig {} cannot be used: {e}", self.path.display())))
    }

    /// Returns the user whom its owner impersonates (`as`), if any. That user may lack the right to impersonate our
    /// identities.
    pub(super) fn acts_for(&self) -> Option<&str> {
        let user = self.config.auth_infos.first().and_then(|named| named.auth_info.as_ref());
        user.and_then(|user| user.impersonate.as_deref())
    }

    /// Connects as one of our identities.
    pub(super) async fn connect_as_identity(&self, dir: &Path) -> Result<Client, Error> {
        let copy = dir.join("acting.kubeconfig");
        write(&copy, &self.acting_as("e2e:observer"))?;
        connect(&copy).await
    }

    /// Returns the same kubeconfig, but impersonating `user`.
    fn acting_as(&self, user: &str) -> Kubeconfig {
        let mut config = self.config.clone();
        for info in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            info.impersonate = Some(user.to_owned());
            (info.impersonate_uid, info.impersonate_groups, info.impersonate_user_extra) = (None, None, None);
        }
        config
    }

    /// Writes the owner's own kubeconfig, as `admin`, to `dir`, creating the directory if needed.
    pub(super) fn write_admin(&self, dir: &Path) -> Result<PathBuf, Error> {
        std::fs::create_dir_all(dir).map_err(io("creating", dir))?;
        let path = dir.join("admin.kubeconfig");
        write(&path, &self.config)?;
        Ok(path)
    }

    /// Writes the kubeconfigs of all other identities and of the components that are clients.
    pub(super) fn write_identities(&self, dir: &Path) -> Result<(), Error> {
        for identity in IDENTITIES.into_iter().filter(|identity| *identity != "admin") {
            let config = self.acting_as(&format!("e2e:{identity}"));
            write(&dir.join(format!("{identity}.kubeconfig")), &config)?;
        }
        for (name, user) in COMPONENT_USERS {
            write(&dir.join(format!("{name}.kubeconfig")), &self.acting_as(user))?;
        }
        Ok(())
    }

    /// Writes a kubeconfig whose server is a path below the apiserver. Returns that server.
    pub(super) fn write_below(&self, path: &str, file: &Path) -> Result<String, Error> {
        let server = format!("{}{path}", self.server());
        let mut config = self.config.clone();
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(server.clone());
        }
        write(file, &config)?;
        Ok(server)
    }
}

/// Writes it as JSON, which is YAML, readable only by the owner.
fn write(path: &Path, config: &Kubeconfig) -> Result<(), Error> {
    let text = serde_json::to_vec(config).map_err(|e| Error::Internal(format!("a kubeconfig: {e}")))?;
    write_private(path, &text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TWO: &str = r"
apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: ca, cluster: {server: 'https://10.0.0.1:6443/', certificate-authority: ca.crt}}
- {name: cb, cluster: {server: 'https://10.0.0.2:6443'}}
contexts:
- {name: a, context: {cluster: ca, user: ua}}
- {name: b, context: {cluster: cb, user: ub}}
users:
- {name: ua, user: {token: secret-a}}
- {name: ub, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}}}
";

    fn given(dir: &Path, context: Option<&str>) -> Result<Given, Error> {
        let path = dir.join("config");
        std::fs::write(&path, TWO).unwrap();
        std::fs::write(dir.join("ca.crt"), "").unwrap();
        Given::read_in(&path, context, |_| None)
    }

    #[test]
    fn only_the_context_that_is_meant_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let given = given(dir.path(), None).unwrap();
        assert_eq!(given.server(), "https://10.0.0.1:6443");
        let admin = given.write_admin(&dir.path().join("new")).unwrap();
        assert_eq!(std::fs::metadata(&admin).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&admin).unwrap();
        assert!(text.contains("secret-a") && !text.contains("10.0.0.2"), "{text}");
        let read = Kubeconfig::read_from(&admin).unwrap();
        let ca = read.clusters[0].cluster.as_ref().unwrap().certificate_authority.clone().unwrap();
        assert_eq!(Path::new(&ca), dir.path().join("ca.crt"), "a path in it must hold elsewhere, too");
    }

    #[test]
    fn identities_are_impersonated_and_servers_are_below_the_apiserver() {
        let dir = tempfile::tempdir().unwrap();
        let given = given(dir.path(), None).unwrap();
        given.write_identities(dir.path()).unwrap();
        let of = |name: &str| Kubeconfig::read_from(dir.path().join(name)).unwrap();
        let user = |name: &str| of(name).auth_infos[0].auth_info.clone().unwrap().impersonate;
        assert_eq!(user("operator.kubeconfig").as_deref(), Some("e2e:operator"));
        assert_eq!(user("kwok.kubeconfig").as_deref(), Some("e2e:kwok"));
        let below = given.write_below("/api/v1/x/proxy", &dir.path().join("below")).unwrap();
        assert_eq!(below, "https://10.0.0.1:6443/api/v1/x/proxy");
        assert_eq!(of("below").clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some(below.as_str()));
    }

    #[test]
    fn files_are_looked_for_beside_a_link_and_not_beside_what_it_names() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = elsewhere.path().join("config");
        std::fs::write(&file, TWO).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::fs::write(elsewhere.path().join("ca.crt"), "").unwrap();
        let told = Given::read_in(&link, None, |_| None).unwrap_err();
        assert_eq!(told.exit_code(), 2);
        assert!(told.to_string().contains(&dir.path().join("ca.crt").display().to_string()), "{told}");
        std::fs::write(dir.path().join("ca.crt"), "").unwrap();
        Given::read_in(&link, None, |_| None).unwrap();
    }

    #[tokio::test]
    async fn what_only_the_client_finds_wrong_is_the_file_s_fault() {
        let dir = tempfile::tempdir().unwrap();
        let text = TWO.replace("certificate-authority: ca.crt", "certificate-authority-data: '%%%'");
        let path = dir.path().join("config");
        std::fs::write(&path, text).unwrap();
        let error = Given::read_in(&path, None, |_| None).unwrap().connect(dir.path()).await.err().unwrap();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains("cannot be used"), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let told = |context| given(dir.path(), Some(context)).unwrap_err().to_string();
        assert!(told("b").contains("token"), "{}", told("b"));
        assert!(told("c").contains("no context c"), "{}", told("c"));
        let proxy = |name: &str| (name == "HTTPS_PROXY").then(|| "http://127.0.0.1:3128".to_owned());
        let told = Given::read_in(&dir.path().join("config"), Some("a"), proxy).unwrap_err();
        assert!(told.exit_code() == 2 && told.to_string().contains("NO_PROXY"), "{told}");
        assert!(Given::read_in(&dir.path().join("nowhere"), None, |_| None).is_err());
    }
}
