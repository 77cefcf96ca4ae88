//! The sweep of posted requests: which ConfigMaps the holder of the Lease deletes, and what happens without the right to.

use super::{LIMIT, Value, Watched, json, value};
use writgate_core::approval::RequestDigest;
use writgate_testing::{Key, detached, envelope, posted, request_file, wait_until};

/// A rejection of the request in `request`.
fn rejection(namespace: &str, request: &Value) -> Value {
    let key = Key::new();
    let digest = RequestDigest::of(request["data"]["request.json"].as_str().expect("text"));
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://writgate.dev/rejection/v1",
        "subject": [{"name": format!("apps/v1/Deployment/{namespace}/orders"), "digest": {"sha256": "0".repeat(64)}}],
        "predicate": {"projection": "v1", "request": digest.to_string(), "reason": "not on a Friday",
            "rejectedBy": "bob@acme.example", "rejectedAt": "2026-11-22T10:30:00Z"}});
    let text = envelope(&statement, &[&key]);
    let name = digest.rejection_name(&text);
    json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
        "metadata": {"name": name, "namespace": namespace, "labels": {"writgate.dev/kind": "rejection"}},
        "data": {"rejection.json": text}})
}

pub(super) fn old_requests_are_deleted_and_nothing_else(watched: &Watched) {
    let _turn = watched.turn();
    // The sweep covers all namespaces, and other tests post as well.
    let posted_by_others = ["delete", "configmaps", "-A", "-l", "writgate.dev/kind in (request, rejection)"];
    watched.admin(&posted_by_others, "");
    let governed = watched.installation.governed("swept");
    let elsewhere = watched.installation.plane.namespace("elsewhere");
    let namespace = &governed.namespace;
    let create = |object: &Value| {
        let metadata = &object["metadata"];
        watched.admin(&["create", "-f", "-"], &object.to_string());
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&metadata["namespace"]), text(&metadata["name"]))
    };
    let exists = |(namespace, name): &(String, String)| {
        watched.installation.plane.admin.get(&["configmap", name, "-n", namespace]).is_some()
    };
    let request = posted(namespace, &request_file(namespace, "admin", "orders"));
    let swept = [create(&request), create(&rejection(namespace, &request))];
    let kept = [
        create(&detached(namespace, "approval", "{}")),
        create(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain", "namespace": namespace}}),
        ),
        create(&posted(&elsewhere, &request_file(&elsewhere, "admin", "orders"))),
    ];

    let idle = watched.replica_with("keeps", &["--request-sweep-interval", "1s"]);
    wait_until("a sweep has ended", LIMIT, || {
        (idle.metric("writgate_request_sweeps_total", &[("outcome", "ok")]) >= 1.0).then_some(())
    });
    assert!(swept.iter().all(exists), "a request is kept for a week");
    assert_eq!(value(&idle, "writgate_posted_requests_swept_total"), Some(0.0));
    idle.stop();

    let role = ["clusterrole", "writgate-webhook"];
    let permitted = watched.remember(&role);
    let mut reduced = permitted.clone();
    let rules = reduced["rules"].as_array_mut().expect("rules");
    rules.retain(|rule| rule["verbs"] != json!(["delete"]));
    watched.restore(&reduced);
    let flags = ["--request-sweep-interval", "1s", "--request-lifetime", "1s"];
    let sweeper = watched.replica_with("sweeps", &flags);
    wait_until("the sweep lacks its right", LIMIT, || {
        (sweeper.metric("writgate_request_sweeps_total", &[("outcome", "failed")]) >= 3.0).then_some(())
    });
    assert_eq!(sweeper.lines().matches("old requests were not deleted").count(), 1, "{}", sweeper.lines());
    watched.restore(&permitted);
    wait_until("what is old is deleted", LIMIT, || (!swept.iter().any(exists)).then_some(()));
    assert!(kept.iter().all(exists), "{kept:?}");
    assert_eq!(value(&sweeper, "writgate_posted_requests_swept_total"), Some(2.0));
    // What is posted later is counted, and swept when it is old.
    let later = create(&request);
    wait_until("a later request is deleted", LIMIT, || (!exists(&later)).then_some(()));
    wait_until("the webhook counts what is left", LIMIT, || {
        // The request in the namespace that is not governed.
        (value(&sweeper, "writgate_posted_requests") == Some(1.0)).then_some(())
    });
}
