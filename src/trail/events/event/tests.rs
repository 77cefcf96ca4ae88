//! How an Event looks for each kind of decision, within the bounds of the API.

use serde_json::{Value, json};
use writgate_core::{
    decide::{EmptyCluster, Facts, Governance, decide},
    posture::{Document, PostureSet},
    request::{ExemptControllers, Request},
};

use super::*;

pub(in crate::trail::events) const STAGING: &str =
    "{apiVersion: writgate.dev/v1, kind: Posture, environment: e, actions: {deploy: {approval: none}}}";
pub(in crate::trail::events) const PRODUCTION: &str = "{apiVersion: writgate.dev/v1, kind: Posture, environment: e}";

/// The decision under `posture` about the creation of a Deployment, after `change`.
pub(in crate::trail::events) fn decided(posture: &str, change: impl FnOnce(&mut Value)) -> DecidedRequest {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "operation": "CREATE", "namespace": "payments",
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "userInfo": {"username": "alice", "groups": ["dev"]},
            "object": {
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "orders", "uid": "u-1", "generation": 1},
                "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
            }
        }
    });
    change(&mut review["request"]);
    let document = Document { source: "test".into(), name: None, text: posture.into() };
    let postures = PostureSet::assemble(vec![document]);
    let governance = Governance::Governed { environment: "e", project: Some("p"), posture: postures.environment("e") };
    let facts = Facts {
        decision_id: uuid::Uuid::nil(),
        exempt: &ExemptControllers::default(),
        clock_leeway: jiff::SignedDuration::ZERO,
    };
    let body = review.to_string();
    let request = Request::parse(body.as_bytes()).expect("a review");
    let now = "2026-11-22T11:00:00Z".parse().expect("a time");
    let decision = decide(&request, &governance, &facts, now, &mut EmptyCluster { now });
    DecidedRequest {
        decision,
        resource: "deployments".into(),
        workload: request.workload,
        posture: Some("posture-e".into()),
        write: None,
        replay: None,
    }
}

/// The decision about an exec by `user`, which is recorded.
pub(in crate::trail::events) fn exec(user: &str) -> DecidedRequest {
    let posture = "{apiVersion: writgate.dev/v1, kind: Posture, environment: e, connect: audit}";
    decided(posture, |request| {
        *request = json!({
            "uid": "r-1", "operation": "CONNECT", "namespace": "payments", "name": "orders-1",
            "kind": {"group": "", "version": "v1", "kind": "PodExecOptions"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "subResource": "exec",
            "userInfo": {"username": user},
            "object": {"apiVersion": "v1", "kind": "PodExecOptions", "container": "c", "command": ["echo", "s3cret"]}
        });
    })
}

fn event(decided: &DecidedRequest) -> Event {
    Reporter::new("webhook-0", "writgate-system").event(decided, &EventContent::Decision)
}

fn name(object: &str) -> String {
    let decided = decided(STAGING, |request| request["object"]["metadata"]["name"] = object.into());
    super::name(&decided.name_prefix(), &decided.digest(&EventContent::Decision))
}

#[test]
fn an_admission_is_normal_and_names_object_posture_and_record() {
    let decided = decided(STAGING, |_| ());
    let event = event(&decided);
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Normal"), Some("Admitted")));
    assert_eq!(event.action.as_deref(), Some("deploy"));
    assert_eq!(event.metadata.namespace.as_deref(), Some("payments"));
    let regarding = event.regarding.expect("an object");
    assert_eq!((regarding.kind.as_deref(), regarding.uid.as_deref()), (Some("Deployment"), Some("u-1")));
    let related = event.related.expect("a posture");
    assert_eq!((related.kind.as_deref(), related.name.as_deref()), (Some("ConfigMap"), Some("posture-e")));
    let record = &event.metadata.annotations.expect("annotations")[RECORD_ANNOTATION];
    assert_eq!(
        serde_json::from_str::<writgate_core::record::DecisionRecord>(record).expect("a record"),
        decided.decision.record
    );
}

#[test]
fn a_denial_is_a_warning_with_its_code_as_reason() {
    let event = event(&decided(PRODUCTION, |_| ()));
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("ApprovalRequired")));
    assert!(event.note.expect("a note").contains("spec hash: sha256:"));
}

#[test]
fn the_event_of_a_connection_names_the_user_and_not_what_goes_through_it() {
    let decided = exec("alice");
    assert!(DecidedRequest::has_event(&decided.decision));
    assert_eq!(decided.queue(), EventQueue::Connection);
    let event = event(&decided);
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Normal"), Some("ConnectAdmitted")));
    assert_eq!(event.action.as_deref(), Some("exec"));
    let regarding = event.regarding.as_ref().expect("an object");
    assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("Pod"), Some("orders-1")));
    assert!(event.note.as_deref().expect("a note").contains("by alice, into container c"), "{event:?}");
    assert!(!serde_json::to_string(&event).expect("JSON").contains("s3cret"), "{event:?}");
}

#[test]
fn an_object_that_did_not_appear_has_a_warning_of_its_own() {
    let decided = decided(STAGING, |_| ());
    let content = EventContent::NotPersisted("it does not exist".into());
    let event = Reporter::new("webhook-0", "writgate-system").event(&decided, &content);
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("NotPersisted")));
    assert_ne!(decided.digest(&content), decided.digest(&EventContent::Decision));
}

#[test]
fn an_event_has_a_valid_name_whatever_the_object_is_called() {
    for object in ["orders", &"a".repeat(253), &format!("{}.{}", "a".repeat(219), "b"), "x/../y", "", "\u{1b}", "UPPER"]
    {
        let name = name(object);
        assert!(names::is_subdomain(&name), "{object:?}: {name:?}");
    }
    assert!(name("orders").starts_with("orders."));
    assert!(name(&"a".repeat(240)).starts_with(&"a".repeat(200)));
}

#[test]
fn one_decision_has_one_digest_and_another_decision_another() {
    let same = decided(STAGING, |_| ()).digest(&EventContent::Decision);
    assert_eq!(decided(STAGING, |request| request["uid"] = "r-2".into()).digest(&EventContent::Decision), same);
    let others: [fn(&mut Value); 5] = [
        |request| request["userInfo"]["username"] = "mallory".into(),
        |request| request["namespace"] = "other".into(),
        |request| request["object"]["metadata"]["uid"] = "u-2".into(),
        |request| request["object"]["metadata"]["generation"] = 2.into(),
        |request| request["object"]["spec"]["template"]["spec"]["containers"][0]["image"] = "j".into(),
    ];
    for (index, change) in others.into_iter().enumerate() {
        assert_ne!(decided(STAGING, change).digest(&EventContent::Decision), same, "{index}");
    }
    assert_ne!(decided(PRODUCTION, |_| ()).digest(&EventContent::Decision), same);
}

#[test]
fn an_admission_under_break_glass_has_a_queue_of_its_own() {
    let mut decided = decided(STAGING, |_| ());
    assert_eq!(decided.queue(), EventQueue::Admission);
    decided.decision.record.basis = Some(Basis::BreakGlass);
    assert_eq!(decided.queue(), EventQueue::BreakGlass);
}

#[test]
fn a_stored_object_has_one_event_whoever_the_review_names() {
    let stored = || EventContent::Persisted(StoredObject { generation: 1, write: None });
    let by = |user: &'static str| decided(STAGING, move |request| request["userInfo"]["username"] = user.into());
    assert_eq!(by("alice").digest(&stored()), by("mallory").digest(&stored()));
    assert_ne!(by("alice").review_digest(), by("mallory").review_digest());
    assert_ne!(by("alice").digest(&stored()), by("alice").review_digest());
    let text = Reporter::new("webhook-0", "writgate-system").event(&by("alice"), &stored()).note.expect("a note");
    assert!(text.contains("generation 1") && !text.contains("alice"), "{text}");
}

#[test]
fn a_stored_write_is_another_than_a_later_one_of_the_same_spec() {
    let stored = || EventContent::Persisted(StoredObject { generation: 1, write: None });
    let at = |time: &str| DecidedRequest { write: Some(Write::of_test(time)), ..decided(STAGING, |_| ()) };
    assert_eq!(at("2026-11-22T11:00:00Z").digest(&stored()), at("2026-11-22T11:00:00Z").digest(&stored()));
    assert_ne!(at("2026-11-22T11:00:00Z").digest(&stored()), at("2026-11-22T11:00:01Z").digest(&stored()));
}

#[test]
fn an_event_stays_within_the_bounds_of_the_api() {
    let decided = decided(PRODUCTION, |request| {
        request["userInfo"]["groups"] = vec!["g".repeat(1000); 200].into();
        request["object"]["metadata"]["annotations"] =
            json!({"writgate.dev/approval": format!("\u{1b}[31m\u{202e}{}", "ä".repeat(5000))});
    });
    let event = event(&decided);
    let note = event.note.expect("a note");
    assert!(note.len() <= MAX_NOTE && !note.contains(['\u{1b}', '\u{202e}']), "{note}");
    let record = &event.metadata.annotations.expect("annotations")[RECORD_ANNOTATION];
    assert!(record.len() <= MAX_RECORD, "{}", record.len());
    assert_eq!(serde_json::from_str::<Value>(record).expect("JSON")["initiator"]["groups"], json!(["…"]));
}

#[test]
fn dry_runs_and_requests_without_an_action_or_a_namespace_have_no_event() {
    assert!(DecidedRequest::has_event(&decided(PRODUCTION, |_| ()).decision));
    assert!(!DecidedRequest::has_event(&decided(PRODUCTION, |request| request["dryRun"] = true.into()).decision));
    assert!(!DecidedRequest::has_event(
        &decided(PRODUCTION, |request| request["operation"] = "DELETE".into()).decision
    ));
    let nowhere = decided(PRODUCTION, |request| request["namespace"] = "a/b".into());
    assert!(!DecidedRequest::has_event(&nowhere.decision));
}

#[test]
fn a_note_says_what_the_object_claims_about_its_initiator() {
    let claiming = |posture: &str| {
        let decided = decided(posture, |request| {
            request["object"]["metadata"]["annotations"] =
                json!({"argocd.argoproj.io/tracking-id": "a\n\u{202e}b:apps/Deployment:payments/orders"});
        });
        event(&decided).note.expect("a note")
    };
    for posture in [STAGING, PRODUCTION] {
        let note = claiming(posture);
        assert!(note.ends_with("\nclaimed initiator (not verified): Application a\\n\\u{202e}b"), "{note}");
    }
    assert!(!event(&decided(STAGING, |_| ())).note.expect("a note").contains("claimed"));
}
