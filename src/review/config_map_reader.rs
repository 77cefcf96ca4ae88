//! The ConfigMaps that a workload refers to, read live.
//!
//! They are read only if a posture requires config bundles, and only for a request that no other check denies.

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use writgate_cluster::bounded_request::RequestLimiter;
use writgate_cluster::config_map::content;
use writgate_cluster::names;
use writgate_core::kube::ConfigMapContent;

use crate::review::PATIENCE;

/// Requests at once, for all reviews. This bounds what callers cost the API server, and the responses to 16 MiB.
const MAX_REQUESTS: usize = 16;

/// What is known of a ConfigMap: its content, that there is none of the name, or why nobody can tell.
pub type ConfigMapAnswer = Result<Option<ConfigMapContent>, String>;

/// Reads ConfigMaps, a bounded number at once.
pub struct ConfigMapReader {
    client: Client,
    limiter: RequestLimiter,
}

impl ConfigMapReader {
    /// A reader through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, limiter: RequestLimiter::new(MAX_REQUESTS, PATIENCE) }
    }

    /// The ConfigMaps with these names as they are now, in the same order.
    pub async fn read(&self, namespace: &str, names: &[String]) -> Vec<ConfigMapAnswer> {
        let config_maps = Api::namespaced(self.client.clone(), namespace);
        join_all(names.iter().map(|name| self.read_one(&config_maps, namespace, name))).await
    }

    async fn read_one(&self, config_maps: &Api<ConfigMap>, namespace: &str, name: &str) -> ConfigMapAnswer {
        if !names::is_label(namespace) || !names::is_subdomain(name) {
            return Ok(None);
        }
        let found = self.limiter.send(config_maps.get_opt(name)).await.map_err(|error| error.to_string())?;
        found.as_ref().map(content).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use axum::http::{Request, Response};
    use serde_json::{Value, json};
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;

    /// A reader for which every ConfigMap is `status` with `body`, and the number of its requests.
    fn reader(status: u16, body: &Value) -> (ConfigMapReader, Arc<AtomicUsize>) {
        let (body, requests) = (body.to_string(), Arc::new(AtomicUsize::new(0)));
        let counted = requests.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            assert!(request.uri().path().starts_with("/api/v1/namespaces/payments/configmaps/"));
            counted.fetch_add(1, Ordering::Relaxed);
            let response = Response::builder().status(status).body(Body::from(body.clone())).expect("a response");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        (ConfigMapReader::new(Client::new(service, "default")), requests)
    }

    async fn only(reader: &ConfigMapReader, name: &str) -> ConfigMapAnswer {
        reader.read("payments", &[name.to_owned()]).await.pop().expect("an answer")
    }

    #[tokio::test]
    async fn a_config_map_is_read_whole() {
        let found = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
            "metadata": {"name": "a", "labels": {"b": "c"}}, "data": {"d": "e"}, "binaryData": {"f": "AAEC"}});
        let (reader, _) = reader(200, &found);
        let content = only(&reader, "a").await.expect("an answer").expect("it is there");
        assert_eq!(Ok(content), ConfigMapContent::of(&found));
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_does_not_count_as_absent() {
        let status = |code: u16, reason: &str| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"});
        assert_eq!(only(&reader(404, &status(404, "NotFound")).0, "a").await, Ok(None));
        for (code, reason) in [(403, "Forbidden"), (500, "InternalError"), (429, "TooManyRequests")] {
            assert_eq!(only(&self::reader(code, &status(code, reason)).0, "a").await, Err(format!("no ({code})")));
        }
        assert!(only(&reader(200, &json!("no ConfigMap")).0, "a").await.is_err());
    }

    #[tokio::test]
    async fn a_text_that_is_not_a_name_never_becomes_part_of_a_request() {
        let (reader, requests) = reader(200, &json!({}));
        for name in ["", "../secrets/a", "a?watch=true", "A"] {
            assert_eq!(only(&reader, name).await, Ok(None), "{name}");
        }
        assert_eq!(requests.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn many_reads_share_the_time_of_one_and_few_run_at_once() {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let service = service_fn(move |_: Request<kube::client::Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let reader = ConfigMapReader::new(Client::new(service, "default"));
        let (begun, names) = (Instant::now(), (0..32).map(|number| format!("a{number}")).collect::<Vec<_>>());
        let read = reader.read("payments", &names).await;
        assert_eq!(read.len(), 32);
        assert!(read.iter().all(|read| read.as_ref().is_err_and(|why| why.contains("within 2s"))));
        assert!(begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
        assert_eq!(requests.load(Ordering::Relaxed), MAX_REQUESTS);
    }
}
