//! Normalizes kubeconfigs: forms that kubectl accepts and our clients do not are converted to one that all programs of
//! a run read the same way. Anything that they cannot use is refused with a reason, before anything is created.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use kube::config::{AuthInfo, Cluster};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Shortest remaining lifetime of a token: no run is shorter than that.
const TOKEN_LEFT: SignedDuration = SignedDuration::from_mins(5);

/// Normalizes the entry of a cluster.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn cluster(name: &str, cluster: &mut Cluster) -> Result<(), String> {
    let Some(server) = cluster.server.as_deref().map(str::trim).filter(|server| !server.is_empty()) else {
        return Err(format!("its cluster {name} has no server"));
    };
    let uri: Result<http::Uri, _> = server.parse();
    let is_url =
        uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some());
    if !is_url {
        return Err(format!("server {server:?} of its cluster {name} is not a URL; give https://HOST:PORT"));
    }
    let server = server.to_owned();
    reshape(cluster, &["certificate-authority-data"])?;
    cluster.server = Some(server);
    let has_authority =
        cluster.certificate_authority_data.is_some() || cluster.certificate_authority.is_some();
    if cluster.insecure_skip_tls_verify == Some(true) && has_authority {
        return Err(format!(
            "its cluster {name} has a certificate-authority and insecure-skip-tls-verify, which exclude each other; \
             remove one of them"
        ));
    }
    if cluster.certificate_authority_data.is_none() {
        readable("certificate-authority", cluster.certificate_authority.as_deref())?;
    }
    Ok(())
}

/// Normalizes the entry of a user.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn user(name: &str, user: &mut AuthInfo, now: Timestamp) -> Result<(), String> {
    let advice = "give one with a certificate or a token, e.g. of a service account";
    if user.exec.is_some() || user.auth_provider.is_some() {
        // The programs of a run have neither the owner's environment nor home directory.
        return Err(format!("its user {name} authenticates with a program of its own; {advice}"));
    }
    reshape(user, &["client-certificate-data", "client-key-data", "token"])?;
    if user.token_file.is_some() {
        // A file that is read repeatedly takes precedence over a token that was written down once, as in client-go.
        readable("tokenFile", user.token_file.as_deref())?;
        user.token = None;
    }
    let has_certificate = user.client_certificate_data.is_some() || user.client_certificate.is_some();
    let has_key = user.client_key_data.is_some() || user.client_key.is_some();
    if has_certificate != has_key {
        return Err(format!(
            "its user {name} has either a client certificate or its key, but not both; {advice}"
        ));
    }
    if user.client_certificate_data.is_none() {
        readable("client-certificate", user.client_certificate.as_deref())?;
    }
    if user.client_key_data.is_none() {
        readable("client-key", user.client_key.as_deref())?;
    }
    let has_password = user.username.is_some() && user.password.is_some();
    if !has_certificate && !has_password && user.token.is_none() && user.token_file.is_none() {
        return Err(format!("its user {name} has no certificate, token or password; {advice}"));
    }
    let acts_for_others = user.impersonate_groups.is_some()
        || user.impersonate_uid.is_some()
        || user.impersonate_user_extra.is_some();
    if acts_for_others && user.impersonate.is_none() {
        return Err(format!(
            "its user {name} has as-groups, as-uid or as-user-extra without as; add as: NAME"
        ));
    }
    match expiry(user) {
        Some(end) if end <= now => {
            Err(format!("the token of its user {name} expired at {end}; get a new one"))
        }
        Some(end) if end.duration_since(now) < TOKEN_LEFT => Err(format!(
            "the token of its user {name} expires at {end}, within five minutes; get one that outlives the run"
        )),
        _ => Ok(()),
    }
}

/// Returns when the token of a user expires, if it says so (a JWT does; a token in a file is renewed there).
pub(super) fn expiry(user: &AuthInfo) -> Option<Timestamp> {
    let said = serde_json::to_value(user).ok()?;
    let payload = said["token"].as_str()?.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let seconds = claims["exp"].as_i64().or_else(|| claims["exp"].as_f64().map(|seconds| seconds as i64))?;
    Timestamp::from_second(seconds).ok()
}

/// Removes blanks and line breaks from these values, and drops those that are empty.
fn reshape<T: Serialize + DeserializeOwned>(said: &mut T, keys: &[&str]) -> Result<(), String> {
    let unreadable = |error: serde_json::Error| format!("it cannot be understood: {error}");
    let mut value = serde_json::to_value(&*said).map_err(unreadable)?;
    let Some(object) = value.as_object_mut() else { return Ok(()) };
    for key in keys {
        let Some(text) = object.get(*key).and_then(Value::as_str) else { continue };
        let text: String = text.split_whitespace().collect();
        if text.is_empty() {
            object.remove(*key);
        } else {
            object.insert((*key).to_owned(), text.into());
        }
    }
    *said = serde_json::from_value(value).map_err(unreadable)?;
    Ok(())
}

/// Verifies that a file can be read, if one is named.
fn readable(key: &str, path: Option<&str>) -> Result<(), String> {
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(()) };
    std::fs::read(Path::new(path)).map(drop).map_err(|error| {
        format!(
            "its {key} {path} cannot be read: {error} (as in kubectl, a relative path is relative to the directory of \
             the kubeconfig as it was named, even if that is a symbolic link)"
        )
    })
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
