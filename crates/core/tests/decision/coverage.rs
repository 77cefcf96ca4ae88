//! Coverage: a Deployment that an approval covers, with one thing changed.

use std::convert::Infallible;

use serde_json::{Value, json};
use writgate_core::{
    approval::DetachedApproval,
    decide::{Coverage, Unchecked, coverage},
    kube::WorkloadKind,
    posture::{Document, PostureSet},
    record::Decision,
};

use crate::decision::case::{Case, Ledger, NOW, Person};

const AN_HOUR_LATER: &str = "2026-11-22T12:00:00Z";

/// The coverage, with detached approvals in the namespace, and the codes of the decision.
fn with_detached(case: &Case, detached: &[DetachedApproval]) -> (Coverage, String) {
    let ledger = Ledger { detached: detached.to_vec().into(), ..Ledger::default() };
    let documents = [&case.posture, &case.reviewers, &case.revocations];
    let document = |value: &Value| Document { source: value["kind"].to_string(), name: None, text: value.to_string() };
    let set = PostureSet::assemble(documents.into_iter().map(document).collect());
    let (coverage, decision): (Coverage, Decision) =
        coverage(case.now.parse().expect("a time"), set.environment("production").ok(), |at| {
            let body = case.body();
            Ok::<_, Infallible>(case.clone().with(|case| case.now = at.to_string()).decide_knowing(&body, &ledger))
        })
        .expect("a decision");
    (coverage, decision.record.reasons.join(" "))
}

#[track_caller]
fn expect(case: &Case, expected: Coverage, reasons: &str) {
    assert_eq!(with_detached(case, &[]), (expected, reasons.to_owned()));
}

fn later(case: &mut Case) {
    AN_HOUR_LATER.clone_into(&mut case.now);
}

#[test]
fn a_valid_approval_for_exactly_this_spec_covers_a_workload() {
    let case = Case::deployment();
    expect(&case, Coverage::Approved, "");
    let other_spec = |case: &mut Case| case.spec()["template"]["spec"]["containers"][0]["image"] = "other".into();
    expect(&case.clone().with(other_spec), Coverage::OtherSpec, "SpecHashMismatch");
    expect(&case.clone().with(|case| case.signers.clear()), Coverage::Unapproved, "ApprovalRequired");
    expect(&case.clone().with(|case| case.signers = vec![Person::Mallory]), Coverage::Unapproved, "UnknownKey");
    let renamed = |case: &mut Case| {
        case.request["name"] = "ledger".into();
        case.object()["metadata"]["name"] = "ledger".into();
    };
    expect(&case.clone().with(renamed), Coverage::OtherSpec, "WrongResource");
    let scaled = |case: &mut Case| case.spec()["replicas"] = 0.into();
    expect(&case.with(scaled), Coverage::Approved, "");
}

#[test]
fn a_detached_approval_covers_a_workload() {
    let case = Case::deployment();
    let detached = DetachedApproval { name: "orders".to_owned(), text: case.envelope().to_json() };
    let bare = case.with(|case| case.signers.clear());
    assert_eq!(with_detached(&bare, &[detached]).0, Coverage::Approved);
    assert_eq!(with_detached(&bare, &[]).0, Coverage::Unapproved);
}

#[test]
fn an_approval_that_was_enough_has_expired() {
    let case = Case::deployment().with(later);
    expect(&case, Coverage::Expired, "Expired");
    expect(&case.clone().with(|case| case.now = "2026-11-22T11:59:59Z".to_owned()), Coverage::Approved, "");

    let two = |case: &mut Case| case.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]});
    expect(&case.clone().with(two), Coverage::Insufficient, "Expired");
    let both = |case: &mut Case| {
        two(case);
        case.signers.push(Person::Carol);
    };
    expect(&case.clone().with(both), Coverage::Expired, "Expired");
    expect(
        &case.clone().with(|case| case.approval.project = "ledger".into()),
        Coverage::Insufficient,
        "WrongProject Expired",
    );
    let other_spec = |case: &mut Case| case.spec()["template"]["spec"]["containers"][0]["image"] = "other".into();
    expect(&case.with(other_spec), Coverage::OtherSpec, "SpecHashMismatch Expired");
}

#[test]
fn an_approval_by_a_key_that_has_expired_was_enough() {
    let end = |case: &mut Case| case.reviewers["reviewers"][0]["keys"][0]["notAfter"] = "2026-11-22T10:30:00Z".into();
    expect(&Case::deployment().with(end), Coverage::Expired, "Expired");
    expect(&Case::deployment().with(end).with(later), Coverage::Expired, "Expired");
}

#[test]
fn a_revoked_approval_covers_nothing_although_it_has_expired() {
    let case = Case::deployment();
    let id = case.approval.id.clone();
    let revoke = |field: &'static str, entry: Value| move |case: &mut Case| case.revocations[field] = json!([entry]);
    let approval = |at: &str| revoke("approvals", json!({"id": id, "at": at}));
    expect(&case.clone().with(approval(NOW)), Coverage::Revoked, "Revoked");
    expect(&case.clone().with(approval(NOW)).with(later), Coverage::Revoked, "Expired Revoked");
    expect(&case.clone().with(approval(AN_HOUR_LATER)), Coverage::Approved, "");
    expect(&case.clone().with(approval(AN_HOUR_LATER)).with(later), Coverage::Revoked, "Expired Revoked");
    let hash = case.approval.subjects[0].hash.to_string();
    expect(&case.clone().with(revoke("specs", json!({"hash": hash}))), Coverage::Revoked, "Revoked");
    let unsigned = |case: &mut Case| case.signers.clear();
    let spec = revoke("specs", json!({"hash": hash}));
    expect(&case.with(spec).with(unsigned), Coverage::Revoked, "ApprovalRequired Revoked");
}

#[test]
fn one_of_two_approvals_that_were_enough_together_is_revoked_after_both_have_expired() {
    let case = Case::deployment().with(|case| {
        case.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]});
        later(case);
        let mut carols = case.clone();
        carols.approval.id = "01935a00-0000-7000-8000-000000000002".to_owned();
        carols.signers = vec![Person::Carol];
        case.attach(".2", &carols.envelope().to_json());
    });
    expect(&case, Coverage::Expired, "Expired");
    let carols = json!([{"id": "01935a00-0000-7000-8000-000000000002", "at": AN_HOUR_LATER}]);
    expect(&case.with(|case| case.revocations["approvals"] = carols), Coverage::Revoked, "Expired");
}

#[test]
fn an_approval_that_is_not_enough_is_insufficient() {
    let case = Case::deployment();
    let two = |case: &mut Case| case.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]});
    expect(&case.clone().with(two), Coverage::Insufficient, "QuorumNotMet");
    let pinned = |case: &mut Case| case.posture["images"] = "digest".into();
    expect(&case.clone().with(pinned), Coverage::Insufficient, "ImageNotPinned");
    expect(
        &case.with(pinned).with(|case| case.signers.clear()),
        Coverage::Unapproved,
        "ApprovalRequired ImageNotPinned",
    );
}

#[test]
fn the_enforcement_changes_nothing() {
    for enforcement in ["audit", "warn", "enforce"] {
        let case = Case::deployment().with(|case| {
            case.posture["enforcement"] = enforcement.into();
            case.signers.clear();
        });
        expect(&case, Coverage::Unapproved, "ApprovalRequired");
    }
}

#[test]
fn what_cannot_be_decided_is_unreadable() {
    let case = Case::deployment();
    expect(
        &case.clone().with(|case| case.posture["environment"] = "staging".into()),
        Coverage::Unreadable,
        "PostureMissing",
    );
    expect(&case.clone().with(|case| case.posture["more"] = 1.into()), Coverage::Unreadable, "PostureInvalid");
    expect(
        &case.clone().with(|case| case.request["object"]["spec"] = Value::Null),
        Coverage::Unreadable,
        "MalformedReview",
    );
    let many = |case: &mut Case| (0..8).for_each(|n| case.attach(&format!(".{n}"), "{}"));
    expect(&case.clone().with(many), Coverage::Unreadable, "MalformedApproval");
    let unlisted = |case: &mut Case| case.posture["namespaces"] = json!({"other": "payments"});
    expect(&case.with(unlisted), Coverage::Unapproved, "NamespaceNotListed");
}

#[test]
fn a_workload_that_requires_no_approval_is_covered() {
    expect(&Case::dry_run(), Coverage::NotRequired, "");
    let unapproved = Case::dry_run().with(|case| case.posture["replay"]["dryRun"] = Value::Null);
    assert_ne!(with_detached(&unapproved, &[]).0, Coverage::NotRequired);
}

#[test]
fn worse_coverage_sorts_first_and_only_doubt_is_neither_yes_nor_no() {
    assert!(Coverage::ALL.is_sorted());
    let by = |is: Option<bool>| Coverage::ALL.into_iter().filter(move |one| one.is_covered() == is).collect::<Vec<_>>();
    assert_eq!(by(None), [Coverage::Unreadable]);
    assert_eq!(by(Some(true)), [Coverage::Expired, Coverage::Approved, Coverage::NotRequired]);
}

#[test]
fn what_a_workload_can_do_without_a_check_depends_on_its_kind_and_state() {
    use Unchecked::{Running, ScaleUp, Schedule, Stray};
    use WorkloadKind::{CronJob, DaemonSet, Deployment, Job, ReplicaSet, ReplicationController, StatefulSet};
    let ended = |kind: &str| json!({"conditions": [{"type": kind, "status": "True"}]});
    let cases: [(Option<WorkloadKind>, Value, Value, &[Unchecked]); 18] = [
        (Some(Deployment), json!({"replicas": 0}), Value::Null, &[ScaleUp]),
        (Some(Deployment), json!({"replicas": 0, "paused": true}), Value::Null, &[ScaleUp]),
        (Some(Deployment), json!({"replicas": 1}), Value::Null, &[Running]),
        (Some(StatefulSet), json!({"replicas": 0}), Value::Null, &[ScaleUp]),
        (Some(ReplicaSet), json!({"replicas": 0}), Value::Null, &[Stray]),
        (Some(ReplicaSet), json!({"replicas": 2}), Value::Null, &[Stray, Running]),
        (Some(ReplicationController), json!({"replicas": 0}), Value::Null, &[]),
        (Some(ReplicationController), json!({"replicas": 1}), Value::Null, &[Running]),
        (Some(DaemonSet), json!({}), Value::Null, &[Running]),
        (Some(CronJob), json!({"suspend": false}), Value::Null, &[Schedule]),
        (Some(CronJob), json!({"suspend": true}), Value::Null, &[]),
        (Some(Job), json!({"suspend": false}), Value::Null, &[Running]),
        (Some(Job), json!({"suspend": true}), Value::Null, &[]),
        (Some(Job), json!({}), ended("Complete"), &[]),
        (Some(Job), json!({}), ended("Suspended"), &[Running]),
        (None, json!({}), json!({"phase": "Running"}), &[Stray, Running]),
        (None, json!({}), json!({"phase": "Succeeded"}), &[Stray]),
        (None, json!({}), json!({"phase": "Pending"}), &[Stray, Running]),
    ];
    for (kind, spec, status, expected) in cases {
        let object = json!({"kind": kind.map_or("Pod", WorkloadKind::kind), "spec": spec, "status": status});
        assert_eq!(Unchecked::of(kind, &object, None), expected, "{object}");
    }
}

#[test]
fn what_is_not_listed_as_unchecked_is_an_action() {
    for kind in [WorkloadKind::Job, WorkloadKind::CronJob] {
        let spec = Case::replay().spec().clone();
        let spec =
            if kind == WorkloadKind::CronJob { json!({"jobTemplate": {"spec": spec}, "suspend": true}) } else { spec };
        let case = Case::of(kind, "nightly", &spec).updated().with(|case| {
            case.signers.clear();
            case.request["oldObject"]["spec"]["suspend"] = true.into();
            case.spec()["suspend"] = false.into();
            let posture = case.posture.as_object_mut().expect("an object");
            posture.retain(|field, _| !["actions", "replay"].contains(&field.as_str()));
        });
        case.expect("ApprovalRequired");
    }
    let scaled = |kind, resource: &str, from: u8| {
        let mut case = Case::of(kind, "old", &json!({"replicas": 3}));
        case.signers.clear();
        case.request["operation"] = "UPDATE".into();
        case.request["subResource"] = "scale".into();
        case.request["kind"] = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        case.request["resource"]["resource"] = resource.into();
        let scale = |replicas: u8| {
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": {"name": "old", "namespace": "payments"}, "spec": {"replicas": replicas}})
        };
        case.request["object"] = scale(3);
        case.request["oldObject"] = scale(from);
        case
    };
    for (kind, resource) in [(WorkloadKind::Deployment, "deployments"), (WorkloadKind::StatefulSet, "statefulsets")] {
        scaled(kind, resource, 0).expect("not-an-action");
    }
    scaled(WorkloadKind::ReplicaSet, "replicasets", 0).expect("WorkloadNotAllowed");
    scaled(WorkloadKind::ReplicationController, "replicationcontrollers", 0).expect("WorkloadNotAllowed");
}

/// The words are a contract: scripts, metrics and reports contain them.
#[test]
fn words_are_stable() {
    let words =
        ["revoked", "unapproved", "other-spec", "insufficient", "unreadable", "expired", "approved", "not-required"];
    assert_eq!(Coverage::ALL.map(Coverage::as_str), words);
    assert_eq!(Coverage::ALL.map(|coverage| json!(coverage)), words.map(|word| json!(word)));
    let unchecked = [Unchecked::ScaleUp, Unchecked::Schedule, Unchecked::Stray, Unchecked::Running];
    let words = ["scale-up", "schedule", "stray", "running"];
    assert_eq!(unchecked.map(Unchecked::as_str), words);
    assert_eq!(unchecked.map(|unchecked| json!(unchecked)), words.map(|word| json!(word)));
}
