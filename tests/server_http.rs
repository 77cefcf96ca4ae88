//! The webhook's HTTP contract, on the router in process: what is answered to a review, and to what is none.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;
use writgate::admin::{self, Status};
use writgate::admission::{self, Admission};
use writgate::metrics::Metrics;
use writgate::output::Output;
use writgate::store::Store;
use writgate_core::{Document, ExemptControllers};

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
environment: trial
enforcement: warn
actions:
  deploy: {approval: required, capabilities: [deploy]}
";

/// Standard output of a webhook under test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while writing").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A webhook without a socket, whose namespaces are named after their environments.
struct Webhook {
    routes: Router,
    admin: Router,
    status: Arc<Status>,
    lines: Lines,
}

impl Webhook {
    fn new() -> Self {
        let store = Store::default();
        let namespaces = ["production", "staging", "trial", "nowhere"].map(|environment| {
            let labels = json!({"writgate.dev/environment": environment, "writgate.dev/project": "payments"});
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": environment, "labels": labels}})
                .to_string()
        });
        let texts = namespaces.into_iter().chain([POSTURE.to_owned()]);
        let document = |(index, text)| Document { source: format!("document {index}"), name: None, text };
        store.replace(texts.enumerate().map(document).collect(), Instant::now());
        Self::over(store, Lines::default())
    }

    fn over(store: Store, lines: Lines) -> Self {
        let (store, metrics) = (Arc::new(store), Metrics::default());
        metrics.certificate_expiry.set(i64::MAX);
        let status = Arc::new(Status::new(store.clone(), metrics.clone()));
        let output = Output::start(lines.clone(), metrics.clone()).expect("a thread");
        let admission = Admission::new(store, None, ExemptControllers::default(), output, None, metrics);
        let routes = admission::router(admission, status.clone());
        Self { routes, admin: admin::router(status.clone()), status, lines }
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

    fn records(&self) -> Vec<Value> {
        let lines = self.lines.0.lock().expect("no test panics while writing").clone();
        String::from_utf8(lines).expect("UTF-8").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
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
    assert_eq!((&annotations["environment"], &annotations["project"]), (&json!("production"), &json!("payments")));
    assert_eq!(response.get("warnings"), None);
}

#[tokio::test]
async fn response_record_and_metric_tell_one_decision() {
    let webhook = Webhook::new();
    let denied = webhook.review(&review("production")).await;
    let admitted = webhook.review(&review("staging")).await;
    let records = webhook.records();
    for (response, record) in [(&denied, &records[0]), (&admitted, &records[1])] {
        let annotations = &response["auditAnnotations"];
        assert_eq!(annotations["decision-id"], record["id"]);
        assert_eq!(annotations["decision"], record["decision"]);
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
async fn under_warn_the_user_reads_what_would_have_been_denied() {
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
async fn what_is_not_an_action_is_counted_and_leaves_no_record() {
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
async fn an_oversize_body_is_refused_before_it_is_parsed() {
    let webhook = Webhook::new();
    let at_limit = review("production").to_string();
    let at_limit = format!("{at_limit}{}", " ".repeat((8 << 20) - at_limit.len()));
    assert_eq!(webhook.post(at_limit.clone()).await.status, StatusCode::OK);
    let answer = webhook.post(format!("{at_limit} ")).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.body.contains("8 MiB"), "{}", answer.body);
    let declared = Request::post("/validate").header(header::CONTENT_TYPE, "application/json");
    let declared = declared.header(header::CONTENT_LENGTH, (8 << 20) + 1).body(Body::empty()).expect("a request");
    assert_eq!(webhook.send(declared).await.status, StatusCode::PAYLOAD_TOO_LARGE);
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
async fn before_the_postures_are_read_nothing_is_ready_and_all_is_denied() {
    let webhook = Webhook::over(Store::default(), Lines::default());
    let ready = webhook.page("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.body.contains("postures not listed yet"), "{}", ready.body);
    assert_eq!(webhook.page("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn while_draining_reviews_are_answered_and_clients_sent_elsewhere() {
    let webhook = Webhook::new();
    assert_eq!(webhook.page("/readyz").await.status, StatusCode::OK);
    assert_eq!(webhook.post(review("staging").to_string()).await.connection, None);
    webhook.status.drain();
    assert_eq!(webhook.page("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = webhook.post(review("staging").to_string()).await;
    assert_eq!((answer.status, answer.connection.as_deref()), (StatusCode::OK, Some("close")));
}

#[tokio::test]
async fn what_a_terminal_would_obey_never_reaches_one() {
    let mut hostile = review("production");
    hostile["request"]["object"]["metadata"]["annotations"] =
        json!({"writgate.dev/approval": "\u{1b}[2J\u{202e}{\"payloadType\":\"\u{1b}[31m\"}"});
    let response = Webhook::new().review(&hostile).await.to_string();
    assert!(!response.contains(['\u{1b}', '\u{202e}']) && !response.contains("\\u001b"), "{response}");
}
