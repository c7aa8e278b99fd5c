//! Writes whose answers nobody reads, and what an apiserver's refusal means.

use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Error, Resource};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Creates `object` and skips the answer: parsing it back would be half the client's share of the cost.
///
/// # Errors
/// As the apiserver or the connection has it.
pub async fn create<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let request = Request::new(K::url_path(&(), object.meta().namespace.as_deref()));
    let body = serde_json::to_vec(object).map_err(Error::SerdeError)?;
    send(client, request.create(&PostParams::default(), body)).await
}

/// Merges `patch` into an object and skips the answer.
///
/// # Errors
/// As the apiserver or the connection has it.
pub async fn patch<K>(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
    patch: &Value,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let request = Request::new(K::url_path(&(), namespace));
    send(client, request.patch(name, &PatchParams::default(), &Patch::Merge(patch))).await
}

/// Merges `patch` into an object's status and skips the answer.
///
/// # Errors
/// As the apiserver or the connection has it.
pub async fn patch_status<K>(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
    patch: &Value,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let request = Request::new(K::url_path(&(), namespace));
    let params = PatchParams::default();
    send(client, request.patch_subresource("status", name, &params, &Patch::Merge(patch))).await
}

async fn send(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<(), Error> {
    client.request::<IgnoredAny>(request.map_err(Error::BuildRequest)?).await.map(drop)
}

/// The HTTP code of a refusal; `None` when no answer came.
pub fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether the object, or the namespace it would live in, does not exist.
pub fn is_gone(error: &Error) -> bool {
    code(error) == Some(404)
}

/// Why a request failed, as a label of few values.
pub fn reason(error: &Error) -> &'static str {
    match code(error) {
        None => "connection",
        Some(401 | 403) => "forbidden",
        Some(404) => "not_found",
        Some(409) => "conflict",
        Some(400 | 422) => "invalid",
        Some(429) => "throttled",
        Some(_) => "server",
    }
}

/// Whether the same request can never succeed.
pub fn is_permanent(error: &Error) -> bool {
    matches!(code(error), Some(400 | 422))
}

/// How long the server asks to wait; zero when it says nothing.
pub fn retry_after(error: &Error) -> Duration {
    match error {
        Error::Api(status) => {
            Duration::from_secs(status.details.as_ref().map_or(0, |d| u64::from(d.retry_after_seconds)))
        }
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16) -> Error {
        serde_json::from_value(serde_json::json!({
            "code": code, "message": "no", "details": {"retryAfterSeconds": 10}
        }))
        .map(|status: kube::core::Status| Error::Api(status.boxed()))
        .unwrap()
    }

    #[test]
    fn refusals_are_told_apart() {
        let cases = [
            (403, "forbidden"),
            (404, "not_found"),
            (409, "conflict"),
            (422, "invalid"),
            (429, "throttled"),
            (503, "server"),
        ];
        for (code, expected) in cases {
            assert_eq!(reason(&refusal(code)), expected);
        }
        assert!(is_gone(&refusal(404)) && is_permanent(&refusal(422)) && !is_permanent(&refusal(429)));
        assert_eq!(retry_after(&refusal(429)), Duration::from_secs(10));
    }
}
