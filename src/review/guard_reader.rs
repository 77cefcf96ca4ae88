//! What guards look up live: whether a user has a right, and the documents of all postures.
//!
//! Changes to governance are rare, and no workload waits for these lookups.

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, PostParams};
use writgate_cluster::bounded_request::RequestLimiter;
use writgate_cluster::config_map::POSTURE_SELECTOR;
use writgate_cluster::pages::{FIRST_OBJECTS, Pages};
use writgate_core::{
    posture::{Document, PostureSet},
    request::User,
};

use crate::review::PATIENCE;
use crate::state::documents::Documents;

/// Requests at once. Anyone who reaches the webhook can cause them, so this bounds what that costs the API server.
const MAX_REQUESTS: usize = 16;
/// Lists of all documents at once. Each may take as much memory as the cached documents, if none of them is the same.
const MAX_LISTS: usize = 2;
/// The verb and the resource of the permission. The resource exists only in RBAC rules.
const VERB: &str = "govern";
const GROUP: &str = "writgate.dev";
const RESOURCE: &str = "namespaces";

/// Reads from the API server, with a bounded number of requests at once.
pub struct GuardReader {
    reviews: Api<SubjectAccessReview>,
    config_maps: Api<ConfigMap>,
    limiter: RequestLimiter,
    lists: RequestLimiter,
}

impl GuardReader {
    /// A reader through `client`, with the documents in `system_namespace`.
    #[must_use]
    pub fn new(client: Client, system_namespace: &str) -> Self {
        let reviews = Api::all(client.clone());
        let config_maps = Api::namespaced(client, system_namespace);
        let (limiter, lists) = (RequestLimiter::new(MAX_REQUESTS, PATIENCE), RequestLimiter::new(MAX_LISTS, PATIENCE));
        Self { reviews, config_maps, limiter, lists }
    }

    /// Whether RBAC grants `user` the verb `govern` on `namespaces.writgate.dev` of this name. The error says why that is not
    /// known.
    pub async fn may_govern(&self, user: &User<'_>, name: &str) -> Result<bool, String> {
        let extra = match user.extra.map(|extra| serde_json::from_str(extra.get())).transpose() {
            Ok(extra) => extra,
            Err(error) => return Err(format!("request.userInfo.extra: {error}")),
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.username.to_string()),
                uid: (!user.uid.is_empty()).then(|| user.uid.to_string()),
                groups: Some(user.groups.iter().map(|group| group.0.to_string()).collect()),
                extra,
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(VERB.to_owned()),
                    group: Some(GROUP.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some(RESOURCE.to_owned()),
                    name: Some(name.to_owned()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let review = self.send(self.reviews.create(&PostParams::default(), &review)).await?;
        let status = review.status.ok_or("the SubjectAccessReview has no status")?;
        // If an authorizer failed, a "no" may be wrong, so it is an error. A "yes" counts unless `denied` is set as well.
        match status.evaluation_error.filter(|error| !status.allowed && !error.is_empty()) {
            Some(error) => Err(error),
            None => Ok(status.allowed && !status.denied.unwrap_or(false)),
        }
    }

    /// The posture documents as they are now, within the same bound as the cached ones. Documents that `postures` have read
    /// already are shared with them.
    pub async fn documents(&self, postures: &PostureSet) -> Result<Vec<Arc<Document>>, String> {
        let list = async {
            let mut documents = Documents::default();
            let mut pages = Pages::of(&self.config_maps, POSTURE_SELECTOR, FIRST_OBJECTS);
            while let Some(page) = pages.next().await? {
                for object in &page.items {
                    documents.insert(object, postures);
                }
            }
            Ok(documents.iter().cloned().collect())
        };
        self.lists.send(list).await.map_err(|error| error.to_string())
    }

    async fn send<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
        self.limiter.send(request).await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    //! With responses that a real API server cannot be made to send.

    use std::convert::Infallible;

    use axum::body::Body;
    use axum::http::{self, Response};
    use serde_json::{Value, json};
    use tower::service_fn;
    use writgate_core::request::Request;

    use super::*;

    /// A reader of an API server whose every response is `status` with `body`.
    fn reader(status: u16, body: &Value) -> GuardReader {
        let body = body.to_string();
        let service = service_fn(move |_: http::Request<kube::client::Body>| {
            let response = Response::builder().status(status).body(Body::from(body.clone())).expect("a response");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        GuardReader::new(Client::new(service, "default"), "writgate-system")
    }

    async fn may_govern(reader: &GuardReader, extra: &str) -> Result<bool, String> {
        let body = format!(
            r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {{"uid": "u",
                "operation": "CREATE", "name": "payments", "kind": {{"group": "", "version": "v1", "kind": "Namespace"}},
                "resource": {{"group": "", "version": "v1", "resource": "namespaces"}},
                "userInfo": {{"username": "alice", "extra": {extra}}},
                "object": {{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "payments"}}}}}}}}"#
        );
        let request = Request::parse(body.as_bytes()).expect("a review");
        reader.may_govern(&request.user, "payments").await
    }

    async fn documents(reader: &GuardReader) -> Result<Vec<Arc<Document>>, String> {
        reader.documents(&PostureSet::assemble(Vec::new())).await
    }

    fn answer(status: &Value) -> GuardReader {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {},
            "status": status});
        reader(201, &review)
    }

    #[tokio::test]
    async fn only_an_unqualified_yes_permits() {
        assert_eq!(may_govern(&answer(&json!({"allowed": true})), "{}").await, Ok(true));
        assert_eq!(may_govern(&answer(&json!({"allowed": false})), "{}").await, Ok(false));
        assert_eq!(may_govern(&answer(&json!({"allowed": true, "denied": true})), "{}").await, Ok(false));
    }

    #[tokio::test]
    async fn a_response_without_an_answer_is_an_error() {
        assert!(may_govern(&answer(&Value::Null), "{}").await.is_err(), "no status");
        let doubtful = json!({"allowed": false, "evaluationError": "a webhook authorizer is down"});
        assert!(may_govern(&answer(&doubtful), "{}").await.is_err_and(|why| why.contains("is down")));
        for (code, reason) in [(403, "Forbidden"), (429, "TooManyRequests"), (500, "InternalError")] {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": reason, "message": "no"});
            assert_eq!(may_govern(&reader(code, &status), "{}").await, Err(format!("no ({code})")));
            assert!(documents(&reader(code, &status)).await.is_err());
        }
        assert!(may_govern(&reader(200, &json!("no review")), "{}").await.is_err());
        assert!(may_govern(&answer(&json!({"allowed": true})), "[1]").await.is_err(), "invalid extra");
    }

    #[tokio::test]
    async fn the_documents_of_every_page_are_read_within_the_bound_of_the_cached_ones() {
        // Each page is one ConfigMap with 1 MiB. Only a posture may follow the 31st.
        let service = service_fn(|request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default();
            let token = query.split('&').find_map(|pair| pair.strip_prefix("continue="));
            let number: usize = token.map_or(0, |token| token.parse().expect("a number"));
            let (kind, text) = if number < 35 {
                ("pipelines", format!("apiVersion: writgate.dev/v1\nkind: Pipelines\n#{}", "x".repeat(1 << 20)))
            } else {
                ("posture", "apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: production\n".to_owned())
            };
            let object = json!({"data": {format!("{kind}.yaml"): text}, "metadata": {"name": format!("c{number:02}"),
                "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}}});
            let token = if number == 35 { String::new() } else { (number + 1).to_string() };
            let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"continue": token},
                "items": [object]});
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(list.to_string()))))
        });
        let reader = GuardReader::new(Client::new(service, "default"), "writgate-system");
        let documents = documents(&reader).await.expect("documents");
        let left_out = documents.iter().filter(|document| document.is_left_out()).count();
        assert_eq!((documents.len(), left_out), (36, 4));
        let postures = PostureSet::assemble(Vec::new()).reassemble(documents);
        assert!(postures.environment("production").is_ok());
        // A second list shares what is known.
        let again = reader.documents(&postures).await.expect("documents");
        let known: Vec<_> = postures.documents().collect();
        assert!(
            again
                .iter()
                .all(|document| known.iter().any(|known| Arc::ptr_eq(known, document)) || document.is_left_out())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_api_server_is_an_error_after_the_deadline() {
        let service = service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let reader = GuardReader::new(Client::new(service, "default"), "writgate-system");
        assert!(may_govern(&reader, "{}").await.is_err_and(|why| why.contains("did not answer")));
        assert!(documents(&reader).await.is_err());
    }
}
