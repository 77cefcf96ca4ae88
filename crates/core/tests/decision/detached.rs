//! Approvals beside the object: which are found, in which order, and that the place changes nothing of what they say.

use serde_json::json;
use writgate_core::{
    approval::{Approval, DetachedApproval, DetachedQuery},
    record::Decision,
};

use crate::case::{Case, Ledger, Person};

const REF: &str = "writgate.dev/approval-ref";

/// The usual Deployment, with nothing attached.
fn bare() -> Case {
    Case::deployment().with(|case| case.signers.clear())
}

/// An approval as the usual one, changed and then signed by bob.
fn approval(change: impl FnOnce(&mut Approval)) -> String {
    let mut case = Case::deployment();
    change(&mut case.approval);
    case.envelope().to_json()
}

fn detached(name: &str, text: impl Into<String>) -> DetachedApproval {
    DetachedApproval { name: name.to_owned(), text: text.into() }
}

/// A namespace in which these lie, and no watch has told of one.
fn namespace(detached: impl IntoIterator<Item = DetachedApproval>) -> Ledger {
    Ledger { detached: Vec::from_iter(detached).into(), ..Ledger::default() }
}

fn decide(case: &Case, ledger: &Ledger) -> Decision {
    case.decide_knowing(&case.body(), ledger)
}

#[track_caller]
fn expect(case: &Case, ledger: &Ledger, codes: &[&str]) -> Decision {
    let decision = decide(case, ledger);
    assert_eq!(decision.record.reasons, codes, "{}", decision.message());
    assert_eq!(decision.allowed(), codes.is_empty(), "{}", decision.message());
    decision
}

/// The ids of the approvals on the record.
fn ids(decision: &Decision) -> Vec<&str> {
    decision.record.approvals.iter().map(|approval| &*approval.id).collect()
}

fn numbered(number: u32) -> impl FnOnce(&mut Approval) {
    move |approval| approval.id = format!("01935a00-0000-7000-8000-{number:012}")
}

#[test]
fn one_that_a_watch_has_told_of_needs_no_live_list() {
    let ledger = Ledger { cached: vec![detached("a", approval(|_| {}))].into(), ..Ledger::default() };
    let decision = expect(&bare(), &ledger, &[]);
    assert_eq!(ids(&decision), ["01935a00-0000-7000-8000-000000000001"]);
    assert_eq!(*ledger.lookups.borrow(), ["cached approvals"]);
    assert_eq!(*ledger.queries.borrow(), [DetachedQuery::Hash(decision.record.spec_hash.expect("a hash"))]);
}

#[test]
fn one_that_no_watch_has_told_of_is_found_before_anything_is_denied() {
    let ledger = namespace([detached("a", approval(|_| {}))]);
    let decision = expect(&bare(), &ledger, &[]);
    assert_eq!(decision.record.requested_by.as_deref(), Some("alice@acme.example"));
    assert_eq!(*ledger.lookups.borrow(), ["cached approvals", "live approvals"]);
}

#[test]
fn one_that_was_deleted_counts_no_more_once_somebody_looks() {
    let stale = detached("a", approval(|approval| approval.environment = "staging".to_owned()));
    let ledger = Ledger { cached: vec![stale].into(), ..Ledger::default() };
    expect(&bare(), &ledger, &["ApprovalRequired"]);
}

#[test]
fn an_object_may_name_it() {
    let named = bare().with(|case| case.annotate(REF, "a"));
    let ledger = namespace([detached("a", approval(|_| {}))]);
    expect(&named, &ledger, &[]);
    assert_eq!(ledger.queries.borrow()[0], DetachedQuery::Name("a".to_owned()));
}

#[test]
fn a_denial_names_the_missing_config_map_and_no_other_one_counts() {
    let named = bare().with(|case| case.annotate(REF, "b\u{1b}"));
    let decision = expect(&named, &namespace([detached("a", approval(|_| {}))]), &["ApprovalRequired"]);
    assert!(
        decision.message().contains("ConfigMap b\\u{1b}, which writgate.dev/approval-ref refers to, contains none"),
        "{}",
        decision.message()
    );
}

#[test]
fn one_that_is_named_is_judged_like_any_other() {
    let named = bare().with(|case| case.annotate(REF, "a"));
    let of = |change: fn(&mut Approval)| namespace([detached("a", approval(change))]);
    expect(&named, &of(|approval| approval.subjects[0].hash = other_hash()), &["SpecHashMismatch"]);
    expect(
        &named,
        &of(|approval| approval.subjects[0].name = "apps/v1/Deployment/payments/b".into()),
        &["WrongResource"],
    );
    expect(&named, &of(|approval| approval.environment = "staging".to_owned()), &["WrongEnvironment"]);
    expect(&named, &of(|approval| approval.expires_at = "2026-11-22T11:00:00Z".parse().expect("a time")), &["Expired"]);
    expect(
        &named,
        &of(|approval| approval.capabilities = vec!["replay.execute".to_owned()]),
        &["InsufficientCapabilities"],
    );
    let mallory = Case::deployment().with(|case| case.signers = vec![Person::Mallory]).envelope().to_json();
    expect(&named, &namespace([detached("a", mallory)]), &["UnknownKey"]);
}

fn other_hash() -> writgate_core::approval::SpecHash {
    format!("sha256:{}", "0".repeat(64)).parse().expect("a hash")
}

#[test]
fn one_that_is_named_and_no_approval_is_malformed_under_its_name() {
    let named = bare().with(|case| case.annotate(REF, "a"));
    for text in ["", "approved", "{}"] {
        let decision = expect(&named, &namespace([detached("a", text)]), &["MalformedApproval"]);
        assert!(decision.message().contains("ConfigMap a contains no approval"), "{}", decision.message());
    }
}

#[test]
fn of_those_that_nobody_named_what_is_no_approval_or_for_another_spec_is_passed_over() {
    let junk = ["", "approved", "{}"].map(|text| detached("junk", text));
    let other = detached("other", approval(|approval| approval.subjects[0].hash = other_hash()));
    expect(&bare(), &namespace(junk.into_iter().chain([other])), &["ApprovalRequired"]);
}

#[test]
fn old_ones_do_not_stand_in_the_way() {
    let old = |number| {
        let text = approval(|approval| {
            numbered(number)(approval);
            approval.not_before = "2026-11-21T10:00:00Z".parse().expect("a time");
            approval.expires_at = "2026-11-21T12:00:00Z".parse().expect("a time");
        });
        detached(&format!("a{number}"), text)
    };
    let all = (2..30).map(old).chain([detached("z", approval(|_| {}))]);
    assert_eq!(ids(&expect(&bare(), &namespace(all), &[])), ["01935a00-0000-7000-8000-000000000001"]);
    expect(&bare(), &namespace((2..30).map(old)), &["Expired"]);
}

#[test]
fn of_too_many_those_that_last_longest_are_read_and_whoever_names_one_is_not_crowded_out() {
    // Nobody signed these, and they say that they last longer.
    let junk = |number: u32| {
        let text = Case::deployment().with(|case| {
            case.signers = vec![Person::Mallory];
            case.approval.expires_at = "2999-01-01T00:00:00Z".parse().expect("a time");
            numbered(number)(&mut case.approval);
        });
        detached(&format!("a{number}"), text.envelope().to_json())
    };
    let good = || detached("z", approval(|_| {}));
    expect(&bare(), &namespace((2..9).map(junk).chain([good()])), &[]);
    expect(&bare(), &namespace((2..10).map(junk).chain([good()])), &["UnknownKey"]);
    let named = bare().with(|case| case.annotate(REF, "z"));
    expect(&named, &namespace((2..10).map(junk).chain([good()])), &[]);
}

#[test]
fn what_is_attached_goes_before_what_is_beside() {
    let ledger = namespace([detached("a", approval(numbered(2)))]);
    let decision = expect(&Case::deployment(), &ledger, &[]);
    assert_eq!(ids(&decision), ["01935a00-0000-7000-8000-000000000001"]);
    assert!(ledger.lookups.borrow().is_empty(), "an admission costs no lookup");
    // What is attached is wrong, and what is beside is right.
    let wrong = Case::deployment().with(|case| case.approval.environment = "staging".to_owned());
    assert_eq!(ids(&expect(&wrong, &ledger, &[])), ["01935a00-0000-7000-8000-000000000002"]);
    // Of two that fail alike, the attached one is told.
    let both = namespace([detached("a", approval(|approval| approval.environment = "testing".to_owned()))]);
    let decision = expect(&wrong, &both, &["WrongEnvironment"]);
    assert!(decision.message().contains("staging"), "{}", decision.message());
}

#[test]
fn one_attached_and_one_beside_make_a_quorum_together() {
    let two = |case: Case| case.with(|case| case.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]}));
    let carol = Case::deployment().with(|case| {
        case.signers = vec![Person::Carol];
        numbered(2)(&mut case.approval);
    });
    let ledger = namespace([detached("a", carol.envelope().to_json())]);
    assert_eq!(ids(&expect(&two(Case::deployment()), &ledger, &[])).len(), 2);
    expect(&two(bare()), &ledger, &["QuorumNotMet"]);
    let again = namespace([detached("a", approval(numbered(2)))]);
    expect(&two(Case::deployment()), &again, &["QuorumNotMet"]);
    let disagrees = carol.with(|case| case.approval.capabilities.push("deploy.more".to_owned()));
    expect(&two(Case::deployment()), &namespace([detached("a", disagrees.envelope().to_json())]), &["QuorumNotMet"]);
}

#[test]
fn a_list_that_fails_is_told_and_admits_nothing() {
    let ledger = Ledger { fault: Some("no route to host".to_owned()), ..namespace([detached("a", approval(|_| {}))]) };
    let decision = expect(&bare(), &ledger, &["ApprovalRequired", "LookupFailed"]);
    assert!(decision.message().contains("no route to host"), "{}", decision.message());
}

#[test]
fn nothing_is_looked_for_where_no_approval_would_help_or_none_is_needed() {
    let ledger = namespace([detached("a", approval(|_| {}))]);
    let free = bare().with(|case| case.posture["actions"]["deploy"] = json!({"approval": "none"}));
    expect(&free, &ledger, &[]);
    expect(&bare().with(|case| case.project = None), &ledger, &["NamespaceNotListed"]);
    let unchanged = bare().updated();
    assert!(decide(&unchanged, &ledger).allowed());
    assert!(ledger.lookups.borrow().is_empty());
    // The object's own fault: what is kept costs nothing, and the API server is not asked.
    expect(
        &bare().with(|case| case.posture["images"] = json!("digest")),
        &ledger,
        &["ApprovalRequired", "ImageNotPinned"],
    );
    assert_eq!(*ledger.lookups.borrow(), ["cached approvals"]);
}

/// One that was spent and still lies there says the same as the new one, and would be spent together with it.
#[test]
fn one_that_was_spent_does_not_spoil_a_new_one() {
    let once = |case: Case| case.with(|case| case.posture["actions"]["deploy"] = json!({"singleUse": true}));
    let ledger = namespace([detached("a", approval(|_| {}))]);
    expect(&once(bare()), &ledger, &[]);
    let recreated = once(bare()).with(|case| case.object()["metadata"]["uid"] = "recreated".into());
    expect(&recreated, &ledger, &["AlreadyUsed"]);
    ledger.detached.borrow_mut().push(detached("b", approval(numbered(2))));
    assert_eq!(ids(&expect(&recreated, &ledger, &[])), ["01935a00-0000-7000-8000-000000000002"]);
    // Attached ones likewise.
    let attached = once(Case::deployment()).with(|case| case.object()["metadata"]["uid"] = "third".into());
    expect(&attached, &ledger, &["AlreadyUsed"]);
    ledger.detached.borrow_mut().push(detached("c", approval(numbered(3))));
    assert_eq!(ids(&expect(&attached, &ledger, &[])), ["01935a00-0000-7000-8000-000000000003"]);
}
