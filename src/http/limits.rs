//! Bounds requests before their content is read: their number, their time and their size.
//!
//! From the outside in: a panic becomes a response, requests above the limit are refused, each request has a deadline before
//! the API server's own, and its body has a maximum size. None of these decides. They respond with an HTTP error, which the
//! API server treats as a failed webhook and, with `failurePolicy: Fail`, as a refusal.
//!
//! These limits are not tower layers: each layer costs several allocations per request, and none can respond with
//! Writgate's messages.

use std::any::Any;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics::{Metrics, Refusal};

/// The largest AdmissionReview. The API server accepts requests of 3 MiB (`MaxRequestBodyBytes`), and sends the new and
/// the old object and the user, whose request headers have at most 1 MiB.
const MAX_BODY: usize = 7 << 20;
/// Requests in progress. API servers send far fewer, since each takes a fraction of a millisecond.
const MAX_REQUESTS: usize = 512;
/// The largest body that does not wait for memory. A usual AdmissionReview has about 10 KiB, so large bodies that use up the
/// budget below do not delay it.
const SMALL_BODY: usize = 64 << 10;
/// Memory for all larger bodies together, in KiB.
const BODY_BUDGET: usize = 64 << 10;
/// How long a body may take to arrive. The API server has the whole body before it sends the request.
const BODY_PATIENCE: Duration = Duration::from_secs(3);
/// The API server's default for `timeoutSeconds`, for callers that send no timeout.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);
/// The longest `timeoutSeconds` that Kubernetes allows.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

/// A response without a decision. The API server shows `why` to the user.
pub(crate) fn refuse(metrics: &Metrics, reason: Refusal, why: impl Into<String>) -> Response {
    metrics.refused(reason);
    let status = match reason {
        Refusal::Overloaded | Refusal::Timeout | Refusal::Unrecorded => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::Unreadable => StatusCode::BAD_REQUEST,
        Refusal::Panic => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{}\n", why.into())).into_response()
}

/// The response after a panic.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
pub(crate) fn caught(metrics: &Metrics, panic: Box<dyn Any + Send>) -> Response {
    let what = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(
        panic = what.unwrap_or("no message"),
        "a review was not decided because of a defect; report it with this line"
    );
    refuse(metrics, Refusal::Panic, "writgate: internal error; see the webhook's log")
}

/// How long the caller waits: the API server adds `?timeout=5s`.
fn patience(query: &str) -> Duration {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("timeout="));
    let seconds = given.and_then(|duration| duration.strip_suffix('s')).and_then(|seconds| seconds.parse::<f64>().ok());
    let patience =
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|given| !given.is_zero());
    patience.unwrap_or(DEFAULT_PATIENCE).min(MAX_PATIENCE)
}

/// The limits that all requests in progress share.
pub(crate) struct Limits {
    turns: Semaphore,
    /// Memory for large bodies.
    bodies: Semaphore,
}

impl Default for Limits {
    fn default() -> Self {
        Self { turns: Semaphore::new(MAX_REQUESTS), bodies: Semaphore::new(BODY_BUDGET) }
    }
}

/// A body in memory, and its share of the budget.
pub(crate) struct Admitted<'a> {
    /// The bytes.
    pub(crate) bytes: Bytes,
    _share: Option<SemaphorePermit<'a>>,
}

impl Limits {
    /// Waits for `answer` until shortly before the caller's timeout in `query`. So the user reads Writgate's message and not
    /// `context deadline exceeded`.
    pub(crate) async fn bound(
        &self,
        query: &str,
        metrics: &Metrics,
        answer: impl Future<Output = Response>,
    ) -> Response {
        let Ok(_turn) = self.turns.try_acquire() else {
            return refuse(metrics, Refusal::Overloaded, "writgate: too many requests at once; try again");
        };
        let patience = patience(query);
        match tokio::time::timeout(patience.mul_f64(0.9), answer).await {
            Ok(response) => response,
            Err(_) => {
                refuse(metrics, Refusal::Timeout, format!("writgate: no decision within {patience:?}; try again"))
            }
        }
    }

    /// Reads a body that is JSON and not too large. `Err` is the response to any other body.
    pub(crate) async fn body(
        &self,
        headers: &HeaderMap,
        body: Body,
        metrics: &Metrics,
    ) -> Result<Admitted<'_>, Response> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let why = format!("writgate: content type is {content_type:?}, expected \"application/json\"");
            return Err(refuse(metrics, Refusal::NotJson, why));
        }
        let too_large = || {
            let why = format!(
                "writgate: the AdmissionReview is larger than {} MiB, more than an API server sends",
                MAX_BODY >> 20
            );
            refuse(metrics, Refusal::TooLarge, why)
        };
        let declared = body.size_hint().exact().map(usize::try_from);
        let size = declared.map_or(MAX_BODY, |declared| declared.unwrap_or(usize::MAX));
        if size > MAX_BODY {
            return Err(too_large());
        }
        let share = if size > SMALL_BODY { Some(self.share(size).await) } else { None };
        match tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, MAX_BODY)).await {
            Ok(Ok(bytes)) => Ok(Admitted { bytes, _share: share }),
            Ok(Err(error)) if is_too_large(&error) => Err(too_large()),
            Ok(Err(error)) => {
                Err(refuse(metrics, Refusal::Unreadable, format!("writgate: the body ended early: {error}")))
            }
            Err(_) => {
                let why = format!("writgate: the body did not arrive within {BODY_PATIENCE:?}");
                Err(refuse(metrics, Refusal::Timeout, why))
            }
        }
    }

    async fn share(&self, size: usize) -> SemaphorePermit<'_> {
        let share = u32::try_from(size / 1024 + 1).expect("a body's limit in KiB fits");
        self.bodies.acquire_many(share).await.expect("the budget is never closed")
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_the_timeout_that_the_api_server_sends_up_to_a_limit() {
        assert_eq!(patience("timeout=5s"), Duration::from_secs(5));
        assert_eq!(patience("a=b&timeout=2.5s"), Duration::from_millis(2500));
        for odd in ["", "timeout=", "timeout=5", "timeout=-1s", "timeout=0s", "timeout=NaNs", "timeout=1e400s"] {
            assert_eq!(patience(odd), DEFAULT_PATIENCE, "{odd:?}");
        }
        assert_eq!(patience("timeout=1e9s"), MAX_PATIENCE);
    }
}
