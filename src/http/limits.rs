//! Bounds requests before their content is read: their number, their time and their size.
//!
//! From the outside in: a panic becomes a response, a body must arrive completely, in time and within a maximum size, and only
//! then the request takes one of the turns for deciding, or waits for one. Nothing that another request requires is held while a body is awaited,
//! except memory for large bodies, and [peers share](super::shares) that. Each request has a deadline before the API server's own.
//! None of these decides. They respond with an HTTP error, which the API server treats as a failed webhook and, with
//! `failurePolicy: Fail`, as a refusal.
//!
//! These limits are not tower layers: each layer costs several allocations per request, and none can respond with
//! Writgate's messages.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::http::shares::{Peer, Share, Shares};
use crate::metrics::{Metrics, Refusal};

/// The largest AdmissionReview. The API server accepts requests of 3 MiB (`MaxRequestBodyBytes`), and sends the new and
/// the old object and the user, whose request headers have at most 1 MiB.
const MAX_BODY: usize = 7 << 20;
/// Requests that are decided at the same time. API servers send far fewer, since each takes a fraction of a millisecond.
const MAX_TURNS: usize = 512;
/// The largest body that does not wait for memory. A usual AdmissionReview has about 10 KiB, so large bodies that use up the
/// budget below do not delay it. The number of connections bounds the memory for small bodies.
const SMALL_BODY: usize = 64 << 10;
/// Memory for all larger bodies together.
const BODY_BUDGET: usize = 64 << 20;
/// How long a body may take to arrive. The API server has the whole body before it sends the request.
const BODY_PATIENCE: Duration = Duration::from_secs(3);
/// How long a larger body may take to begin. Each further second requires [`MIN_RATE`], so that a peer that sends nothing does not
/// hold memory for long.
const BODY_GRACE: Duration = Duration::from_secs(1);
/// Bytes per second of a larger body.
const MIN_RATE: usize = 64 << 10;
/// The API server's default for `timeoutSeconds`, for callers that send no timeout.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);
/// The longest `timeoutSeconds` that Kubernetes allows.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

/// A response without a decision. The API server shows `why` to the user.
pub(crate) fn refuse(metrics: &Metrics, reason: Refusal, why: impl Into<String>) -> Response {
    metrics.refused(reason);
    let status = match reason {
        Refusal::Overloaded | Refusal::Timeout | Refusal::Unrecorded => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::SlowBody => StatusCode::REQUEST_TIMEOUT,
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

/// When a request must be answered: shortly before its caller stops to wait. So the user reads Writgate's message and not
/// `context deadline exceeded`.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    begun: Instant,
    patience: Duration,
}

impl Deadline {
    /// The deadline of a request that arrived now, with this query.
    pub(crate) fn of(query: &str) -> Self {
        Self { begun: Instant::now(), patience: patience(query) }
    }

    fn answer(self) -> Instant {
        self.begun + self.patience.mul_f64(0.9)
    }

    /// When the next bytes of a body must be there, if `received` bytes are and reading began at `since`.
    fn body(self, since: Instant, declared: usize, received: usize) -> Instant {
        let whole = self.answer().min(since + BODY_PATIENCE);
        if declared <= SMALL_BODY {
            return whole;
        }
        let received = u32::try_from(received / MIN_RATE).unwrap_or(u32::MAX);
        let next = Duration::from_secs(1).saturating_mul(received).saturating_add(BODY_GRACE).min(BODY_PATIENCE);
        whole.min(since + next)
    }
}

/// The limits that all requests share.
pub(crate) struct Limits {
    turns: Arc<Shares>,
    /// Memory for larger bodies.
    bodies: Arc<Shares>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { turns: Shares::new(MAX_TURNS), bodies: Shares::new(BODY_BUDGET) }
    }
}

/// A body in memory, and its share of the budget.
pub(crate) struct ReceivedBody {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    _share: Option<Share>,
}

impl Limits {
    /// Waits for a turn, and then for `answer`, until `deadline`. A single API server, which is one peer, would otherwise be
    /// refused while half of the turns are free.
    pub(crate) async fn decide(
        &self,
        peer: Peer,
        deadline: Deadline,
        metrics: &Metrics,
        answer: impl Future<Output = Response>,
    ) -> Response {
        let Ok(_turn) = timeout_at(deadline.answer(), self.turns.take(peer, 1)).await else {
            return refuse(metrics, Refusal::Overloaded, "writgate: too many requests at once; try again");
        };
        timeout_at(deadline.answer(), answer).await.unwrap_or_else(|_| {
            let why = format!("writgate: no decision within {:?}; try again", deadline.patience);
            refuse(metrics, Refusal::Timeout, why)
        })
    }

    /// Reads a body that is JSON, not too large and not too slow. `Err` is the response to any other body.
    pub(crate) async fn body(
        &self,
        peer: Peer,
        deadline: Deadline,
        headers: &HeaderMap,
        mut body: Body,
        metrics: &Metrics,
    ) -> Result<ReceivedBody, Response> {
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
        let share = self.memory(peer, deadline, size, metrics).await?;
        // A body is not slow because it had to wait for memory.
        let since = Instant::now();
        // Memory that is not written to is not resident.
        let mut bytes = Vec::with_capacity(if declared.is_some() { size } else { 0 });
        loop {
            match timeout_at(deadline.body(since, size, bytes.len()), body.frame()).await {
                Ok(None) => return Ok(ReceivedBody { bytes, _share: share }),
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    if bytes.len() + data.len() > MAX_BODY {
                        return Err(too_large());
                    }
                    bytes.extend_from_slice(&data);
                }
                Ok(Some(Err(error))) => {
                    let why = format!("writgate: the body ended early: {error}");
                    return Err(refuse(metrics, Refusal::Unreadable, why));
                }
                Err(_) => {
                    let why = format!(
                        "writgate: the body arrives too slowly: {} bytes after {:.1} s",
                        bytes.len(),
                        since.elapsed().as_secs_f64()
                    );
                    return Err(refuse(metrics, Refusal::SlowBody, why));
                }
            }
        }
    }

    /// Waits for the memory that a larger body requires.
    async fn memory(
        &self,
        peer: Peer,
        deadline: Deadline,
        size: usize,
        metrics: &Metrics,
    ) -> Result<Option<Share>, Response> {
        if size <= SMALL_BODY {
            return Ok(None);
        }
        let until = deadline.answer().min(deadline.begun + BODY_PATIENCE);
        timeout_at(until, self.bodies.take(peer, size))
            .await
            .map(Some)
            .map_err(|_| refuse(metrics, Refusal::Overloaded, "writgate: too many large requests at once; try again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_larger_body_must_keep_a_minimum_rate() {
        let deadline = Deadline::of("timeout=5s");
        let allowed = |declared, received| deadline.body(deadline.begun, declared, received) - deadline.begun;
        assert_eq!(allowed(SMALL_BODY, 0), BODY_PATIENCE, "a small body holds no memory");
        assert_eq!(allowed(MAX_BODY, 1), BODY_GRACE);
        assert_eq!(allowed(MAX_BODY, MIN_RATE), BODY_GRACE + Duration::from_secs(1));
        assert_eq!(allowed(MAX_BODY, MAX_BODY), BODY_PATIENCE);
        let hurried = Deadline::of("timeout=1s");
        assert_eq!(hurried.body(hurried.begun, MAX_BODY, MAX_BODY) - hurried.begun, Duration::from_millis(900));
    }

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
