//! Detached approvals: which are found, in which order, and that they are checked as attached ones are.

use serde_json::json;
use writgate_core::{
    approval::{Approval, DetachedApproval, DetachedQuery},
    record::Decision,
};

use crate::decision::case::{Case, Ledger, Person};

const REF: &str = "writgate.dev/approval-ref";

/// The usual Deployment without an attached approval.
fn bare() -> Case {
    Case::deployment().with(|case| case.signers.clear())
}

/// The usual approval, changed by `change` and then signed by bob.
fn approval(change: impl FnOnce(&mut Approval)) -> String {
    let mut case = Case::deployment();
    change(&mut case.approval);
    case.envelope().to_json()
}

fn detached(name: &str, text: impl Into<String>) -> DetachedApproval {
    DetachedApproval { name: name.to_owned(), text: text.into() }
}

/// A namespace with these detached approvals, none of which is cached.
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
fn a_cached_approval_requires_no_live_list() {
    let ledger = Ledger { cached: vec![detached("a", approval(|_| {}))].into(), ..Ledger::default() };
    let decision = expect(&bare(), &ledger, &[]);
    assert_eq!(ids(&decision), ["01935a00-0000-7000-8000-000000000001"]);
    assert_eq!(*ledger.lookups.borrow(), ["cached approvals"]);
    assert_eq!(*ledger.queries.borrow(), [DetachedQuery::Hash(decision.record.spec_hash.expect("a hash"))]);
}

#[test]
fn an_approval_that_is_not_cached_is_found_by_a_live_list() {
    let ledger = namespace([detached("a", approval(|_| {}))]);
    let decision = expect(&bare(), &ledger, &[]);
    assert_eq!(decision.record.requested_by.as_deref(), Some("alice@acme.example"));
    assert_eq!(*ledger.lookups.borrow(), ["cached approvals", "live approvals"]);
}

#[test]
fn a_live_list_replaces_the_cached_approvals() {
    let stale = detached("a", approval(|approval| approval.environment = "staging".to_owned()));
    let ledger = Ledger { cached: vec![stale].into(), ..Ledger::default() };
    expect(&bare(), &ledger, &["ApprovalRequired"]);
}

#[test]
fn an_object_can_name_its_approval() {
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
fn a_named_approval_is_checked_like_any_other() {
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
fn a_named_config_map_without_an_approval_is_malformed() {
    let named = bare().with(|case| case.annotate(REF, "a"));
    for text in ["", "approved", "{}"] {
        let decision = expect(&named, &namespace([detached("a", text)]), &["MalformedApproval"]);
        assert!(decision.message().contains("ConfigMap a contains no approval"), "{}", decision.message());
    }
}

#[test]
fn skips_unnamed_config_maps_without_an_approval_for_the_spec() {
    let junk = ["", "approved", "{}"].map(|text| detached("junk", text));
    let other = detached("other", approval(|approval| approval.subjects[0].hash = other_hash()));
    expect(&bare(), &namespace(junk.into_iter().chain([other])), &["ApprovalRequired"]);
}

#[test]
fn expired_approvals_do_not_hide_a_valid_one() {
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
fn of_too_many_approvals_reads_the_named_one_or_those_that_expire_last() {
    // These have no known signature and claim a later expiry.
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
fn attached_approvals_come_before_detached_ones() {
    let ledger = namespace([detached("a", approval(numbered(2)))]);
    let decision = expect(&Case::deployment(), &ledger, &[]);
    assert_eq!(ids(&decision), ["01935a00-0000-7000-8000-000000000001"]);
    assert!(ledger.lookups.borrow().is_empty(), "an admission by an attached approval looks up nothing");
    // The attached approval is wrong, and the detached one is valid.
    let wrong = Case::deployment().with(|case| case.approval.environment = "staging".to_owned());
    assert_eq!(ids(&expect(&wrong, &ledger, &[])), ["01935a00-0000-7000-8000-000000000002"]);
    // If two fail with the same reason, the denial is about the attached one.
    let both = namespace([detached("a", approval(|approval| approval.environment = "testing".to_owned()))]);
    let decision = expect(&wrong, &both, &["WrongEnvironment"]);
    assert!(decision.message().contains("staging"), "{}", decision.message());
}

#[test]
fn attached_and_detached_approvals_form_one_quorum() {
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
fn a_failed_list_denies_and_is_reported() {
    let ledger = Ledger { fault: Some("no route to host".to_owned()), ..namespace([detached("a", approval(|_| {}))]) };
    let decision = expect(&bare(), &ledger, &["ApprovalRequired", "LookupFailed"]);
    assert!(decision.message().contains("no route to host"), "{}", decision.message());
}

#[test]
fn looks_up_nothing_if_no_approval_helps_or_is_required() {
    let ledger = namespace([detached("a", approval(|_| {}))]);
    let free = bare().with(|case| case.posture["actions"]["deploy"] = json!({"approval": "none"}));
    expect(&free, &ledger, &[]);
    expect(&bare().with(|case| case.project = None), &ledger, &["NamespaceNotListed"]);
    let unchanged = bare().updated();
    assert!(decide(&unchanged, &ledger).allowed());
    assert!(ledger.lookups.borrow().is_empty());
    // If the object itself is denied, the cache is read, since that costs nothing, and the API server is not.
    expect(
        &bare().with(|case| case.posture["images"] = json!("digest")),
        &ledger,
        &["ApprovalRequired", "ImageNotPinned"],
    );
    assert_eq!(*ledger.lookups.borrow(), ["cached approvals"]);
}

/// A used approval agrees with the new one, so both would be used together.
#[test]
fn a_used_approval_does_not_hide_a_new_one() {
    let once = |case: Case| case.with(|case| case.posture["actions"]["deploy"] = json!({"singleUse": true}));
    let ledger = namespace([detached("a", approval(|_| {}))]);
    expect(&once(bare()), &ledger, &[]);
    let recreated = once(bare()).with(|case| case.object()["metadata"]["uid"] = "recreated".into());
    expect(&recreated, &ledger, &["AlreadyUsed"]);
    ledger.detached.borrow_mut().push(detached("b", approval(numbered(2))));
    assert_eq!(ids(&expect(&recreated, &ledger, &[])), ["01935a00-0000-7000-8000-000000000002"]);
    // The same holds for attached approvals.
    let attached = once(Case::deployment()).with(|case| case.object()["metadata"]["uid"] = "third".into());
    expect(&attached, &ledger, &["AlreadyUsed"]);
    ledger.detached.borrow_mut().push(detached("c", approval(numbered(3))));
    assert_eq!(ids(&expect(&attached, &ledger, &[])), ["01935a00-0000-7000-8000-000000000003"]);
}
