//! `ungoverned: deny`: a workload at 0 replicas gets some, which requires that it was approved before as it is.

use serde_json::{Value, json};
use writgate_core::{
    approval::DetachedApproval,
    decide::Unchecked,
    kube::WorkloadKind,
    posture::{Document, PostureSet},
    record::{Decision, Outcome},
};

use crate::decision::case::{Case, Ledger, Person};

/// Long after the approval has expired.
const LATER: &str = "2027-11-22T11:00:00Z";

/// An update that only raises the replicas of `case` from 0.
fn woken(case: Case) -> Case {
    case.updated().with(|c| {
        c.posture["ungoverned"] = "deny".into();
        c.request["oldObject"]["spec"]["replicas"] = 0.into();
        c.now = LATER.into();
    })
}

/// A Deployment whose approval has expired.
fn deployment() -> Case {
    woken(Case::deployment())
}

/// A request to `scale` that raises the replicas from `from`, as the API server sends it.
fn scaled(resource: &str, from: Option<i64>) -> Case {
    deployment().with(|c| {
        let scale = |replicas: Option<i64>| {
            let spec = replicas.map_or(json!({}), |replicas| json!({"replicas": replicas}));
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": spec,
                "metadata": {"name": "orders", "namespace": "payments", "uid": "873ee009"}})
        };
        c.signers.clear();
        c.request["kind"] = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        c.request["resource"] = json!({"group": "apps", "version": "v1", "resource": resource});
        c.request["subResource"] = "scale".into();
        (c.request["object"], c.request["oldObject"]) = (scale(Some(3)), scale(from));
    })
}

/// The Deployment at 0 replicas that a request to `scale` is about, with its approval.
fn live(case: &Case) -> Value {
    let body: Value = serde_json::from_str(&case.body()).expect("JSON");
    let mut live = body["request"]["object"].clone();
    live["spec"]["replicas"] = 0.into();
    live
}

fn outcome(decision: &Decision) -> String {
    match decision.record.reasons.join(" ") {
        reasons if reasons.is_empty() => decision.record.decision.as_str().to_owned(),
        reasons => reasons,
    }
}

#[test]
fn what_was_approved_once_wakes_up_after_its_approval_expired() {
    deployment().expect("not-an-action");
    deployment()
        .with(|c| c.request["oldObject"]["spec"]["replicas"] = 1.into())
        .with(|c| c.signers.clear())
        .expect("not-an-action");
    deployment().with(|c| c.signers.clear()).expect("ApprovalRequired");
    deployment().with(|c| c.signers = vec![Person::Mallory]).expect("UnknownKey");
    deployment().with(|c| c.approval.project = "ledger".into()).expect("WrongProject");
    deployment().with(|c| c.approval.environment = "staging".into()).expect("WrongEnvironment");
    deployment().with(|c| c.approval.subjects[0].name.push('2')).expect("WrongResource");
    deployment().with(|c| c.posture["images"] = "digest".into()).expect("ImageNotPinned");
    deployment()
        .with(|c| c.posture["enforcement"] = "warn".into())
        .with(|c| c.signers.clear())
        .expect("ApprovalRequired");
}

#[test]
fn by_default_scaling_from_zero_is_not_checked() {
    let unapproved = || deployment().with(|c| c.signers.clear());
    for case in [unapproved(), scaled("deployments", None)] {
        case.clone().with(|c| c.posture["ungoverned"] = "allow".into()).expect("not-an-action");
        case.with(|c| drop(c.posture.as_object_mut().expect("a map").remove("ungoverned"))).expect("not-an-action");
    }
    deployment().with(|c| c.posture["ungoverned"] = "never".into()).expect("PostureInvalid");
}

#[test]
fn an_update_that_changes_more_requires_a_valid_approval() {
    deployment()
        .with(|c| c.spec()["paused"] = false.into())
        .with(|c| c.request["oldObject"]["spec"]["paused"] = true.into())
        .expect("Expired");
    deployment().with(|c| c.annotate("writgate.dev/incident", "INC-7")).expect("Expired");
    deployment()
        .with(|c| c.request["oldObject"]["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into())
        .expect("Expired");
}

#[test]
fn a_controller_that_is_exempt_scales_without_a_check() {
    let exempt = |c: &mut Case| {
        c.signers.clear();
        c.request["userInfo"]["username"] = "system:serviceaccount:kube-system:deployment-controller".into();
    };
    deployment().with(exempt).expect("ApprovalRequired");
    let set = |c: &mut Case| c.request["resource"]["resource"] = "replicasets".into();
    let mut owned = woken(Case::of(WorkloadKind::ReplicaSet, "orders", Case::deployment().spec()));
    owned.now = Case::deployment().now;
    owned.with(set).with(exempt).expect("not-an-action");
}

/// What a posture requires apart from time still holds.
#[test]
fn only_time_is_forgiven() {
    deployment().with(|c| c.now = "2026-11-22T10:00:00Z".into()).expect("not-an-action");
    deployment().with(|c| c.now = "2026-11-22T09:59:59Z".into()).expect("NotYetValid");
    deployment().with(|c| c.posture["actions"]["deploy"] = json!({"maxLifetime": "1m"})).expect("not-an-action");
    deployment().with(|c| c.posture["actions"]["deploy"] = json!({"singleUse": true})).expect("not-an-action");
    deployment().with(|c| c.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]})).expect("QuorumNotMet");
    let capability = json!({"capabilities": ["deploy.extra"]});
    deployment().with(|c| c.posture["actions"]["deploy"] = capability).expect("InsufficientCapabilities");
    let key = |field: &'static str, time: &'static str| {
        deployment().with(|c| c.reviewers["reviewers"][0]["keys"][0][field] = time.into())
    };
    key("notAfter", "2026-11-22T10:30:00Z").expect("not-an-action");
    key("notBefore", "2028-01-01T00:00:00Z").expect("NotYetValid");
    deployment().with(|c| c.request["userInfo"]["username"] = "bob".into()).expect("SelfApproval");
    deployment().with(|c| c.approval.requested_by = "bob".into()).expect("SelfApproval");
    let proven = |c: &mut Case| c.posture["separationOfDuties"] = "proven".into();
    deployment().with(proven).expect("QuorumNotMet");
    deployment().with(proven).with(|c| c.signers.push(Person::Carol)).expect("not-an-action");
}

#[test]
fn what_was_revoked_does_not_wake_up() {
    let key = Case::deployment().envelope().keyids().next().expect("signed").to_owned();
    let hash = Case::deployment().approval.subjects[0].hash.to_string();
    for (list, entry) in [
        ("approvals", json!({"id": Case::deployment().approval.id})),
        ("keys", json!({"id": key})),
        ("specs", json!({"hash": hash})),
    ] {
        let revoked = |at: &str| {
            let mut entry = entry.clone();
            entry["at"] = at.into();
            deployment().with(|c| c.revocations[list] = json!([entry]))
        };
        revoked(LATER).expect("Revoked");
        revoked("2027-11-22T11:00:01Z").expect("not-an-action");
    }
}

#[test]
fn a_detached_approval_counts_and_nothing_is_used() {
    let case = deployment().with(|c| c.posture["actions"]["deploy"] = json!({"singleUse": true}));
    let approval = DetachedApproval { name: "orders".to_owned(), text: case.envelope().to_json() };
    let bare = case.with(|c| c.signers.clear());
    let ledger = Ledger { detached: vec![approval].into(), ..Ledger::default() };
    let decision = bare.decide_knowing(&bare.body(), &ledger);
    assert_eq!(outcome(&decision), "not-an-action", "{}", decision.message());
    assert_eq!(decision.note, None);
    assert_eq!(*ledger.lookups.borrow(), ["cached approvals", "live approvals"]);
}

/// Without a rule for rollbacks, and a year later.
#[test]
fn an_earlier_admission_counts_although_the_approval_is_gone() {
    let created = Case::deployment().with(|c| c.posture["ungoverned"] = "deny".into());
    let note = created.decide().note.expect("a note").admission;
    assert!(Case::deployment().decide().note.is_none(), "nothing is noted without a rule that requires it");
    let ledger = Ledger::default();
    ledger.history.borrow_mut().note(note);
    let decide = |case: &Case| outcome(&case.decide_knowing(&case.body(), &ledger));
    let bare = deployment().with(|c| c.signers.clear());
    assert_eq!(decide(&bare), "not-an-action");
    assert_eq!(decide(&bare.clone().with(|c| c.annotate("writgate.dev/incident", "INC-7"))), "ApprovalRequired");
    let other = |c: &mut Case| {
        c.spec()["template"]["spec"]["containers"][0]["image"] = "other".into();
        c.request["oldObject"]["spec"]["template"] = c.request["object"]["spec"]["template"].clone();
    };
    assert_eq!(decide(&bare.clone().with(other)), "ApprovalRequired");
    let two = |c: &mut Case| c.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]});
    assert_eq!(decide(&bare.clone().with(two)), "ApprovalRequired QuorumNotMet");
    let id = bare.approval.id.clone();
    let revoked = bare.clone().with(|c| c.revocations["approvals"] = json!([{"id": id}]));
    assert_eq!(decide(&revoked), "ApprovalRequired Revoked");
    let created = created.with(|c| c.now = LATER.into()).with(|c| c.signers.clear());
    assert_eq!(decide(&created), "ApprovalRequired", "a creation is no wake-up");
    let faulty = Ledger { fault: Some("no route to host".to_owned()), ..Ledger::default() };
    assert_eq!(outcome(&bare.decide_knowing(&bare.body(), &faulty)), "ApprovalRequired LookupFailed");
}

#[test]
fn a_request_to_scale_is_decided_by_the_workload_that_it_wakes_up() {
    let decide = |case: &Case, live: &Value| {
        let ledger = Ledger { scaled: live.to_string(), ..Ledger::default() };
        let decision = case.decide_knowing(&case.body(), &ledger);
        let read = ledger.lookups.borrow().iter().filter(|lookup| lookup.contains(" payments/orders")).count();
        (outcome(&decision), read, decision)
    };
    let approved = live(&deployment());
    let unapproved = live(&deployment().with(|c| c.signers.clear()));
    let zero = scaled("deployments", None);
    assert_eq!(decide(&zero, &approved).0, "not-an-action");
    let (found, read, denied) = decide(&zero, &unapproved);
    assert_eq!((&*found, read), ("ApprovalRequired", 1));
    assert_eq!(denied.record.object.expect("an object").kind, "Deployment");
    assert_eq!(denied.record.request_uid, decide(&zero, &approved).2.record.request_uid);
    assert_eq!(decide(&scaled("deployments", Some(0)), &unapproved).0, "ApprovalRequired");
    let (found, read, _) = decide(&scaled("deployments", Some(1)), &unapproved);
    assert_eq!((&*found, read), ("not-an-action", 0), "ordinary scaling reads nothing");
    let other = |c: &mut Case| c.request["resource"]["resource"] = "widgets".into();
    assert_eq!(decide(&zero.clone().with(other), &unapproved).0, "not-an-action");
    let by_bob = zero.clone().with(|c| c.request["userInfo"]["username"] = "bob".into());
    assert_eq!(decide(&by_bob, &approved).0, "SelfApproval");
    let (_, _, denied) = decide(&zero.clone().with(|c| c.request["dryRun"] = true.into()), &unapproved);
    assert!(denied.record.dry_run);
    let audited = zero.with(|c| c.posture["enforcement"] = "audit".into());
    let (found, _, audited) = decide(&audited, &unapproved);
    assert_eq!((&*found, audited.record.decision, audited.generation), ("ApprovalRequired", Outcome::Admitted, 2));
}

#[test]
fn a_stateful_set_and_a_further_kind_wake_up_likewise() {
    let spec = Case::deployment().spec().clone();
    let set = Case::of(WorkloadKind::StatefulSet, "orders", &spec);
    woken(set.clone()).expect("not-an-action");
    woken(set.clone()).with(|c| c.signers.clear()).expect("ApprovalRequired");
    let ledger = Ledger { scaled: live(&woken(set)).to_string(), ..Ledger::default() };
    let request = scaled("statefulsets", None);
    assert_eq!(outcome(&request.decide_knowing(&request.body(), &ledger)), "not-an-action");

    let kind: WorkloadKind = "argoproj.io/v1alpha1/Rollout=rollouts:spec.template".parse().expect("a kind");
    let rollout = woken(Case::of(kind, "orders", &spec)).with(|c| c.kinds = [kind].into_iter().collect());
    rollout.clone().with(|c| c.signers.clear()).expect("ApprovalRequired");
}

#[test]
fn a_workload_that_cannot_be_read_does_not_wake_up() {
    let zero = scaled("deployments", None);
    let faulty = Ledger { fault: Some("no route to host".to_owned()), ..Ledger::default() };
    let decision = zero.decide_knowing(&zero.body(), &faulty);
    assert_eq!(outcome(&decision), "LookupFailed");
    assert!(decision.message().contains("no route to host"), "{}", decision.message());
    for live in ["", "[]", "{}", r#"{"spec": []}"#] {
        let ledger = Ledger { scaled: live.to_owned(), ..Ledger::default() };
        assert_eq!(outcome(&zero.decide_knowing(&zero.body(), &ledger)), "LookupFailed", "{live}");
    }
    let warned = zero.with(|c| c.posture["enforcement"] = "warn".into());
    let decision = warned.decide_knowing(&warned.body(), &faulty);
    assert_eq!((outcome(&decision), decision.record.decision), ("LookupFailed".to_owned(), Outcome::Admitted));
}

#[test]
fn the_denial_says_why_scaling_is_checked() {
    let message = deployment().with(|c| c.signers.clear()).decide().message();
    assert!(message.contains("this starts a workload that has 0 replicas"), "{message}");
    assert!(message.contains("(ungoverned: deny): deploy requires an approval in production"), "{message}");
}

#[test]
fn coverage_lists_scaling_as_unchecked_only_if_it_is() {
    for (rule, expected) in [("allow", vec![Unchecked::ScaleUp]), ("deny", Vec::new())] {
        let case = deployment().with(|c| c.posture["ungoverned"] = rule.into());
        let documents = [&case.posture, &case.reviewers, &case.revocations];
        let document =
            |value: &Value| Document { source: value["kind"].to_string(), name: None, text: value.to_string() };
        let set = PostureSet::assemble(documents.into_iter().map(document).collect());
        let posture = set.environment("production").ok();
        assert!(posture.is_some());
        let found = Unchecked::of(Some(WorkloadKind::Deployment), &json!({"spec": {"replicas": 0}}), posture);
        assert_eq!(found, expected, "{rule}");
    }
}
