//! The workload that a request to `scale` would wake up, read live.
//!
//! The request has only the number of replicas. It is read only if a posture has `ungoverned: deny`, and only if the workload
//! has no replicas, so ordinary scaling never waits for this.

use axum::http::Request;
use kube::{Client, Error};
use writgate_cluster::bounded_request::{RequestError, RequestLimiter};
use writgate_cluster::names;
use writgate_core::decide::ScaledWorkload;

use crate::review::PATIENCE;

/// Reads at once. Anyone who reaches the webhook can cause them, so this bounds what that costs the API server, and the
/// responses to 24 MiB.
const MAX_READS: usize = 16;

/// Reads workloads, a bounded number at once.
pub struct WorkloadReader {
    client: Client,
    limiter: RequestLimiter,
}

impl WorkloadReader {
    /// A reader through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, limiter: RequestLimiter::new(MAX_READS, PATIENCE) }
    }

    /// The workload as it is now, as JSON. The error says why it could not be read.
    pub async fn read(&self, workload: &ScaledWorkload) -> Result<String, String> {
        let ScaledWorkload { kind, namespace, name } = workload;
        if !names::is_label(namespace) || !names::is_subdomain(name) {
            return Err("no workload can have this name".to_owned());
        }
        let api_version = kind.api_version();
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let path = format!("/{root}/{api_version}/namespaces/{namespace}/{}/{name}", kind.resource());
        let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        self.limiter.send(self.client.request_text(request)).await.map_err(|error| match error {
            RequestError::Failed(Error::Api(status)) if status.is_not_found() => "it does not exist".to_owned(),
            error => error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use axum::http::Response;
    use serde_json::{Value, json};
    use tower::service_fn;
    use writgate_core::kube::WorkloadKind;

    use super::*;

    /// The answer of a reader for which the workload at `path` is `status` with `body`.
    async fn read(
        kind: WorkloadKind,
        name: &str,
        path: &'static str,
        status: u16,
        body: &Value,
    ) -> Result<String, String> {
        let body = body.to_string();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            assert_eq!(request.uri().path(), path);
            let response = Response::builder().status(status).body(Body::from(body.clone())).expect("a response");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let workload = ScaledWorkload { kind, namespace: "payments".to_owned(), name: name.to_owned() };
        WorkloadReader::new(Client::new(service, "default")).read(&workload).await
    }

    #[tokio::test]
    async fn reads_the_workload_as_it_is() {
        let path = "/apis/apps/v1/namespaces/payments/deployments/orders";
        let found = json!({"spec": {"replicas": 0}});
        assert_eq!(read(WorkloadKind::Deployment, "orders", path, 200, &found).await, Ok(found.to_string()));
        let kind = "example.com/v1/Rollout=rollouts:spec.template".parse().expect("a kind");
        let path = "/apis/example.com/v1/namespaces/payments/rollouts/orders";
        assert_eq!(read(kind, "orders", path, 200, &found).await, Ok(found.to_string()));
    }

    #[tokio::test]
    async fn a_workload_that_cannot_be_read_is_an_error() {
        let path = "/apis/apps/v1/namespaces/payments/deployments/orders";
        let status = |code: u16, reason: &str| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"});
        let read = |code: u16, reason: &'static str| async move {
            read(WorkloadKind::Deployment, "orders", path, code, &status(code, reason)).await
        };
        assert_eq!(read(404, "NotFound").await, Err("it does not exist".to_owned()));
        assert_eq!(read(403, "Forbidden").await, Err("no (403)".to_owned()));
    }

    #[tokio::test]
    async fn a_text_that_is_not_a_name_never_becomes_part_of_a_request() {
        for name in ["", "../secrets/a", "a?watch=true", "A"] {
            let found = read(WorkloadKind::Deployment, name, "no request is sent", 200, &json!({})).await;
            assert_eq!(found, Err("no workload can have this name".to_owned()), "{name}");
        }
    }
}
