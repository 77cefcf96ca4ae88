//! Which signatures on the approval of a posted request count, and which rejections do.

use jiff::Timestamp;
use serde_json::json;
use writgate_core::approval::{Envelope, Rejection, RequestDigest};
use writgate_core::decide::{SignatureProgress, VerifiedRejection};

use crate::decision::{
    break_glass::break_glass,
    case::{Case, Person},
};

/// The signers that count, and how many are missing.
fn progress(case: &Case) -> Option<(Vec<String>, usize)> {
    let set = case.postures();
    let posture = set.environment("production").expect("a posture");
    let now = case.now.parse().expect("a time");
    let project = case.project.unwrap_or_default();
    let found = SignatureProgress::of(posture, project, &case.envelope(), &[case.decide()], now)?;
    Some((found.signed, found.missing))
}

fn by(names: &[&str], missing: usize) -> (Vec<String>, usize) {
    (names.iter().map(|name| format!("{name}@acme.example")).collect(), missing)
}

fn two_reviewers() -> Case {
    Case::deployment().with(|case| {
        case.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]});
        case.signers = vec![Person::Bob, Person::Carol];
    })
}

#[test]
fn an_approval_that_is_enough_misses_nobody() {
    assert_eq!(progress(&Case::deployment()), Some(by(&["bob"], 0)));
    assert_eq!(progress(&two_reviewers()), Some(by(&["bob", "carol"], 0)));
    assert_eq!(progress(&Case::replay()), Some(by(&["bob", "carol"], 0)));
}

#[test]
fn a_signature_that_does_not_count_is_missing() {
    let signed_by = |signers: &[Person]| progress(&two_reviewers().with(|case| case.signers = signers.to_vec()));
    assert_eq!(signed_by(&[Person::Bob]), Some(by(&["bob"], 1)));
    assert_eq!(signed_by(&[Person::Bob, Person::Bob]), Some(by(&["bob"], 1)));
    assert_eq!(
        signed_by(&[Person::Bob, Person::Mallory]),
        Some(by(&["bob"], 1)),
        "the posture does not contain the key"
    );
    assert_eq!(signed_by(&[Person::Bob, Person::Dave]), Some(by(&["bob"], 1)), "a reviewer of another project");
    assert_eq!(signed_by(&[Person::Mallory]), None);
    let of_one_group = Case::replay().with(|case| case.signers = vec![Person::Bob]);
    assert_eq!(progress(&of_one_group), Some(by(&["bob"], 1)));
}

#[test]
fn a_signature_counts_only_if_the_reviewer_may_grant_what_is_required() {
    let may_grant = |capability: &str| {
        let case = two_reviewers().with(|case| {
            case.reviewers["reviewers"][1]["capabilities"] = json!([capability]);
            // The terms of break-glass are not those of an ordinary approval.
            case.posture["breakGlass"] = json!({"maxLifetime": "1h"});
        });
        progress(&case)
    };
    assert_eq!(may_grant("deploy"), Some(by(&["bob", "carol"], 0)));
    assert_eq!(may_grant("replay.*"), Some(by(&["bob"], 1)));
    assert_eq!(may_grant("break-glass"), Some(by(&["bob"], 1)));
}

#[test]
fn break_glass_has_the_terms_of_its_rule() {
    assert_eq!(progress(&break_glass()), Some(by(&["carol"], 0)));
    let by_two = break_glass().with(|case| case.posture["breakGlass"]["quorum"] = json!([{"count": 2}]));
    assert_eq!(progress(&by_two), Some(by(&["carol"], 1)));
}

#[test]
fn an_approval_that_no_signature_would_complete_has_no_progress() {
    let expired = two_reviewers().with(|case| case.now = "2026-11-22T12:00:00Z".to_owned());
    assert_eq!(progress(&expired), None);
    let other_spec = two_reviewers().with(|case| case.spec()["template"]["spec"]["hostNetwork"] = true.into());
    assert_eq!(progress(&other_spec), None);
    let for_staging = two_reviewers().with(|case| case.approval.environment = "staging".to_owned());
    assert_eq!(progress(&for_staging), None);
    let revoked = two_reviewers().with(|case| case.revocations["approvals"] = json!([{"id": case.approval.id}]));
    assert_eq!(progress(&revoked), None);
}

#[test]
fn a_requester_who_is_not_proven_is_missing_although_the_quorum_is_met() {
    let proven = Case::deployment().with(|case| {
        case.posture["separationOfDuties"] = json!("proven");
        case.approval.requested_by = "erin@acme.example".to_owned();
    });
    assert_eq!(progress(&proven), Some(by(&["bob"], 1)));
}

/// A rejection of a request for the case's workload, signed by `person`.
fn rejection(case: &Case, person: Person, change: impl FnOnce(&mut Rejection)) -> String {
    let mut rejection = Rejection {
        subjects: case.approval.subjects.clone(),
        request: RequestDigest::of("the request"),
        reason: "not on a Friday".to_owned(),
        rejected_by: "whoever".to_owned(),
        rejected_at: "2026-11-22T10:30:00Z".parse().expect("a time"),
    };
    change(&mut rejection);
    let mut envelope = Envelope::new(rejection.to_payload());
    person.sign(&mut envelope);
    envelope.to_json()
}

/// Who has rejected the request, by the rejection in `text`.
fn rejected_by(case: &Case, text: &str) -> Option<String> {
    let set = case.postures();
    let posture = set.environment("production").expect("a posture");
    let now: Timestamp = case.now.parse().expect("a time");
    let (request, subjects) = (RequestDigest::of("the request"), case.approval.subjects.iter());
    let read = Rejection::read(text).ok()?;
    let found = VerifiedRejection::of(&read, posture, case.project.unwrap_or_default(), &request, subjects, now)?;
    assert_eq!(found.reason, "not on a Friday");
    Some(found.by)
}

#[test]
fn a_rejection_is_by_the_owner_of_the_key_and_counts_only_for_its_request() {
    let case = Case::deployment();
    assert_eq!(rejected_by(&case, &rejection(&case, Person::Bob, |_| {})).as_deref(), Some("bob@acme.example"));
    let not_for = |person, change: fn(&mut Rejection)| rejected_by(&case, &rejection(&case, person, change));
    assert_eq!(not_for(Person::Mallory, |_| {}), None, "the posture does not contain the key");
    assert_eq!(not_for(Person::Dave, |_| {}), None, "a reviewer of another project");
    assert_eq!(not_for(Person::Bob, |one| one.request = RequestDigest::of("another request")), None);
    assert_eq!(not_for(Person::Bob, |one| one.subjects[0].name = "apps/v1/Deployment/payments/other".to_owned()), None);
    let altered = rejection(&case, Person::Bob, |_| {}).replace("\"sig\":\"", "\"sig\":\"AA");
    assert_eq!(rejected_by(&case, &altered), None);
    assert_eq!(rejected_by(&case, "{}"), None);
    let approval = case.envelope().to_json();
    assert_eq!(rejected_by(&case, &approval), None, "an approval is no rejection");
}
