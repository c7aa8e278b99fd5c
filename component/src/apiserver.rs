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

/// Whether a write lost against another write, so that the same request may succeed the next time. An object that
/// exists already has the same code, and stays.
pub fn lost_a_race(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409 && status.is_conflict())
}

/// Why a request failed, in the apiserver's own words; when no answer came, in the client's, with all causes.
pub fn words(error: &Error) -> String {
    if let Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| {
        let cause = cause.to_string();
        // Some errors repeat what they were caused by.
        if words.contains(&cause) { words } else { format!("{words}: {cause}") }
    })
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

    #[test]
    fn a_race_that_was_lost_is_not_an_object_that_exists() {
        let conflict = |reason: &str| {
            let status = kube::core::Status::failure("quota was modified", reason).with_code(409);
            Error::Api(status.boxed())
        };
        assert!(lost_a_race(&conflict("Conflict")));
        assert!(!lost_a_race(&conflict("AlreadyExists")));
        assert!(!lost_a_race(&refusal(403)));
    }

    #[test]
    fn a_refusal_is_told_in_the_apiservers_words_and_nothing_else() {
        assert_eq!(words(&refusal(403)), "no");
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        assert_eq!(words(&Error::Service(Box::new(io))), "ServiceError: connection refused");
    }
}
