//! Certificates and kubeconfigs of one control plane. Keys are EC P-256, because generating an RSA key takes longer
//! than starting the control plane.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};

use super::access::SERVER_NAME;
use super::{Error, io};

fn crypto(error: rcgen::Error) -> Error {
    Error::Internal(format!("creating a certificate: {error}"))
}

fn generate_key() -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(crypto)
}

/// A certificate authority with its directory; everything written there is readable by the owner only.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The two files of a certificate.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM certificate.
    pub cert: PathBuf,
    /// PEM private key (PKCS #8).
    pub key: PathBuf,
}

impl Authority {
    /// Creates an authority that writes to `dir`, creating the directory if needed. Its certificate is `ca.crt` there.
    ///
    /// # Errors
    /// When a key cannot be generated or a file cannot be written.
    pub fn new(dir: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(io("creating", dir))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("e2e-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, generate_key()?).map_err(crypto)?;
        let authority = Self { dir: dir.to_owned(), issuer };
        write_private(&authority.ca_cert(), authority.issuer.pem().as_bytes())?;
        Ok(authority)
    }

    /// Path of the authority's certificate.
    pub fn ca_cert(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Copies the authority to a directory for a control plane that issues its own certificates: `ca.crt` and `ca.key`,
    /// the names that kubeadm uses.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn copy_to(&self, dir: &Path) -> Result<(), Error> {
        write_private(&dir.join("ca.crt"), self.issuer.pem().as_bytes())?;
        write_private(&dir.join("ca.key"), self.issuer.key().serialize_pem().as_bytes())
    }

    /// Issues a serving certificate for loopback, `server.{crt,key}`.
    ///
    /// # Errors
    /// Same as [`Authority::new`].
    pub fn server(&self) -> Result<Pair, Error> {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), SERVER_NAME.to_owned()]).map_err(crypto)?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.distinguished_name = name("e2e-server", None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign("server", params)
    }

    /// Issues a client certificate `<file>.{crt,key}` for `user`, in `group` if given.
    ///
    /// # Errors
    /// Same as [`Authority::new`].
    pub fn client(&self, file: &str, user: &str, group: Option<&str>) -> Result<Pair, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, params)
    }

    /// Creates a key pair for signing service account tokens, `service-account.{pub,key}`.
    ///
    /// # Errors
    /// Same as [`Authority::new`].
    pub fn service_account(&self) -> Result<Pair, Error> {
        let key = generate_key()?;
        let pair =
            Pair { cert: self.dir.join("service-account.pub"), key: self.dir.join("service-account.key") };
        write_private(&pair.cert, key.public_key_pem().as_bytes())?;
        write_private(&pair.key, key.serialize_pem().as_bytes())?;
        Ok(pair)
    }

    fn sign(&self, file: &str, mut params: CertificateParams) -> Result<Pair, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = generate_key()?;
        let cert = params.signed_by(&key, &self.issuer).map_err(crypto)?;
        let pair =
            Pair { cert: self.dir.join(format!("{file}.crt")), key: self.dir.join(format!("{file}.key")) };
        write_private(&pair.cert, cert.pem().as_bytes())?;
        write_private(&pair.key, key.serialize_pem().as_bytes())?;
        Ok(pair)
    }
}

/// Writes a kubeconfig (as JSON, which is YAML) that names certificate files by absolute path.
///
/// # Errors
/// When the file cannot be written.
pub fn write_kubeconfig(path: &Path, server: &str, ca_cert: &Path, client: &Pair) -> Result<(), Error> {
    write_private(path, kubeconfig(server, ca_cert, client).to_string().as_bytes())
}

/// Returns a kubeconfig that names certificate files by absolute path.
pub fn kubeconfig(server: &str, ca_cert: &Path, client: &Pair) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {
            "server": server,
            "certificate-authority": ca_cert,
            // The address of a server in a container is not known when its certificate is issued.
            "tls-server-name": SERVER_NAME,
        }}],
        "users": [{"name": "e2e", "user": {"client-certificate": client.cert, "client-key": client.key}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": "default"}}],
        "current-context": "e2e",
    })
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(io("writing", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_private_and_kubeconfigs_are_read_by_kube() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path()).unwrap();
        let pair = authority.client("observer", "e2e:observer", None).unwrap();
        let path = dir.path().join("observer.kubeconfig");
        write_kubeconfig(&path, "https://127.0.0.1:1", &authority.ca_cert(), &pair).unwrap();
        for file in [&path, &pair.key, &authority.service_account().unwrap().key] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let read = kube::config::Kubeconfig::read_from(&path).unwrap();
        assert_eq!(read.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("https://127.0.0.1:1"));
    }
}
