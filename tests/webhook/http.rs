//! The webhook's HTTP contract, tested on the router in process: the response to a review and to any other request.
//!
//! The file is longer than 500 lines: one short test for each answer, all through the same router.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, Response, StatusCode, header};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{ServiceExt as _, service_fn};
use writgate::http::admin::{self, Status};
use writgate::http::router;
use writgate::metrics::Metrics;
use writgate::review::admission::Admission;
use writgate::review::lookups::Lookups;
use writgate::review::namespace_reader::NamespaceReader;
use writgate::state::store::Store;
use writgate::trail::chain::Sealer;
use writgate::trail::chain::seals::Seals;
use writgate::trail::output::{Output, Stream};
use writgate_cluster::key_file::PrivateKey;
use writgate_core::{approval::PublicKey, posture::Document, record::ChainVerifier};

const POSTURE: &str = "
apiVersion: writgate.dev/v1
kind: Posture
environment: production
actions:
  deploy: {approval: required, capabilities: [deploy]}
---
apiVersion: writgate.dev/v1
kind: Posture
environment: staging
actions:
  deploy: {approval: none}
---
apiVersion: writgate.dev/v1
kind: Posture
environment: durable
actions:
  deploy: {approval: none}
audit: {durability: required}
---
apiVersion: writgate.dev/v1
kind: Posture
environment: trial
enforcement: warn
actions:
  deploy: {approval: required, capabilities: [deploy]}
";

/// Standard output of a webhook under test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>, Arc<(Mutex<bool>, Condvar)>);

impl Lines {
    /// Stops reading.
    fn block(&self) {
        *self.1.0.lock().expect("no panic") = true;
    }

    fn unblock(&self) {
        *self.1.0.lock().expect("no panic") = false;
        self.1.1.notify_all();
    }
}

impl Stream for Lines {
    fn is_ready(&self, wait: bool) -> bool {
        let mut blocked = self.1.0.lock().expect("no panic");
        while wait && *blocked {
            blocked = self.1.1.wait(blocked).expect("no panic");
        }
        !*blocked
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().expect("no test panics while writing").extend_from_slice(bytes);
        Ok(())
    }
}

/// A webhook without a socket, whose namespaces are named after their environments.
struct Webhook {
    routes: Router,
    admin: Router,
    status: Arc<Status>,
    lines: Lines,
    key: PublicKey,
    seals: Seals,
}

impl Webhook {
    fn new() -> Self {
        Self::over(store(), Lines::default())
    }

    fn over(store: Store, lines: Lines) -> Self {
        Self::with(store, lines, None)
    }

    /// A webhook that reads namespaces from `cluster`.
    fn with(store: Store, lines: Lines, cluster: Option<Client>) -> Self {
        let (store, metrics) = (Arc::new(store), Metrics::default());
        let status = Arc::new(Status::new(store.clone(), metrics.clone()));
        let output = Output::start(lines.clone(), metrics.clone()).expect("a thread");
        let reader = cluster.map(|client| NamespaceReader::new(client, metrics.clone()));
        let key = PrivateKey::generate().expect("randomness");
        let public = PublicKey::from_pem(&key.public_pem()).expect("a key");
        let sealer = Sealer::new(key, Vec::new(), metrics.clone());
        let seals = Seals::start(sealer.clone(), output.clone());
        let admission = Admission::new(store, Lookups::new(reader), sealer, output, None, metrics);
        let routes = router::router(admission, status.clone());
        Self { routes, admin: admin::router(status.clone()), status, lines, key: public, seals }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        answer(&self.routes, request).await
    }

    async fn post(&self, body: impl Into<Body>) -> Answer {
        let request = Request::post("/validate?timeout=5s").header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).expect("a request")).await
    }

    /// The `response` of the answer to a review.
    async fn review(&self, review: &Value) -> Value {
        let answer = self.post(review.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let review: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(
            (&review["apiVersion"], &review["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        review["response"].clone()
    }

    async fn page(&self, path: &str) -> Answer {
        answer(&self.admin, Request::get(path).body(Body::empty()).expect("a request")).await
    }

    /// Everything that was written to standard output.
    fn text(&self) -> String {
        let lines = self.lines.0.lock().expect("no test panics while writing").clone();
        String::from_utf8(lines).expect("UTF-8")
    }

    /// The records on standard output, without the lines that start and seal their chain.
    fn records(&self) -> Vec<Value> {
        let lines = self.text();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["version"] == "writgate.dev/decision/v1").collect()
    }
}

struct Answer {
    status: StatusCode,
    connection: Option<String>,
    allow: Option<String>,
    body: String,
}

async fn answer(routes: &Router, request: Request<Body>) -> Answer {
    let response = routes.clone().oneshot(request).await.expect("never fails");
    let header = |name| response.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned());
    let (status, connection, allow) = (response.status(), header(header::CONNECTION), header(header::ALLOW));
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    Answer { status, connection, allow, body: String::from_utf8(body.to_vec()).expect("UTF-8") }
}

/// The postures above, and for each environment and `nowhere` a namespace of that name.
fn store() -> Store {
    let namespaces = ["production", "staging", "trial", "durable", "nowhere"].map(|environment| {
        let labels = json!({"writgate.dev/environment": environment, "writgate.dev/project": "payments"});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": environment, "labels": labels}})
            .to_string()
    });
    let texts = namespaces.into_iter().chain([POSTURE.to_owned()]);
    let document = |(index, text)| Document { source: format!("document {index}"), name: None, text };
    let store = Store::default();
    store.replace(texts.enumerate().map(document).collect(), Instant::now());
    store
}

/// The creation of a Deployment in `namespace` by alice.
fn review(namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0b5c1d1e-0000-4000-8000-000000000001", "operation": "CREATE",
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "namespace": namespace, "name": "orders", "userInfo": {"username": "alice", "groups": ["dev"]},
            "object": {
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "orders", "namespace": namespace, "uid": "u-1", "generation": 1},
                "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
            },
            "oldObject": null, "dryRun": false, "options": null
        }
    })
}

#[tokio::test]
async fn a_denial_is_a_403_that_says_what_and_why() {
    let webhook = Webhook::new();
    let response = webhook.review(&review("production")).await;
    assert_eq!(response["uid"], "0b5c1d1e-0000-4000-8000-000000000001");
    assert_eq!(response["allowed"], false);
    let status = &response["status"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
    assert_eq!(status["details"]["causes"][0]["reason"], "ApprovalRequired");
    let message = status["message"].as_str().expect("a message");
    assert!(message.contains("ApprovalRequired") && message.contains("spec hash: sha256:"), "{message}");
    assert!(message.lines().count() <= 6, "{message}");
    let annotations = &response["auditAnnotations"];
    assert_eq!(annotations["decision"], "denied");
    assert_eq!(annotations["reasons"], "ApprovalRequired");
    assert_eq!(annotations["required-capabilities"], "deploy");
    assert_eq!(annotations["approval-required"], "true");
    assert_eq!((&annotations["environment"], &annotations["project"]), (&json!("production"), &json!("payments")));
    assert_eq!(response.get("warnings"), None);
}

#[tokio::test]
async fn response_record_and_metric_agree_on_the_decision() {
    let webhook = Webhook::new();
    let denied = webhook.review(&review("production")).await;
    let admitted = webhook.review(&review("staging")).await;
    let records = webhook.records();
    for (response, record) in [(&denied, &records[0]), (&admitted, &records[1])] {
        let annotations = &response["auditAnnotations"];
        assert_eq!(annotations["decision-id"], record["id"]);
        assert_eq!(annotations["decision"], record["decision"]);
        assert_eq!((&annotations["dry-run"], &record["dryRun"]), (&json!("false"), &json!(false)));
        assert_eq!(annotations["spec-hash"], record["specHash"]);
        assert_eq!(annotations["posture-version"], record["postureVersion"]);
        assert_eq!(record["version"], "writgate.dev/decision/v1");
        assert_eq!(record["initiator"]["username"], "alice");
    }
    let metrics = webhook.page("/metrics").await.body;
    for line in [
        "writgate_admission_requests_total{environment=\"production\",kind=\"Deployment\",operation=\"CREATE\",\
         action=\"deploy\",decision=\"denied\",reason=\"ApprovalRequired\",enforcement=\"enforce\",dry_run=\"false\"} 1",
        "writgate_admission_requests_total{environment=\"staging\",kind=\"Deployment\",operation=\"CREATE\",\
         action=\"deploy\",decision=\"admitted\",reason=\"\",enforcement=\"enforce\",dry_run=\"false\"} 1",
        "writgate_admission_duration_seconds_count 2",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
}

#[tokio::test]
async fn under_warn_the_response_warns_of_the_denial() {
    let response = Webhook::new().review(&review("trial")).await;
    assert_eq!((&response["allowed"], response.get("status")), (&json!(true), None));
    let warnings: Vec<_> =
        response["warnings"].as_array().expect("warnings").iter().map(|w| w.as_str().expect("text")).collect();
    assert!(warnings.iter().any(|warning| warning.contains("ApprovalRequired")), "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.len() <= 120), "{warnings:?}");
    assert_eq!(response["auditAnnotations"]["decision"], "admitted");
    assert_eq!(response["auditAnnotations"]["reasons"], "ApprovalRequired");
}

#[tokio::test]
async fn a_request_that_is_not_an_action_is_counted_and_leaves_no_record() {
    let webhook = Webhook::new();
    let mut delete = review("production");
    delete["request"]["operation"] = "DELETE".into();
    delete["request"]["oldObject"] = delete["request"]["object"].take();
    let response = webhook.review(&delete).await;
    assert_eq!(
        (&response["allowed"], &response["auditAnnotations"]["decision"]),
        (&json!(true), &json!("not-an-action"))
    );
    assert_eq!(webhook.records(), Vec::<Value>::new());
    assert!(webhook.page("/metrics").await.body.contains("decision=\"not-an-action\""));
}

#[tokio::test]
async fn a_malformed_review_is_denied_with_its_uid() {
    let webhook = Webhook::new();
    let mut wrong = review("production");
    wrong["request"]["operation"] = "PATCH".into();
    let response = webhook.review(&wrong).await;
    assert_eq!(response["uid"], "0b5c1d1e-0000-4000-8000-000000000001");
    assert_eq!(response["status"]["details"]["causes"][0]["reason"], "MalformedReview");
}

#[tokio::test]
async fn a_body_without_a_uid_to_echo_is_a_bad_request() {
    let webhook = Webhook::new();
    for body in ["", "{", "null", "[]", "{}", "\u{0}", "{\"request\":{\"uid\":\"\"}}"] {
        let answer = webhook.post(body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:?}");
        assert!(answer.body.contains("MalformedReview"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_compressed_body_is_a_bad_request() {
    let webhook = Webhook::new();
    let gzip_of_nothing = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let request = Request::post("/validate")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip");
    let answer = webhook.send(request.body(Body::from(gzip_of_nothing.to_vec())).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("not UTF-8"), "{}", answer.body);
}

#[tokio::test]
async fn records_are_sealed_without_a_cluster() {
    let webhook = Webhook::new();
    for namespace in ["production", "staging", "nowhere"] {
        webhook.review(&review(namespace)).await;
    }
    assert!(
        webhook.records().iter().all(|record| record["signature"].is_null()),
        "a record has no signature of its own"
    );
    let Webhook { lines, key, seals, .. } = webhook;
    seals.finish().await;
    let lines = lines.0.lock().expect("no panic").clone();
    let mut verifier = ChainVerifier::new([key]);
    String::from_utf8(lines).expect("UTF-8").lines().for_each(|line| drop(verifier.add(line)));
    let report = verifier.finish();
    assert!(report.is_clean() && report.chains[0].links == 4, "{report:#?}");
    assert_eq!(report.chains[0].sealed, Some(3));
}

#[tokio::test]
async fn without_a_ledger_an_admission_that_must_be_stored_is_denied() {
    let webhook = Webhook::new();
    let response = webhook.review(&review("durable")).await;
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["auditAnnotations"]["reasons"], "NotRecorded");
    let message = response["status"]["message"].as_str().expect("a message");
    assert!(message.contains("this webhook has no cluster"), "{message}");
    let records = webhook.records();
    assert_eq!((records[0]["decision"].as_str(), records[1]["decision"].as_str()), (Some("admitted"), Some("denied")));
    assert_eq!(response["auditAnnotations"]["decision-id"], records[1]["id"], "the answer is the second decision's");
    let mut tried = review("durable");
    tried["request"]["dryRun"] = true.into();
    assert_eq!(webhook.review(&tried).await["allowed"], true);
}

#[tokio::test]
async fn an_oversize_body_is_refused_before_it_is_parsed() {
    let webhook = Webhook::new();
    let at_limit = review("production").to_string();
    let at_limit = format!("{at_limit}{}", " ".repeat((7 << 20) - at_limit.len()));
    assert_eq!(webhook.post(at_limit.clone()).await.status, StatusCode::OK);
    let answer = webhook.post(format!("{at_limit} ")).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.body.contains("7 MiB"), "{}", answer.body);
    let chunks = std::iter::repeat_n(Ok::<_, Infallible>(vec![b' '; 1 << 20]), 9);
    assert_eq!(
        webhook.post(Body::from_stream(futures::stream::iter(chunks))).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(webhook.records().len(), 1);
}

#[tokio::test]
async fn another_content_type_method_or_path_is_refused() {
    let webhook = Webhook::new();
    let body = || Body::from(review("production").to_string());
    for content_type in ["text/plain", "application/json-patch+json", "application/yaml", ""] {
        let request =
            Request::post("/validate").header(header::CONTENT_TYPE, content_type).body(body()).expect("a request");
        assert_eq!(webhook.send(request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
    }
    let json = Request::post("/validate").header(header::CONTENT_TYPE, "Application/JSON; charset=utf-8");
    assert_eq!(webhook.send(json.body(body()).expect("a request")).await.status, StatusCode::OK);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(method).uri("/validate").body(body()).expect("a request");
        let answer = webhook.send(request).await;
        assert_eq!((answer.status, answer.allow.as_deref()), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    }
    for path in ["/", "//validate", "/validate/", "/%76alidate", "/metrics"] {
        let request =
            Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body()).expect("a request");
        assert_eq!(webhook.send(request).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_governed_namespace_without_a_posture_is_denied_and_its_environment_is_no_label() {
    let webhook = Webhook::new();
    let response = webhook.review(&review("nowhere")).await;
    assert_eq!(response["status"]["details"]["causes"][0]["reason"], "PostureMissing");
    let metrics = webhook.page("/metrics").await.body;
    assert!(metrics.contains("environment=\"other\"") && !metrics.contains("nowhere"), "{metrics}");
}

#[tokio::test]
async fn the_webhook_is_not_ready_before_the_postures_are_read() {
    let webhook = Webhook::over(Store::default(), Lines::default());
    let ready = webhook.page("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.body.contains("postures not listed yet"), "{}", ready.body);
    assert_eq!(webhook.page("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_log_filter_is_only_for_clients_on_loopback() {
    let webhook = Webhook::new();
    for method in [Method::GET, Method::PUT] {
        let ask = |peer: Option<[u8; 4]>| {
            let mut request = Request::builder().method(method.clone()).uri("/log").body(Body::from("debug"));
            if let (Ok(request), Some(peer)) = (&mut request, peer) {
                request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 4711))));
            }
            answer(&webhook.admin, request.expect("a request"))
        };
        assert_eq!(ask(Some([10, 0, 0, 7])).await.status, StatusCode::FORBIDDEN, "{method}");
        assert_eq!(ask(None).await.status, StatusCode::FORBIDDEN, "{method}");
        // This webhook has no log.
        assert_eq!(ask(Some([127, 0, 0, 1])).await.status, StatusCode::NOT_FOUND, "{method}");
    }
}

#[tokio::test]
async fn metrics_say_which_postures_are_valid() {
    let metrics = Webhook::new().page("/metrics").await.body;
    let series: Vec<_> = metrics.lines().filter(|line| line.starts_with("writgate_posture_valid{")).collect();
    let expected = [("durable", 1), ("production", 1), ("staging", 1), ("trial", 1)];
    assert_eq!(series.len(), expected.len(), "{series:?}");
    for (environment, valid) in expected {
        let line = format!("writgate_posture_valid{{environment=\"{environment}\"}} {valid}");
        assert!(series.contains(&&*line), "{line} in {series:?}");
    }
    // The namespace `nowhere` has no posture. Whoever labels a namespace must not make up values of a label.
    assert!(metrics.contains("\nwritgate_environments_without_posture 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_draining_webhook_answers_reviews_and_closes_connections() {
    let webhook = Webhook::new();
    assert_eq!(webhook.page("/readyz").await.status, StatusCode::OK);
    assert_eq!(webhook.post(review("staging").to_string()).await.connection, None);
    webhook.status.drain();
    assert_eq!(webhook.page("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = webhook.post(review("staging").to_string()).await;
    assert_eq!((answer.status, answer.connection.as_deref()), (StatusCode::OK, Some("close")));
}

#[tokio::test]
async fn terminal_sequences_in_a_request_never_reach_the_response() {
    let mut hostile = review("production");
    hostile["request"]["object"]["metadata"]["annotations"] =
        json!({"writgate.dev/approval": "\u{1b}[2J\u{202e}{\"payloadType\":\"\u{1b}[31m\"}"});
    let response = Webhook::new().review(&hostile).await.to_string();
    assert!(!response.contains(['\u{1b}', '\u{202e}']) && !response.contains("\\u001b"), "{response}");
}

/// A cluster whose answer to every question is `status` with `body`.
fn cluster(status: u16, body: &Value) -> Client {
    let body = body.to_string();
    let service = service_fn(move |request: Request<kube::client::Body>| {
        assert_eq!(request.uri().path(), "/api/v1/namespaces/new");
        let response = Response::builder().status(status).body(Body::from(body.clone())).expect("a response");
        std::future::ready(Ok::<_, Infallible>(response))
    });
    Client::new(service, "default")
}

fn namespace(labels: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "new", "labels": labels}})
}

fn first_cause(response: &Value) -> &str {
    response["status"]["details"]["causes"][0]["reason"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_namespace_that_is_not_cached_is_read_before_the_decision() {
    let labels = json!({"writgate.dev/environment": "production", "writgate.dev/project": "payments"});
    let webhook = Webhook::with(store(), Lines::default(), Some(cluster(200, &namespace(&labels))));
    assert_eq!(first_cause(&webhook.review(&review("new")).await), "ApprovalRequired");
    // The cache is asked first for those that it knows to be governed.
    assert_eq!(first_cause(&webhook.review(&review("production")).await), "ApprovalRequired");
    assert!(webhook.page("/metrics").await.body.contains("writgate_namespace_reads_total 1"));
    let ungoverned = Webhook::with(store(), Lines::default(), Some(cluster(200, &namespace(&json!({})))));
    assert_eq!(ungoverned.review(&review("new")).await["auditAnnotations"]["decision"], "not-an-action");
}

#[tokio::test]
async fn denies_in_a_namespace_that_cannot_be_read() {
    for (code, reason, says) in [
        (404, "NotFound", "does not exist"),
        (403, "Forbidden", "could not be read: no (403)"),
        (500, "InternalError", "could not be read: no (500)"),
    ] {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": "no"});
        let webhook = Webhook::with(store(), Lines::default(), Some(cluster(code, &status)));
        let response = webhook.review(&review("new")).await;
        assert_eq!(first_cause(&response), "LookupFailed", "{response}");
        assert!(response["status"]["message"].as_str().expect("a message").contains(says), "{response}");
    }
}

#[tokio::test]
async fn a_text_that_is_not_a_name_never_becomes_part_of_a_request() {
    let webhook = Webhook::with(store(), Lines::default(), Some(cluster(200, &namespace(&json!({})))));
    for name in ["new/../kube-system", "new?watch=true", "New", "new/pods"] {
        assert_eq!(first_cause(&webhook.review(&review(name)).await), "LookupFailed", "{name}");
    }
}

#[tokio::test]
async fn denies_if_the_state_is_stale() {
    let Some(past) = Instant::now().checked_sub(writgate::state::store::STALE_AFTER) else { return };
    let stale = Store::default();
    let documents = vec![
        Document { source: "a".into(), name: None, text: POSTURE.into() },
        Document { source: "b".into(), name: None, text: "{apiVersion: v1, kind: Namespace, metadata: {name: staging, labels: {writgate.dev/environment: staging, writgate.dev/project: p}}}".into() },
    ];
    stale.replace(documents, past);
    let webhook = Webhook::over(stale, Lines::default());
    let response = webhook.review(&review("staging")).await;
    assert_eq!(first_cause(&response), "LookupFailed");
    let message = response["status"]["message"].as_str().expect("a message");
    assert!(message.contains("cannot determine the posture: the webhook's state is too old to decide"), "{message}");
    assert!(message.contains("cannot reach the API server"), "{message}");
    assert!(
        !message.contains("PostureInvalid") && !message.contains("posture check"),
        "the posture may be valid: {message}"
    );
    assert_eq!(webhook.page("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn without_a_record_nothing_is_admitted_and_denials_are_still_sent() {
    let webhook = Webhook::new();
    webhook.lines.block();
    let (admission, denial) = (review("staging").to_string(), review("production").to_string());
    let (admission, denial) = tokio::join!(webhook.post(admission), webhook.post(denial));
    assert_eq!(admission.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(admission.body.contains("standard output is blocked"), "{}", admission.body);
    assert_eq!(denial.status, StatusCode::OK);
    let metrics = webhook.page("/metrics").await.body;
    assert!(metrics.contains("writgate_records_dropped_total 2"), "{metrics}");
    assert!(metrics.contains("writgate_admission_refusals_total{reason=\"unrecorded\"} 1"), "{metrics}");
    webhook.lines.unblock();
    assert_eq!(webhook.post(review("staging").to_string()).await.status, StatusCode::OK);
}

/// A review from `peer` with a body that is declared and never arrives.
fn endless(peer: u8, declared: usize) -> Request<Body> {
    let body = Body::from_stream(futures::stream::pending::<io::Result<Vec<u8>>>());
    let request = Request::post("/validate?timeout=30s").header(header::CONTENT_TYPE, "application/json");
    from(
        peer,
        request.header(header::CONTENT_LENGTH, declared).body(Body::new(Declared(body, declared))).expect("a request"),
    )
}

/// A body whose length is known before it arrives, as hyper makes it of a `Content-Length`.
struct Declared(Body, usize);

impl axum::body::HttpBody for Declared {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(context)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.1 as u64)
    }
}

fn from(peer: u8, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([10, 0, 0, peer], 4711))));
    request
}

fn whole(peer: u8, body: String) -> Request<Body> {
    let request = Request::post("/validate?timeout=5s").header(header::CONTENT_TYPE, "application/json");
    from(peer, request.body(body.into()).expect("a request"))
}

#[tokio::test]
async fn slow_bodies_take_neither_turns_nor_the_memory_of_other_peers() {
    let webhook = Webhook::new();
    let bodies = [60_000, 7_000_000].into_iter().flat_map(|declared| (0..600).map(move |_| endless(1, declared)));
    let attack: Vec<_> = bodies.map(|request| tokio::spawn(webhook.routes.clone().oneshot(request))).collect();
    tokio::task::yield_now().await;
    let usual = review("staging").to_string();
    let large = format!("{usual}{}", " ".repeat(3 << 20));
    for (peer, body) in [(1, usual.clone()), (2, usual), (2, large)] {
        let answer = webhook.send(whole(peer, body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    assert!(attack.iter().all(|request| !request.is_finished()), "the attack lasted until here");
    attack.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_larger_body_without_progress_is_refused_after_a_second() {
    let webhook = Webhook::new();
    let begun = Instant::now();
    let answer = webhook.send(endless(1, 7_000_000)).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert!(answer.body.contains("too slowly: 0 bytes"), "{}", answer.body);
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    let metrics = webhook.page("/metrics").await.body;
    assert!(metrics.contains("writgate_admission_refusals_total{reason=\"slow-body\"} 1"), "{metrics}");
}

#[tokio::test]
async fn requests_above_a_peers_share_wait_for_a_turn() {
    let never =
        service_fn(|_: Request<kube::client::Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let webhook = Webhook::with(store(), Lines::default(), Some(Client::new(never, "default")));
    let waiting = review("new").to_string();
    let send = |_| tokio::spawn(webhook.routes.clone().oneshot(whole(1, waiting.clone())));
    let crowd: Vec<_> = (0..600).map(send).collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let usual = review("staging").to_string();
    let hurried = Request::post("/validate?timeout=0.5s").header(header::CONTENT_TYPE, "application/json");
    let hurried = from(1, hurried.body(usual.clone().into()).expect("a request"));
    let patient = tokio::spawn(webhook.routes.clone().oneshot(whole(1, usual.clone())));
    let answer = webhook.send(hurried).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("too many requests"), "{}", answer.body);
    let other = webhook.send(whole(2, usual)).await;
    assert_eq!(other.status, StatusCode::OK, "{}", other.body);
    assert!(!patient.is_finished(), "it waits");
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    drop(futures::future::join_all(crowd).await);
    assert_eq!(patient.await.expect("it ends").expect("a response").status(), StatusCode::OK);
}

#[tokio::test]
async fn an_endless_body_is_refused_before_the_api_server_gives_up() {
    let endless = Body::from_stream(futures::stream::pending::<io::Result<Vec<u8>>>());
    let request = Request::post("/validate?timeout=1s").header(header::CONTENT_TYPE, "application/json");
    let begun = Instant::now();
    let answer = Webhook::new().send(request.body(endless).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
}
