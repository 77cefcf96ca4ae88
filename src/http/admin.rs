//! The admin port: `/livez`, `/readyz` and `/metrics`, in plain HTTP, for the kubelet and Prometheus; and `/log`, which reads and
//! changes the log filter, for clients on loopback.
//!
//! Ready means that the webhook can decide: it knows the postures, and API servers accept its certificate. Live means only that the
//! event loop runs, because a restart repairs nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::certificate::serving::Serving;
use crate::http::exposition::Format;
use crate::metrics::Metrics;
use crate::state::store::Store;
use crate::telemetry::{LogControl, LogFilter};

/// How often the log compares readiness with what it said last.
const READINESS_INTERVAL: Duration = Duration::from_secs(1);

/// The longest log filter.
const MAX_LOG_FILTER: usize = 4096;

/// What the admin port reports on.
pub struct Status {
    store: Arc<Store>,
    metrics: Metrics,
    registry: Registry,
    serving: Option<Serving>,
    log: Option<LogControl>,
    draining: AtomicBool,
}

impl Status {
    /// The status of a webhook that decides with `store` and counts in `metrics`.
    #[must_use]
    pub fn new(store: Arc<Store>, metrics: Metrics) -> Self {
        Self {
            store,
            registry: metrics.registry(),
            metrics,
            serving: None,
            log: None,
            draining: AtomicBool::new(false),
        }
    }

    /// The status of a webhook that serves this certificate.
    #[must_use]
    pub fn with_certificate(mut self, serving: Serving) -> Self {
        self.serving = Some(serving);
        self
    }

    /// The status of a webhook whose log filter can be changed.
    #[must_use]
    pub fn with_log(mut self, log: LogControl) -> Self {
        self.log = Some(log);
        self
    }

    /// Starts draining: the replica is not ready, and asks clients to connect to another one.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether [`Status::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why this replica is not ready. Empty if it is ready.
    fn missing(&self) -> Vec<String> {
        let mut missing = self.store.missing();
        missing.extend(self.serving.as_ref().and_then(Serving::missing));
        if self.is_draining() {
            missing.push("shutting down".to_owned());
        }
        missing
    }
}

/// Logs each change of readiness with its cause. The kubelet shows only that a probe failed, and restarts nothing.
pub async fn log_readiness(status: Arc<Status>) {
    let mut said: Option<Vec<String>> = None;
    let mut interval = tokio::time::interval(READINESS_INTERVAL);
    loop {
        interval.tick().await;
        let missing = status.missing();
        if said.as_ref().is_some_and(|said| *said == missing) {
            continue;
        }
        match &*missing {
            [] => tracing::info!("ready"),
            // What a start waits for is not worth a warning.
            missing if said.is_none() => tracing::info!(why = missing.join("; "), "not ready yet"),
            missing => tracing::warn!(why = missing.join("; "), "not ready"),
        }
        said = Some(missing);
    }
}

/// Routes of the admin port.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(Router::new().route("/log", get(log_filter).put(change_log_filter)).layer(from_fn(only_loopback)))
        .with_state(status)
}

/// The admin port has no authentication. `kubectl port-forward` arrives from loopback, so RBAC decides who may use these routes.
async fn only_loopback(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
    if peer.is_some_and(|peer| peer.is_loopback()) {
        return next.run(request).await;
    }
    let why = "only clients on loopback may use this path: use kubectl port-forward\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

async fn log_filter(State(status): State<Arc<Status>>) -> (StatusCode, String) {
    match &status.log {
        Some(log) => (StatusCode::OK, format!("{}\n", log.current())),
        None => (StatusCode::NOT_FOUND, "this process has no log\n".to_owned()),
    }
}

async fn change_log_filter(State(status): State<Arc<Status>>, body: Body) -> (StatusCode, String) {
    let Some(log) = &status.log else { return log_filter(State(status)).await };
    let text = to_bytes(body, MAX_LOG_FILTER).await.ok();
    let Some(text) = text.as_ref().and_then(|text| str::from_utf8(text).ok()) else {
        return (StatusCode::BAD_REQUEST, format!("expected a filter of at most {MAX_LOG_FILTER} bytes\n"));
    };
    match text.trim().parse::<LogFilter>() {
        Ok(filter) => (StatusCode::OK, format!("{}\n", log.change(filter))),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

async fn ready(State(status): State<Arc<Status>>) -> (StatusCode, String) {
    let missing = status.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; ")))
}

async fn metrics(State(status): State<Arc<Status>>, headers: HeaderMap) -> impl IntoResponse {
    status.store.observe(&status.metrics);
    let format = Format::accepted(&headers);
    let mut text = String::new();
    match encode(&mut text, &status.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, format.content_type())], format.render(text)),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], "see the log\n".to_owned())
        }
    }
}
