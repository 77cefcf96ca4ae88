//! The webhook's routes. [`limits`](super::limits) bounds a request, and [`review`](crate::review) makes the response.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::admin::Status;
use crate::http::limits::{Deadline, Limits, caught, refuse};
use crate::http::shares::Peer;
use crate::http::trace_parent::TraceParent;
use crate::review::admission::{Admission, Endpoint, Refused};

/// The state that all requests share.
struct Webhook {
    admission: Admission,
    limits: Limits,
    status: Arc<Status>,
}

/// The routes: `POST /validate` for workloads, and `POST /guard` for the objects that governance depends on.
pub fn router(admission: Admission, status: Arc<Status>) -> Router {
    let metrics = admission.metrics().clone();
    let panics = CatchPanicLayer::custom(move |panic| caught(&metrics, panic));
    let validate = |State(webhook), request| review(webhook, Endpoint::Workload, request);
    let guard = |State(webhook), request| review(webhook, Endpoint::Guard, request);
    let routes = Router::new().route("/validate", post(validate)).route("/guard", post(guard));
    routes.with_state(Arc::new(Webhook { admission, limits: Limits::default(), status })).layer(panics)
}

async fn review(webhook: Arc<Webhook>, endpoint: Endpoint, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Webhook { admission, limits, status } = &*webhook;
    let metrics = admission.metrics();
    let (peer, deadline) = (Peer::of(&head.extensions), Deadline::of(head.uri.query().unwrap_or_default()));
    let mut response = match limits.body(peer, deadline, &head.headers, body, metrics).await {
        Ok(body) => {
            let answer = async {
                match admission.answer(endpoint, &body.bytes, TraceParent::of(&head.headers)).await {
                    Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
                    Err(Refused { reason, why }) => refuse(metrics, reason, why),
                }
            };
            // The future of an answer has about 10 KiB, which each layer around it would contain and move.
            limits.decide(peer, deadline, metrics, Box::pin(answer)).await
        }
        Err(refusal) => refusal,
    };
    if status.is_draining() {
        // Otherwise clients would keep using the connection to a replica that has left the Service.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
