//! GET of a path that is not an API object (`/readyz`, `/metrics`, `/configz`), with a kube client's TLS.

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;

/// Returns the body of `GET path`.
///
/// # Errors
/// Any failure of the connection, or a status other than 2xx.
pub async fn get_text(client: &Client, path: &str) -> kube::Result<String> {
    let request = Request::new(path).list(&ListParams::default()).map_err(kube::Error::BuildRequest)?;
    client.request_text(request).await
}
