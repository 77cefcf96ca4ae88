//! Boundaries of the checks: the very second at which something begins or ends to be valid, and conditions of which only one half
//! holds.

use jiff::Timestamp;
use serde_json::{Value, json};
use writgate_core::{
    approval::{Envelope, PublicKey},
    decide::{EmptyCluster, Facts, Governance, decide as decide_with},
    guard::{self, GuardContext, PostedRequests},
    posture::{Document, PostureError, PostureSet},
    record::{Decision, Denial, Reason},
    request::{ExemptControllers, Request},
};

use crate::decision::case::{Case, Ledger, NOW, Person};

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn decide(case: &Case, ledger: &Ledger) -> Decision {
    case.decide_knowing(&case.body(), ledger)
}

fn at(now: &str) -> Case {
    Case::deployment().with(|c| c.now = now.into())
}

#[test]
fn an_approval_is_valid_from_its_first_second_until_before_its_last() {
    at("2026-11-22T10:00:00Z").expect("admitted");
    at("2026-11-22T09:59:59Z").expect("NotYetValid");
    at("2026-11-22T09:59:59.999999999Z").expect("NotYetValid");
    at("2026-11-22T11:59:59Z").expect("admitted");
    at("2026-11-22T11:59:59.999999999Z").expect("admitted");
    at("2026-11-22T12:00:00Z").expect("Expired");
}

#[test]
fn a_break_glass_approval_is_valid_in_the_same_interval() {
    let break_glass = |now: &str| {
        at(now).with(|c| {
            c.posture["breakGlass"] = json!({"maxLifetime": "2h"});
            c.reviewers["reviewers"][1]["capabilities"] = json!(["break-glass"]);
            c.approval.break_glass = true;
            c.approval.capabilities = vec!["break-glass".to_owned()];
            c.signers = vec![Person::Carol];
        })
    };
    break_glass("2026-11-22T10:00:00Z").expect("admitted");
    break_glass("2026-11-22T09:59:59Z").expect("NotYetValid");
    break_glass("2026-11-22T11:59:59Z").expect("admitted");
    break_glass("2026-11-22T12:00:00Z").expect("Expired");
}

#[test]
fn a_key_is_valid_from_its_first_second_until_before_its_last() {
    let key = |field: &'static str, at: &'static str| {
        Case::deployment().with(move |c| c.reviewers["reviewers"][0]["keys"][0][field] = at.into())
    };
    key("notBefore", NOW).expect("admitted");
    key("notBefore", "2026-11-22T11:00:01Z").expect("NotYetValid");
    key("notBefore", NOW).with(|c| c.now = "2026-11-22T10:59:59.999999999Z".into()).expect("NotYetValid");
    key("notAfter", "2026-11-22T11:00:01Z").expect("admitted");
    key("notAfter", NOW).expect("Expired");
    key("notAfter", NOW).with(|c| c.now = "2026-11-22T10:59:59.999999999Z".into()).expect("admitted");
}

/// Bob may grant what is required with his second key only while it is valid, whatever his first key is.
#[test]
fn each_key_of_a_reviewer_has_its_own_interval() {
    let second = |not_before: &'static str| {
        Case::deployment().with(move |c| {
            c.reviewers["reviewers"][0]["keys"] = json!([{"publicKey": Person::Bob.public_pem()},
                {"publicKey": Person::Mallory.public_pem(), "notBefore": not_before}]);
            c.signers = vec![Person::Mallory];
        })
    };
    second(NOW).expect("admitted");
    second("2026-11-22T11:00:01Z").expect("NotYetValid");
    second("2026-11-22T11:00:01Z").with(|c| c.signers = vec![Person::Bob]).expect("admitted");
}

#[test]
fn a_revocation_is_in_force_from_its_first_second() {
    let key = Case::deployment().envelope().keyids().next().expect("signed").to_owned();
    for (list, id) in [("keys", key), ("approvals", "01935a00-0000-7000-8000-000000000001".to_owned())] {
        let revoked =
            |at: &str| Case::deployment().with(|c| c.revocations[list] = json!([{"id": id, "at": at, "why": "lost"}]));
        revoked(NOW).expect("Revoked");
        revoked("2026-11-22T11:00:01Z").expect("admitted");
        revoked(NOW).with(|c| c.now = "2026-11-22T10:59:59.999999999Z".into()).expect("admitted");
    }
}

#[test]
fn an_approval_may_last_as_long_as_the_posture_permits() {
    let most = |most: &'static str| {
        Case::deployment().with(move |c| c.posture["actions"]["deploy"] = json!({"maxLifetime": most}))
    };
    most("2h").expect("admitted");
    most("119m").expect("LifetimeTooLong");
    most("3h").expect("admitted");
}

/// The API server did not confirm the use, and it is free again at this time.
#[test]
fn a_use_is_unconfirmed_until_the_second_at_which_it_is_free() {
    let another = Case::replay().with(|c| c.object()["metadata"]["uid"] = "another".into());
    let used = |free_at: Option<&str>| {
        let ledger = Ledger::default();
        assert!(decide(&Case::replay(), &ledger).allowed());
        ledger.uses.borrow_mut().values_mut().for_each(|held| held.free_at = free_at.map(time));
        let decision = decide(&another, &ledger);
        assert_eq!(decision.record.reasons, ["AlreadyUsed"]);
        decision.denials.first().map(Denial::reason)
    };
    assert_eq!(used(None), Some(Reason::AlreadyUsed));
    assert_eq!(used(Some("2026-11-22T10:59:59Z")), Some(Reason::AlreadyUsed));
    assert_eq!(used(Some(NOW)), Some(Reason::AlreadyUsed));
    assert_eq!(used(Some("2026-11-22T11:00:01Z")), Some(Reason::UseUnconfirmed));
}

/// A webhook of an earlier version entered the use without the label.
#[test]
fn a_use_is_the_same_without_the_replay_label() {
    let name = "batch/v1/Job/payments/replay-orders-ml45t";
    let created = Case::replay().with(|c| {
        c.spec()["suspend"] = true.into();
        c.approval.subjects[0].name = name.into();
    });
    let released = created.clone().updated().with(|c| {
        c.spec()["suspend"] = false.into();
        c.object()["metadata"]["generation"] = 2.into();
    });
    let ledger = Ledger::default();
    assert!(decide(&created, &ledger).allowed());
    assert!(decide(&released, &ledger).allowed());
    ledger.uses.borrow_mut().values_mut().for_each(|held| held.used.replay = None);
    assert!(decide(&released, &ledger).allowed());
    ledger.uses.borrow_mut().values_mut().for_each(|held| held.used.generation = 1);
    assert_eq!(decide(&released, &ledger).record.reasons, ["AlreadyUsed"]);
}

#[test]
fn an_approval_that_is_attached_twice_is_used_once() {
    let ledger = Ledger::default();
    let twice = Case::replay().with(|c| c.attach(".copy", &c.envelope().to_json()));
    assert!(decide(&twice, &ledger).allowed());
    assert_eq!(*ledger.lookups.borrow(), ["use of 01935a00-0000-7000-8000-000000000001"]);
}

#[test]
fn a_subject_without_a_name_names_nothing() {
    let unnamed = |subject: &str| {
        Case::replay().with(|c| {
            c.request["name"] = "".into();
            c.object()["metadata"]["name"] = "".into();
            c.approval.subjects[0].name = format!("batch/v1/Job/payments/{subject}");
        })
    };
    unnamed("replay-orders-*").expect("admitted");
    unnamed("").expect("WrongResource");
    // A name that a prefix of no characters could have generated.
    let short = |subject: &str| {
        Case::replay().with(|c| {
            c.request["name"] = "zzzzz".into();
            c.object()["metadata"]["name"] = "zzzzz".into();
            c.object()["metadata"]["generateName"] = "".into();
            c.approval.subjects[0].name = format!("batch/v1/Job/payments/{subject}");
        })
    };
    short("zzzzz").expect("admitted");
    short("*").expect("WrongResource");
}

/// The requester is a reviewer, but has neither sent the request nor signed.
#[test]
fn a_reviewer_who_requests_an_approval_proves_nothing_by_being_known() {
    let proven = || Case::deployment().with(|c| c.posture["separationOfDuties"] = "proven".into());
    let requested_by_carol = || proven().with(|c| c.approval.requested_by = "carol@acme.example".into());
    requested_by_carol().expect("QuorumNotMet");
    requested_by_carol().with(|c| c.request["userInfo"]["username"] = "carol".into()).expect("admitted");
    // Another reviewer sends the request.
    proven().with(|c| c.request["userInfo"]["username"] = "carol".into()).expect("QuorumNotMet");
}

#[test]
fn of_two_approvals_that_fail_the_same_check_the_one_with_fewer_failures_is_reported() {
    let wrong = |also_expired: bool| {
        Case::deployment().with(|c| {
            c.approval.environment = "staging".into();
            if also_expired {
                c.approval.expires_at = time("2026-11-22T10:30:00Z");
            }
        })
    };
    let worse = wrong(true).envelope().to_json();
    wrong(true).expect("WrongEnvironment Expired");
    for suffix in ["", ".z"] {
        let other = if suffix.is_empty() { ".z" } else { "" };
        Case::deployment()
            .with(|c| {
                c.signers.clear();
                c.attach(suffix, &worse);
                c.attach(other, &wrong(false).envelope().to_json());
            })
            .expect("WrongEnvironment");
    }
}

/// Several approvals that pass every check but the number of people: the object's own failure is reported alone.
#[test]
fn too_few_people_are_not_reported_for_an_object_that_is_denied_anyway() {
    let three = |change: fn(&mut Case)| {
        let carols = Case::deployment().with(|c| c.signers = vec![Person::Carol]).envelope().to_json();
        Case::deployment()
            .with(|c| c.posture["actions"]["deploy"] = json!({"quorum": [{"count": 3}]}))
            .with(|c| c.attach(".carol", &carols))
            .with(change)
    };
    three(|_| ())
        .with(|c| drop(c.reviewers["reviewers"][2].as_object_mut().expect("a map").remove("projects")))
        .expect("QuorumNotMet");
    three(|c| {
        c.reviewers["reviewers"][2].as_object_mut().expect("a map").remove("projects");
        c.posture["images"] = "digest".into();
    })
    .expect("ImageNotPinned");
}

#[test]
fn a_key_that_signs_twice_is_recorded_once() {
    let twice = Case::deployment().with(|c| c.signers = vec![Person::Bob, Person::Bob]);
    twice.expect("admitted");
    let approval = &twice.decide().record.approvals[0];
    assert_eq!((approval.key_ids.len(), &*approval.reviewers), (1, &["bob@acme.example".to_owned()][..]));
    // Two keys of one person are two keys and one person.
    let two_keys = Case::deployment().with(|c| {
        c.reviewers["reviewers"][0]["keys"] =
            json!([{"publicKey": Person::Bob.public_pem()}, {"publicKey": Person::Mallory.public_pem()}]);
        c.signers = vec![Person::Bob, Person::Mallory];
    });
    two_keys.expect("admitted");
    let approval = &two_keys.decide().record.approvals[0];
    assert_eq!((approval.key_ids.len(), &*approval.reviewers), (2, &["bob@acme.example".to_owned()][..]));
    two_keys.with(|c| c.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]})).expect("QuorumNotMet");
}

/// A signature of another length is by another algorithm. With the key id of a known key, that key did not sign.
#[test]
fn a_signature_of_another_length_never_verifies() {
    let attached = |key: Person, length: usize| {
        let whole = Case::deployment().with(|c| c.signers = vec![key]).envelope();
        let mut envelope: Value = serde_json::from_str(&whole.to_json()).expect("JSON");
        let signature = &mut envelope["signatures"][0]["sig"];
        // Four characters are three bytes.
        *signature = signature.as_str().expect("text")[..length].into();
        assert!(Envelope::parse(&envelope.to_string()).is_ok(), "{envelope}");
        Case::deployment().with(|c| {
            c.signers.clear();
            c.attach("", &envelope.to_string());
        })
    };
    attached(Person::Bob, 88).expect("admitted");
    attached(Person::Bob, 84).expect("InvalidSignature");
    attached(Person::Mallory, 84).expect("UnknownKey");
    assert!(PublicKey::from_pem(&Person::Bob.public_pem()).is_ok());
}

/// A caller that can look nothing up: nobody may govern, and a document that is in use stays.
#[test]
fn a_guard_that_can_ask_nobody_denies() {
    let config_map = |kind: &str, text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {format!("{kind}.yaml"): text},
            "metadata": {"name": kind, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}}})
    };
    let posture = "{apiVersion: writgate.dev/v1, kind: Posture, environment: production, reviewerSets: [reviewers]}";
    let mut people = Case::deployment().reviewers;
    people.as_object_mut().expect("a map").remove("name");
    let (posture, people) = (config_map("posture", posture), config_map("reviewers", &people.to_string()));
    let document = |object: &Value| Document {
        source: object["metadata"]["name"].to_string(),
        name: object["metadata"]["name"].as_str().map(str::to_owned),
        text: object.to_string(),
    };
    let postures = PostureSet::assemble(vec![document(&posture), document(&people)]);
    assert!(postures.environment("production").is_ok());
    let governed = [("production".to_owned(), vec!["payments".to_owned()])].into();
    let decide = |kind: &str, resource: &str, operation: &str, new: &Value, old: &Value| {
        let metadata = if new.is_null() { &old["metadata"] } else { &new["metadata"] };
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
            "operation": operation, "name": metadata["name"], "namespace": metadata["namespace"],
            "kind": {"group": "", "version": "v1", "kind": kind},
            "resource": {"group": "", "version": "v1", "resource": resource},
            "userInfo": {"username": "alice"}, "object": new, "oldObject": old}})
        .to_string();
        let request = Request::parse(body.as_bytes()).expect("a review");
        let context = GuardContext {
            system_namespace: "writgate-system",
            postures: Ok(&postures),
            governed: &governed,
            governance: Governance::Ungoverned,
            posted: PostedRequests::NotAccepted,
        };
        let facts = Facts {
            decision_id: uuid::Uuid::nil(),
            exempt: &ExemptControllers::default(),
            clock_leeway: jiff::SignedDuration::ZERO,
        };
        let now = time(NOW);
        guard::start(&request, &context, &facts, now).finish(&mut EmptyCluster { now }).record.reasons
    };
    let labels = json!({"writgate.dev/environment": "production", "writgate.dev/project": "payments"});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "payments", "namespace": "payments", "labels": labels}});
    assert_eq!(decide("Namespace", "namespaces", "CREATE", &namespace, &Value::Null), ["LookupFailed"]);
    assert_eq!(decide("ConfigMap", "configmaps", "DELETE", &Value::Null, &people), ["InUse"]);
}

/// The posture may be valid: the webhook does not know it at the moment.
#[test]
fn a_posture_that_is_not_known_is_not_called_invalid() {
    let body = Case::deployment().body();
    let request = Request::parse(body.as_bytes()).expect("a review");
    let reasons = |error: PostureError| {
        let facts = Facts {
            decision_id: uuid::Uuid::nil(),
            exempt: &ExemptControllers::default(),
            clock_leeway: jiff::SignedDuration::ZERO,
        };
        let project = Some("payments");
        let governance = Governance::Governed { environment: "production", project, posture: Err(&error) };
        let now = time(NOW);
        decide_with(&request, &governance, &facts, now, &mut EmptyCluster { now }).record.reasons
    };
    assert_eq!(reasons(PostureError::Unknown { why: "the state is too old".to_owned() }), ["LookupFailed"]);
    assert_eq!(reasons(PostureError::Invalid { problems: Vec::new() }), ["PostureInvalid"]);
    assert_eq!(reasons(PostureError::Missing { known: Vec::new() }), ["PostureMissing"]);
}
