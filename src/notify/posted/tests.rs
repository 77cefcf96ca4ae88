//! With an API server in memory that has one request, and postures from documents.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{Request, Response};
use tokio::time::Instant;
use tower::service_fn;
use writgate_core::posture::Document;
use writgate_core::request::ExemptControllers;
use writgate_testing::{Key, detached, envelope, posted, request_file, seconds_from_now};

use super::*;
use crate::notify::inbox::Sighting as _;

/// A posture that requires two reviewers, in the governed namespace `payments`.
struct Case {
    store: Store,
    bob: Key,
    carol: Key,
    /// What is requested, and the request's ConfigMap.
    deployment: Value,
    request: Value,
}

impl Case {
    fn new(change: impl FnOnce(&mut Value)) -> Self {
        let (bob, carol) = (Key::new(), Key::new());
        let reviewer = |name: &str, key: &Key| json!({"name": name, "capabilities": ["deploy"], "keys": [{"publicKey": key.public_pem()}]});
        let documents = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments", "labels": {
                "writgate.dev/environment": "production", "writgate.dev/project": "payments"}}}),
            json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production",
                "actions": {"deploy": {"quorum": [{"count": 2}]}}, "reviewerSets": ["people"]}),
            json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "name": "people", "reviewers": [
                reviewer("bob@acme.example", &bob), reviewer("carol@acme.example", &carol)]}),
        ];
        let document = |value: &Value| Document { source: "test".to_owned(), name: None, text: value.to_string() };
        let store = Store::default();
        store.replace(documents.iter().map(document).collect(), Instant::now());
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "orders", "namespace": "payments"},
            "spec": {"selector": {"matchLabels": {"app": "orders"}}, "template": {
                "metadata": {"labels": {"app": "orders"}},
                "spec": {"containers": [{"name": "orders", "image": "ghcr.io/acme/orders:1.4.2"}]}}}});
        let mut file = request_file("payments", "alice@acme.example", "orders");
        file["workloads"][0]["object"] = deployment.clone();
        change(&mut file);
        Self { store, bob, carol, deployment, request: posted("payments", &file) }
    }

    fn reader(&self) -> PostedReader {
        let request = self.request.clone();
        let path =
            format!("/api/v1/namespaces/payments/configmaps/{}", request["metadata"]["name"].as_str().expect("a name"));
        let service = service_fn(move |asked: Request<kube::client::Body>| {
            let absent = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": "no"});
            let (status, body) = if asked.uri().path() == path { (200, &request) } else { (404, &absent) };
            let response = Response::builder().status(status).body(Body::from(body.to_string())).expect("a response");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let rules = Rules { exempt: ExemptControllers::default(), further: Vec::new(), detached_approvals: true };
        PostedReader::new(Client::new(service, "default"), rules)
    }

    async fn read(&self, object: &Value) -> Option<Notification> {
        let mut object = object.clone();
        object["metadata"]["creationTimestamp"] = seconds_from_now(0).into();
        let seen = SeenConfigMap::of(serde_json::from_value(object).expect("a ConfigMap")).expect("it is looked at");
        let reader = self.reader();
        let checked = reader.check(&seen, &self.store)?;
        reader.read(&seen, &checked, &self.store).await.expect("the API server answers")
    }

    /// Whether something would be read because of the object.
    fn is_read(&self, object: &Value) -> bool {
        let mut object = object.clone();
        object["metadata"]["creationTimestamp"] = seconds_from_now(0).into();
        let seen = SeenConfigMap::of(serde_json::from_value(object).expect("a ConfigMap"));
        seen.is_some_and(|seen| self.reader().check(&seen, &self.store).is_some())
    }

    /// The ConfigMap of a rejection of the request, signed with `key`.
    async fn rejection(&self, key: &Key, change: impl FnOnce(&mut Value)) -> Value {
        let requested = self.requested().await.cloud_event("/")["data"].clone();
        let hash = requested["workloads"][0]["specHash"].as_str().expect("a hash").replace("sha256:", "");
        let mut statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://writgate.dev/rejection/v1",
            "subject": [{"name": requested["workloads"][0]["subject"], "digest": {"sha256": hash}}],
            "predicate": {"projection": "v1", "request": requested["digest"], "reason": "not on a Friday",
                "rejectedBy": "whoever", "rejectedAt": seconds_from_now(0)}});
        change(&mut statement);
        let text = envelope(&statement, &[key]);
        let request = statement["predicate"]["request"].as_str().and_then(RequestDigest::parse).expect("a digest");
        json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "metadata": {"namespace": "payments",
            "name": request.rejection_name(&text), "labels": {"writgate.dev/kind": "rejection"}},
            "data": {"rejection.json": text}})
    }

    /// The notification of the request.
    async fn requested(&self) -> Notification {
        self.read(&self.request).await.expect("a notification")
    }

    /// The approval's ConfigMap, with the signatures of `keys`.
    async fn approval(&self, keys: &[&Key], change: impl FnOnce(&mut Value)) -> Value {
        let requested = self.requested().await.cloud_event("/")["data"].clone();
        let hash = requested["workloads"][0]["specHash"].as_str().expect("a hash").replace("sha256:", "");
        let mut statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://writgate.dev/approval/v1",
            "subject": [{"name": requested["workloads"][0]["subject"], "digest": {"sha256": hash}}],
            "predicate": {"id": "01935a00-0000-7000-8000-000000000001", "projection": "v1", "action": "deploy",
                "environment": "production", "project": "payments", "capabilities": ["deploy"],
                "requestedBy": "alice@acme.example", "notBefore": seconds_from_now(-60), "expiresAt": seconds_from_now(600)}});
        change(&mut statement);
        let name = self.request["metadata"]["name"].as_str().expect("a name");
        let mut object = detached("payments", &name.replace("request-", "approval-"), &envelope(&statement, keys));
        object["metadata"]["annotations"] = json!({"writgate.dev/request": name});
        object
    }
}

#[tokio::test]
async fn a_request_is_sent_with_what_was_computed_and_its_author_as_a_claim() {
    let case = Case::new(|_| {});
    let made = case.requested().await;
    let data = &made.cloud_event("/")["data"];
    assert_eq!((&data["action"], &data["quorum"]), (&json!("deploy"), &json!("2 reviewers")));
    assert_eq!(data["workloads"][0]["subject"], "apps/v1/Deployment/payments/orders");
    assert_ne!(data["workloads"][0]["specHash"], json!(format!("sha256:{}", "0".repeat(64))), "the claimed hash");
    assert_eq!(data["claims"], json!({"requestedBy": "alice@acme.example"}));
}

#[tokio::test]
async fn what_a_hostile_request_says_is_a_claim_and_escaped() {
    let hostile = "`</code> @channel <!here> [approved](https://evil.example)\u{202e}\nApproved by bob";
    let case = Case::new(|file| {
        file["requestedBy"] = hostile.into();
        file["reason"] = hostile.into();
        file["environment"] = "staging".into();
        file["action"] = "replay-dry-run".into();
        file["breakGlass"] = true.into();
        file["notNeeded"] = json!([hostile]);
    });
    let made = case.requested().await;
    let data = &made.cloud_event("/")["data"];
    assert_eq!((&data["environment"], &data["action"]), (&json!("production"), &json!("deploy")), "as computed");
    assert_eq!(data["claims"]["breakGlass"], "true");
    let text = made.message()["text"].as_str().expect("text").to_owned();
    assert!(!text.contains(['<', '\n', '\u{202e}']) && text.len() < 1000, "{text}");
    // The parts between backticks alternate with Writgate's own words.
    let own: String = text.split('`').step_by(2).collect();
    assert!(!own.contains("channel") && !own.contains("evil") && !own.contains("bob"), "{own}");
}

#[tokio::test]
async fn a_workload_that_cannot_be_checked_is_a_claim() {
    let other_name = Case::new(|file| file["workloads"][0]["object"]["metadata"]["name"] = "other".into());
    let no_spec = Case::new(|file| file["workloads"][0]["object"]["spec"] = Value::Null);
    for case in [other_name, no_spec] {
        let data = &case.requested().await.cloud_event("/")["data"];
        assert_eq!(data["claims"]["workloads"], "apps/v1/Deployment/payments/orders");
        assert!(data.get("workloads").is_none() && data.get("action").is_none(), "{data}");
    }
}

#[tokio::test]
async fn a_request_without_its_object_is_not_sent() {
    let without_object = Case::new(|file| drop(file["workloads"][0].as_object_mut().expect("one").remove("object")));
    assert_eq!(without_object.read(&without_object.request).await, None);
}

#[tokio::test]
async fn a_request_in_a_namespace_that_is_not_governed_is_not_sent() {
    let case = Case::new(|_| {});
    let mut file = request_file("other", "alice", "orders");
    file["workloads"][0]["object"] = case.deployment.clone();
    assert_eq!(case.read(&posted("other", &file)).await, None);
}

#[tokio::test]
async fn an_approval_is_sent_with_the_signatures_that_count_and_how_many_are_missing() {
    let case = Case::new(|_| {});
    let (bob, carol, stranger) = (&case.bob, &case.carol, Key::new());
    for (keys, signed, missing) in [
        (vec![bob], json!(["bob@acme.example"]), 1),
        (vec![bob, &stranger], json!(["bob@acme.example"]), 1),
        (vec![bob, carol], json!(["bob@acme.example", "carol@acme.example"]), 0),
    ] {
        let made = case.read(&case.approval(&keys, |_| {}).await).await.expect("a notification");
        let data = &made.cloud_event("/")["data"];
        assert_eq!((&data["signedBy"], &data["missing"]), (&signed, &json!(missing)));
    }
    assert_eq!(case.read(&case.approval(&[&stranger], |_| {}).await).await, None);
}

#[tokio::test]
async fn an_approval_with_one_thing_wrong_is_not_sent() {
    let case = Case::new(|_| {});
    let keys = [&case.bob, &case.carol];
    let changes: [fn(&mut Value); 4] = [
        |statement| statement["subject"][0]["digest"]["sha256"] = "1".repeat(64).into(),
        |statement| statement["predicate"]["environment"] = "staging".into(),
        |statement| statement["predicate"]["requestedBy"] = "mallory".into(),
        |statement| statement["predicate"]["expiresAt"] = seconds_from_now(-1).into(),
    ];
    for change in changes {
        assert_eq!(case.read(&case.approval(&keys, change).await).await, None);
    }
    let good = case.approval(&keys, |_| {}).await;
    let but = |pointer: &str, value: Value| {
        let mut object = good.clone();
        *object.pointer_mut(pointer).expect("a member") = value;
        object
    };
    assert_eq!(case.read(&but("/metadata/name", "approval-0".into())).await, None);
    assert_eq!(case.read(&but("/metadata/annotations", json!({}))).await, None);
    assert_eq!(case.read(&but("/metadata/annotations/writgate.dev~1request", "request-0".into())).await, None);
    assert!(case.read(&good).await.is_some());
}

#[tokio::test]
async fn a_workload_with_a_generated_name_is_computed() {
    let case = Case::new(|file| {
        let metadata = &mut file["workloads"][0]["object"]["metadata"];
        *metadata = json!({"generateName": "orders-", "namespace": "payments"});
        file["workloads"][0]["subject"] = "apps/v1/Deployment/payments/orders-*".into();
    });
    let data = &case.requested().await.cloud_event("/")["data"];
    assert_eq!(data["workloads"][0]["subject"], "apps/v1/Deployment/payments/orders-*");
}

#[tokio::test]
async fn a_generated_name_that_is_no_name_is_a_claim() {
    let long = "a".repeat(253);
    for prefix in ["Orders-", "<!here>-", "orders\n-", &*format!("{long}-")] {
        let case = Case::new(|file| {
            let metadata = &mut file["workloads"][0]["object"]["metadata"];
            *metadata = json!({"generateName": prefix, "namespace": "payments"});
            file["workloads"][0]["subject"] = format!("apps/v1/Deployment/payments/{prefix}*").into();
        });
        let data = &case.requested().await.cloud_event("/")["data"];
        assert!(data.get("workloads").is_none() && data["claims"]["workloads"].is_string(), "{data}");
    }
}

#[tokio::test]
async fn a_rejection_is_sent_with_the_owner_of_its_key() {
    let case = Case::new(|_| {});
    let made = case.read(&case.rejection(&case.bob, |_| {}).await).await.expect("a notification");
    let data = &made.cloud_event("/")["data"];
    assert_eq!((&data["rejectedBy"], &data["reason"]), (&json!("bob@acme.example"), &json!("not on a Friday")));
    let other = |statement: &mut Value| statement["subject"][0]["digest"]["sha256"] = "1".repeat(64).into();
    assert_eq!(case.read(&case.rejection(&case.bob, other).await).await, None, "another object");
}

#[tokio::test]
async fn nothing_is_read_and_nothing_counts_because_of_what_no_reviewer_signed() {
    let case = Case::new(|_| {});
    let (keys, stranger) = ([&case.bob], Key::new());
    assert!(case.is_read(&case.request));
    let mut renamed = case.request.clone();
    renamed["metadata"]["name"] = "request-0".into();
    assert!(!case.is_read(&renamed));

    let approval = case.approval(&keys, |_| {}).await;
    assert!(case.is_read(&approval));
    let mut other_name = approval.clone();
    other_name["metadata"]["name"] = "approval-0".into();
    assert!(!case.is_read(&other_name));
    assert!(!case.is_read(&case.approval(&[&stranger], |_| {}).await));

    let rejection = case.rejection(&case.bob, |_| {}).await;
    assert!(case.is_read(&rejection));
    let mut other_name = rejection.clone();
    other_name["metadata"]["name"] = format!("{}0", rejection["metadata"]["name"].as_str().expect("a name")).into();
    assert!(!case.is_read(&other_name));
    assert!(!case.is_read(&case.rejection(&stranger, |_| {}).await));
}
